"""Ending a run early: on request, or because another of its processes has ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from linnet.errors import LinnetError
from linnet.notices import Notify

Stop = Callable[[], bool]  # polled after each step: whether to stop


class StoppedError(LinnetError):
    """A run that stopped on request, with a checkpoint of its last step."""


class LostProcessError(LinnetError):
    """Another process of the run has ended, so this one cannot continue."""


def never() -> bool:
    """Never stop."""
    return False


def leave_signals(_: int) -> None:
    """Ignore signals in a data worker, which its parent ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def together() -> Iterator[None]:
    """Raise a `LostProcessError` where a collective operation fails because another process has ended."""
    import torch

    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.distributed.DistError) and "/gloo/" not in str(error):
            raise
        raise LostProcessError(
            "another process of this run has ended, so this one ends too: the same command resumes from the newest "
            "checkpoint."
        ) from error


class Signals:
    """Turns Ctrl-C and SIGTERM into a request to stop after the step; calling it returns whether there was one.

    From its first call to the end of its `with` block the first signal is a request (Ctrl-C is confirmed through
    `notify`), the second has its usual effect. Only the main thread gets signals.
    """

    def __init__(self, notify: Notify) -> None:
        self._notify, self._asked, self._process = notify, False, os.getpid()
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Signals:
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the signal handlers."""
        self._restore()

    def __call__(self) -> bool:
        """Whether a signal was received."""
        import threading

        if not self._before and not self._asked and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self._asked

    def _note(self, number: int, _: object) -> None:
        if os.getpid() != self._process:  # a forked data worker
            return
        self._asked = True
        self._restore()
        if number == signal.SIGINT:
            self._notify("stopping after this step; once more stops at once")

    def _restore(self) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type]
        self._before = {}
