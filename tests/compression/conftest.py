"""What all tests of compression share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _short_transcripts() -> Iterator[None]:
    """Random models do not end: transcripts of 16 tokens do for every rule, and 200 take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("linnet.compression.subject.MOST_TOKENS", 16)
        yield
