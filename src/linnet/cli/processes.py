"""One command in several processes of this machine: started, watched, and what goes wrong told once."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import typer


def launch(count: int, arguments: Sequence[str]) -> None:
    """Run `linnet ARGUMENTS` in `count` processes, as torchrun does; where one ends badly the others are ended.

    Ctrl-C and SIGTERM go to all, which then have half a minute. Raises `typer.Exit` where it does not go well.
    """
    from uuid import uuid4

    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.CRITICAL)  # what goes wrong the processes tell, or we do below
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


def tells() -> bool:
    """Whether this process is the one to tell how things end: of those launched together the first that asks."""
    place = os.environ.get("TORCHELASTIC_ERROR_FILE")  # .../attempt_0/RANK/error.json
    if place is None:
        return True
    try:
        os.close(os.open(Path(place).parents[1] / "told", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    except OSError:  # rather twice than never
        return True
    return True
