"""Contamination: evaluation utterances in training data, by the same audio, near-identical audio or similar text."""

from linnet.evaluation.contamination.report import Contamination, Match
from linnet.evaluation.contamination.search import find_contamination

__all__ = ["Contamination", "Match", "find_contamination"]
