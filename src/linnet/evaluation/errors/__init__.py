"""Analysis of an evaluation's word errors: by word, numbers and names, kind of utterance, speaker.

`analyze(rows)` reads the rows once and returns an `Analysis`; `linnet.evaluation.html` renders it as a page.
"""

from linnet.evaluation.errors.analysis import analyze
from linnet.evaluation.errors.result import Analysis
from linnet.evaluation.errors.steps import AlignedRow, Step, align

__all__ = ["AlignedRow", "Analysis", "Step", "align", "analyze"]
