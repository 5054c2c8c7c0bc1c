"""Utterances that are the same twice: the same sounds, nearly the same sounds or texts, in one corpus or in two."""

from linnet.data.duplicates.search import Coverage, DuplicateIndex, DuplicateOptions, Kind, Likeness

__all__ = ["Coverage", "DuplicateIndex", "DuplicateOptions", "Kind", "Likeness"]
