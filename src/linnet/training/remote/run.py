"""Training on another machine: check, send, install, start, follow, fetch; a repeated call attaches to a running
job."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from linnet.data import write_manifest
from linnet.errors import LinnetError, OptionError
from linnet.notices import Notify
from linnet.training.remote.commands import FORWARDED, Command, Remote
from linnet.training.remote.parcel import Parcel

Row = dict[str, Any]
_LOST = 255  # ssh's own exit status for a broken connection


def plan_remote(remote: Remote, parcel: Parcel, output: Path, secrets: Sequence[str] = FORWARDED) -> list[Command]:
    """All commands in order; those between the first and the last two are skipped if the run is active."""
    files = [remote.send_files(parcel.paths, parcel.size)] if parcel.paths else []
    send = [remote.send_job(staging(output)), *files, remote.install()]
    return [remote.look(), *send, remote.start(_environment(secrets)), remote.follow(), remote.fetch(output)]


def run_remote(
    remote: Remote,
    parcel: Parcel,
    output: Path,
    *,
    secrets: Sequence[str] = FORWARDED,
    notify: Notify,
) -> Iterator[Row]:
    """Train on the other machine; yields the log rows and fetches the run's folder to `output` without checkpoints.

    Attaches to a run that is active. The run continues if this process is interrupted.

    Raises:
        LinnetError: a command fails, the connection breaks, or the training ends with an error.
    """
    look, *send, start, follow, fetch = plan_remote(remote, parcel, output, secrets)
    if _run(look).strip().endswith("running"):
        notify(f"{remote.session} is running on {remote.host}: attaching to it")
    else:
        _stage(remote, parcel, staging(output))
        for command in send:
            notify(f"{command.why} ({command.shown})" if command.shown else command.why)
            _run(command)
        _run(start)
        notify(f"{remote.session} has started on {remote.host}; to watch it there:  tmux attach -t {remote.session}")
    try:
        status = yield from _follow(follow, notify)
    except (KeyboardInterrupt, GeneratorExit):
        notify(
            f"the run continues on {remote.host}: the same command attaches to it again;  "
            f"ssh {remote.host} tmux kill-session -t {remote.session}  ends it"
        )
        raise
    if status == _LOST:
        raise LinnetError(
            f"{remote.host}: the connection was lost. The run continues there: the same command attaches to it again."
        )
    output.mkdir(parents=True, exist_ok=True)
    _run(fetch)
    _name_bases(output, parcel.paths)
    if status:
        raise LinnetError(
            f"{remote.host}: the training ended with an error (see above). The same command resumes from its "
            "newest checkpoint."
        )


def staging(output: Path) -> Path:
    """The local folder of recipe and manifests to be sent."""
    return output / "remote"


def _name_bases(output: Path, paths: Sequence[str]) -> None:
    """Restore local paths of base models in fetched models."""
    for file in (output / name / "config.json" for name in ("best", "model")):
        config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        for base in (config.get("bases") or {}).values():
            base["name"] = next((path for path in paths if base["name"].endswith(f"/files{path}")), base["name"])
        if config.get("bases"):
            file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _environment(names: Sequence[str]) -> dict[str, str]:
    """The variables that are set. Raises `OptionError` for a requested one that is not."""
    missing = [name for name in names if name not in FORWARDED and name not in os.environ]
    if missing:
        raise OptionError(f"forward: {', '.join(missing)} is not set in this environment")
    return {name: os.environ[name] for name in dict.fromkeys(names) if name in os.environ}


def _stage(remote: Remote, parcel: Parcel, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    recipe = yaml.safe_dump(parcel.recipe, sort_keys=False, allow_unicode=True)
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    (folder / "job.sh").write_text(remote.job_script(), encoding="utf-8")
    for name, utterances in parcel.manifests.items():
        write_manifest(folder / name, utterances)


def _run(command: Command) -> str:
    """Run a command; returns its stdout, while stderr is passed through."""
    try:
        done = subprocess.run(command.arguments, input=command.stdin.encode(), stdout=subprocess.PIPE, check=False)
    except FileNotFoundError:
        raise _missing(command) from None
    if done.returncode:
        raise LinnetError(
            f"to {command.why}: {command.arguments[0]} failed with status {done.returncode} (see above): "
            f"{command.arguments[-2] if command.arguments[0] == 'ssh' else command.arguments[-1]}"
        )
    return done.stdout.decode(errors="replace")


def _follow(command: Command, notify: Notify) -> Generator[Row, None, int]:
    """Log rows as they arrive, each step once; other lines are passed to `notify`. Returns the exit status."""
    try:
        process = subprocess.Popen(command.arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    except FileNotFoundError:
        raise _missing(command) from None
    newest = 0
    with process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                row = _row(line)
                if row is None:
                    notify(line.decode(errors="replace").rstrip().removeprefix("linnet: "))
                elif row["step"] > newest:
                    newest = row["step"]
                    yield row
        except BaseException:
            process.terminate()
            raise
    return process.returncode


def _row(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None


def _missing(command: Command) -> OptionError:
    return OptionError(f"{command.arguments[0]} is not installed on this machine, and --remote needs it")
