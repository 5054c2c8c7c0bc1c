"""Progress notices for work on many rows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from linnet.notices import Notify

T = TypeVar("T")

EVERY = 5.0  # seconds
_LOOK = 256  # rows between checks of the clock


def paced(rows: Iterable[T], notify: Notify, doing: str, total: int | None = None) -> Iterator[T]:
    """The same rows; every few seconds `notify` receives a line such as `250,000 of 1,000,000 rows scored`."""
    reported = time.monotonic()
    whole = "" if total is None else f" of {total:,}"
    for number, row in enumerate(rows, start=1):
        yield row
        if number % _LOOK == 0 and time.monotonic() - reported >= EVERY:
            reported = time.monotonic()
            notify(f"{number:,}{whole} rows {doing}")
