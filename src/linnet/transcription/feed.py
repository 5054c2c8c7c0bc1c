"""Sources as they come: those of a generator are made in its own thread, so that a slow one holds nothing up."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextvars import copy_context
from itertools import islice
from typing import Any

from linnet.closing import Closing

PATIENCE = 0.1  # seconds that a source may take before what was begun goes on without it
FAREWELL = 2.0  # seconds in which the thread is to leave the source that it is at


class Feed(Closing):
    """Hands out sources one by one; those of a list at once, those of any other iterable as a thread makes them.

    None is made before it is asked for. An error in making them ends them. When the feed is closed, a generator of
    sources is closed and `discard` is called with each source that was made and not taken: at once, or where the
    generator is still busy after 2 s, as soon as it comes back.
    """

    def __init__(self, sources: Iterable[Any], discard: Callable[[Any], None]) -> None:
        self._sources, self._discard = iter(sources), discard
        self._made: deque[Any] = deque()
        self._asked = 0  # how many more are to be made
        self._since = 0.0  # the time at which the next one was begun
        self._over = self._closed = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        if not isinstance(sources, Sequence):
            run = copy_context().run  # a generator's context variables are its caller's
            self._thread = threading.Thread(target=run, args=(self._work,), name="linnet-feed", daemon=True)
            self._thread.start()

    def ask(self, count: int) -> None:
        """Let up to `count` sources be made in advance, in the thread."""
        with self._changed:
            if not self._asked:
                self._since = time.monotonic()
            self._asked = max(self._asked, count - len(self._made))
            self._changed.notify_all()

    def take(self, *, wait: bool) -> tuple[Any] | None:
        """The next source, in a tuple. None where there is no more, or, unless it is to `wait`, none within 0.1 s."""
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
        """Raise the error that ended the sources, where there was one."""
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
        """Make the next source; False where there is none."""
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
        """Ask for no more, and see that the generator and what it made are closed."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(FAREWELL)
        self._drop()
