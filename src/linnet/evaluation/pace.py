"""How far the work on many rows has come, reported every few seconds."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from linnet.notices import Notify

T = TypeVar("T")

EVERY = 5.0  # seconds
_LOOK = 256  # rows between two looks at the clock


def paced(rows: Iterable[T], tell: Notify, doing: str, total: int | None = None) -> Iterator[T]:
    """The same rows; where they take long, `tell` gets lines such as `250,000 of 1,000,000 rows scored`."""
    told = time.monotonic()
    whole = "" if total is None else f" of {total:,}"
    for number, row in enumerate(rows, start=1):
        yield row
        if number % _LOOK == 0 and time.monotonic() - told >= EVERY:
            told = time.monotonic()
            tell(f"{number:,}{whole} rows {doing}")
