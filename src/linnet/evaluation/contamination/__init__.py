"""Whether the training data has what a model is evaluated on: the same sounds, nearly the same sounds or texts."""

from linnet.evaluation.contamination.report import Contamination, Match
from linnet.evaluation.contamination.search import find_contamination

__all__ = ["Contamination", "Match", "find_contamination"]
