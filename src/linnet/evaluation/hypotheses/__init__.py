"""Existing transcripts: read from a file and matched with their references."""

from __future__ import annotations

from linnet.evaluation.hypotheses.pairing import Pairing, Reference, pair
from linnet.evaluation.hypotheses.reading import KINDS, read_hypotheses
from linnet.evaluation.hypotheses.types import HypothesisFile, NameCount, UtteranceHypothesis

__all__ = [
    "KINDS",
    "HypothesisFile",
    "NameCount",
    "Pairing",
    "Reference",
    "UtteranceHypothesis",
    "pair",
    "read_hypotheses",
]
