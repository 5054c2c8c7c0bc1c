"""`linnet train --remote`: train a recipe on another machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.cli.console import notice, print_result
from linnet.cli.train_log import show

if TYPE_CHECKING:
    from linnet.training.options import Recipe


@dataclass(frozen=True)
class RemoteOptions:
    """Options of the remote machine."""

    host: str
    folder: str
    processes: int
    wheel: Path | None
    forward: tuple[str, ...]


def train_there(recipe: Recipe, there: RemoteOptions, *, dry_run: bool, skip_bad: bool) -> None:
    """Train there and fetch the result, or print the commands that would."""
    from linnet.training.folder import result_folder
    from linnet.training.remote.commands import FORWARDED, Remote
    from linnet.training.remote.parcel import pack
    from linnet.training.remote.run import plan_remote, run_remote

    parcel = pack(recipe, skip_bad=skip_bad)
    remote = Remote(there.host, parcel.name, there.folder, there.processes, parcel.extras, there.wheel, skip_bad)
    output, secrets = Path(recipe.run.output), (*FORWARDED, *there.forward)
    if dry_run:
        print_result("\n".join(map(str, plan_remote(remote, parcel, output, secrets))))
        return
    show(run_remote(remote, parcel, output, secrets=secrets, notify=notice))
    print_result(f"{result_folder(recipe)}\n")
