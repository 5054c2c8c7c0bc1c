"""How a run ends before its last step: as asked, or because another of its processes is gone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from linnet.errors import LinnetError
from linnet.notices import Notify

Stop = Callable[[], bool]  # asked after each step: whether to stop there


class StoppedError(LinnetError):
    """A run that was asked to stop, and has kept its last step."""


class LostProcessError(LinnetError):
    """Another process of the run has ended, so that this one cannot go on."""


def never() -> bool:
    """The answer of a run that nobody stops."""
    return False


def leave_signals(_: int) -> None:
    """Let a process that only reads for another end with that one: Ctrl-C reaches both."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def together() -> Iterator[None]:
    """Say in one sentence where work that processes share fails because one of them is gone.

    Raises:
        LostProcessError: instead of what the collective operation raises.
    """
    import torch

    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.distributed.DistError) and "/gloo/" not in str(error):
            raise
        raise LostProcessError(
            "another process of this run has ended, so this one ends, too: the same command goes on from the newest "
            "checkpoint."
        ) from error


class Signals:
    """Ctrl-C and SIGTERM as a wish to stop after the step: called, it answers whether there was one.

    From its first call to the end of its `with` block the first signal is a wish (Ctrl-C is answered through `notify`),
    the second one does what it did before. Only the main thread gets signals; elsewhere nothing changes.
    """

    def __init__(self, notify: Notify) -> None:
        self._notify, self._asked, self._process = notify, False, os.getpid()
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Signals:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the signals as they were."""
        self._restore()

    def __call__(self) -> bool:
        """Whether a signal has come."""
        import threading

        if not self._before and not self._asked and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self._asked

    def _note(self, number: int, _: object) -> None:
        if os.getpid() != self._process:  # one that was forked to read for it
            return
        self._asked = True
        self._restore()
        if number == signal.SIGINT:
            self._notify("stopping after this step; once more stops at once")

    def _restore(self) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type]
        self._before = {}
