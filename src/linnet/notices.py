"""Notices: messages of the library in addition to its results."""

from __future__ import annotations

from collections.abc import Callable

Notify = Callable[[str], None]
"""Takes a sentence for the user, such as that a model is fetched now; the caller decides where it is shown."""


def ignore(sentence: str) -> None:
    """A `Notify` that shows nothing."""
    del sentence
