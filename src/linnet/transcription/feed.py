"""Hand out sources; a generator of sources runs in its own thread, so that a slow one does not delay anything."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextvars import copy_context
from itertools import islice
from typing import Any

from linnet.closing import Closing

PATIENCE = 0.1  # seconds to wait for a source before running recordings continue without it
FAREWELL = 2.0  # seconds for the thread to finish the current source


class Feed(Closing):
    """Hands out sources one by one: those of a list directly, those of any other iterable from a thread.

    A source is created only on demand. An error in the iterable ends the sources. Closing the feed closes a generator
    of sources and calls `discard` with each source that was created but not taken: immediately, or, if the generator is
    still busy after 2 s, as soon as it returns.
    """

    def __init__(self, sources: Iterable[Any], discard: Callable[[Any], None]) -> None:
        self._sources, self._discard = iter(sources), discard
        self._made: deque[Any] = deque()
        self._asked = 0  # number of sources still requested
        self._since = 0.0  # start time of the next one
        self._over = self._closed = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        if not isinstance(sources, Sequence):
            run = copy_context().run  # a generator sees its caller's context variables
            self._thread = threading.Thread(target=run, args=(self._work,), name="linnet-feed", daemon=True)
            self._thread.start()

    def ask(self, count: int) -> None:
        """Request up to `count` sources in advance, from the thread."""
        with self._changed:
            if not self._asked:
                self._since = time.monotonic()
            self._asked = max(self._asked, count - len(self._made))
            self._changed.notify_all()

    def take(self, *, wait: bool) -> tuple[Any] | None:
        """The next source, in a tuple. None if there are no more, or, without `wait`, none within 0.1 s."""
        if self._thread is None and not self._over:
            self._make()
        self.ask(1)
        with self._changed:
            left = None if wait else max(self._since + PATIENCE - time.monotonic(), 0.0)
            self._changed.wait_for(lambda: self._made or self._over, left)
            if self._made:
                return (self._made.popleft(),)
        if not isinstance(self._error, Exception):
            self.check()
        return None

    def check(self) -> None:
        """Raise the error that ended the sources, if any."""
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while self._is_asked() and self._make():
            pass
        try:
            if isinstance(self._sources, Generator):
                self._sources.close()
        finally:
            if self._closed:
                self._drop()

    def _is_asked(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._asked > 0 or self._closed)
            return not self._closed

    def _make(self) -> bool:
        """Create the next source; returns False if there is none."""
        made: list[Any] = []
        error: BaseException | None = None
        try:
            made = list(islice(self._sources, 1))
        except BaseException as caught:  # noqa: BLE001 - it is raised where the sources are taken
            error = caught
        with self._changed:
            self._made += made
            self._asked, self._since = self._asked - 1, time.monotonic()
            self._over, self._error = not made, error
            self._changed.notify_all()
        return bool(made)

    def _drop(self) -> None:
        with self._changed:
            left = list(self._made)
            self._made.clear()
        for source in left:
            self._discard(source)

    def close(self) -> None:
        """Stop requesting sources, and close the generator and all unused sources."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(FAREWELL)
        self._drop()
