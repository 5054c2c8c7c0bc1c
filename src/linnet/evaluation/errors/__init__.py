"""Where the word errors of an evaluation come from: words, numbers and names, kinds of utterances, speakers.

`analyze(rows)` reads the rows once and answers with an `Analysis`; `linnet.evaluation.html` shows it as a page.
"""

from linnet.evaluation.errors.analysis import analyze
from linnet.evaluation.errors.result import Analysis
from linnet.evaluation.errors.steps import AlignedRow, Step, align

__all__ = ["AlignedRow", "Analysis", "Step", "align", "analyze"]
