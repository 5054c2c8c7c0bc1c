"""Signals of this process, and launching a command in several processes."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import typer


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, handled like Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def exit_status(stop: KeyboardInterrupt) -> int:
    """The exit status of a command stopped by a signal.

    >>> exit_status(KeyboardInterrupt()), exit_status(Terminated(signal.SIGTERM))
    (130, 143)
    """
    return 128 + (stop.number if isinstance(stop, Terminated) else signal.SIGINT)


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise SIGTERM and SIGHUP as `Terminated`, so that temporary files are removed; a second one ends at once.

    Ignored signals (nohup) stay ignored. Only the main thread gets signals.
    """
    before: dict[signal.Signals, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(number: int, _: FrameType | None) -> None:
        restore()
        raise Terminated(number)

    if threading.current_thread() is threading.main_thread():
        for number in {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}:  # Windows has no SIGHUP
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, stop)
    try:
        yield
    except Terminated as stopped:
        raise typer.Exit(exit_status(stopped)) from None
    finally:
        restore()


def launch(count: int, arguments: Sequence[str]) -> None:
    """Run `linnet ARGUMENTS` in `count` processes, like torchrun; if one fails, the others are terminated.

    Ctrl-C and SIGTERM are passed on to all, with a grace period of half a minute. Raises `typer.Exit` on failure.
    """
    from uuid import uuid4

    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.CRITICAL)  # errors are reported by the processes, or below
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "linnet", *arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            ended = f"process {rank} of {count} was ended by {signal.Signals(-failure.exitcode).name}"
            print(f"linnet: {ended}", file=sys.stderr)
        raise typer.Exit(max(1, failure.exitcode)) from None
    except SignalException as error:
        raise typer.Exit(128 + error.sigval) from None


def reports_errors() -> bool:
    """Whether this process reports the error: the first to ask among those launched together."""
    place = os.environ.get("TORCHELASTIC_ERROR_FILE")  # .../attempt_0/RANK/error.json
    if place is None:
        return True
    try:
        os.close(os.open(Path(place).parents[1] / "told", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    except OSError:  # better twice than never
        return True
    return True
