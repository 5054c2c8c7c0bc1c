"""One torch thread where another pool of threads works: torch's own would stand in its way.

After a parallel region OpenMP's threads spin for a while, on cores that the other pool needs. On few cores that made
some work 18 times slower than one thread.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_SETTING = threading.Lock()


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let torch run on one thread in the calling thread, inside a `with` block; the rest of the process stays as it is.

    `torch.set_num_threads` counts for the thread that calls it and for those that begin after it, so another thread
    sets it back for those.

    >>> with one_torch_thread():
    ...     torch.get_num_threads()
    1
    """
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    with _SETTING:
        torch.set_num_threads(1)
        setter = threading.Thread(target=torch.set_num_threads, args=(before,))
        setter.start()
        setter.join()
    try:
        yield
    finally:
        torch.set_num_threads(before)
