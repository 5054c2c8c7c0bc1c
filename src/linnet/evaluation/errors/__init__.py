"""Where the word errors of an evaluation come from: words, numbers and names, kinds of utterances, speakers.

`analyse(rows)` reads the rows once and answers with an `Analysis`; `linnet.evaluation.html` shows it as a page.
"""

from linnet.evaluation.errors.analysis import analyse
from linnet.evaluation.errors.result import Analysis
from linnet.evaluation.errors.steps import Aligned, Step, align

__all__ = ["Aligned", "Analysis", "Step", "align", "analyse"]
