"""Prefetching the next items in another thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, Generic, Self, TypeVar

from linnet.arrays import one_thread
from linnet.closing import Closing

T = TypeVar("T")
_END = object()


class Prefetch(Closing, Generic[T]):
    """An iterator over `items` that prepares up to `ahead` of them in a thread, which starts immediately.

    NumPy's products run on that one thread, since a pool would compete with the model. An error in `items` is raised in
    place of its item. Use it in a `with` block or close it: then the thread ends, `items` is closed, and no more items
    follow.

    >>> with Prefetch(range(3), ahead=2) as numbers:
    ...     list(numbers)
    [0, 1, 2]
    """

    def __init__(self, items: Iterable[T], ahead: int) -> None:
        self._items: Iterator[T] = iter(items)
        self._made: queue.Queue[Any] = queue.Queue(max(ahead, 1))
        self._stop = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._work, name="linnet-prefetch", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        last: Any = _END
        try:
            with one_thread():
                for item in self._items:
                    if not self._put((item,)):
                        return
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised where the item is waited for
            last = error
        finally:
            if (close := getattr(self._items, "close", None)) is not None:
                close()
        self._put(last)

    def _put(self, item: Any) -> bool:
        while not self._stop.is_set():
            try:
                self._made.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        """Wait for the next item."""
        if self._over:
            raise StopIteration
        made = self._made.get()
        if isinstance(made, tuple):
            item: T = made[0]
            return item
        self.close()
        if made is _END:
            raise StopIteration
        raise made

    def close(self) -> None:
        """End the thread; waits for its current item."""
        self._over = True
        self._stop.set()
        self._thread.join()
