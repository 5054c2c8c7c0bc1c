"""Duplicate utterances within or between corpora: the same audio, near-identical audio, or similar texts."""

from linnet.data.duplicates.search import Coverage, DuplicateIndex, DuplicateOptions, Kind, Likeness

__all__ = ["Coverage", "DuplicateIndex", "DuplicateOptions", "Kind", "Likeness"]
