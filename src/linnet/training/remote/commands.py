"""The commands that train a run on another machine, without running them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from linnet import __version__
from linnet.errors import OptionError

PAUSE = 1.0  # seconds until a run is looked at again, and for the last lines of its output
FORWARDED = ("HF_TOKEN", "WANDB_API_KEY", "WANDB_PROJECT", "TRACKIO_PROJECT")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:%\[\]-]*")
_FOLDER = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./-]*")  # no characters special to a shell, ssh or rsync
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Command:
    """A program with its arguments, purpose and stdin, of which only `shown` is ever displayed."""

    why: str
    arguments: tuple[str, ...]
    stdin: str = field(default="", repr=False)
    shown: str = ""

    def __str__(self) -> str:
        said = f"# {self.why}" + (f"; stdin: {self.shown}" if self.shown else "")
        return f"{said}\n{shlex.join(self.arguments)}\n"


@dataclass(frozen=True)
class Remote:
    """Another machine and a run on it.

    `host` is what ssh takes: USER@HOST, or a name of ~/.ssh/config (for ports and keys). `folder` is on that machine,
    relative to the home folder. `wheel` is installed instead of Linnet from the package index.

    Raises:
        OptionError: a host, folder or variable with invalid characters.
    """

    host: str
    run: str
    folder: str = "linnet"
    processes: int = 1
    extras: tuple[str, ...] = ("train",)
    wheel: Path | None = None
    skip_bad: bool = False

    def __post_init__(self) -> None:
        if not _HOST.fullmatch(self.host):
            raise OptionError(f"remote {self.host!r}: expected USER@HOST or a name of ~/.ssh/config")
        if not _FOLDER.fullmatch(self.folder):
            raise OptionError(
                f"remote folder {self.folder!r}: expected a path of letters, digits and . _ - / (relative to the home "
                "folder there, or whole)"
            )
        if self.wheel is not None and not self.wheel.is_file():
            raise OptionError(f"{self.wheel}: no such wheel; make one with  python -m build --wheel")

    @property
    def session(self) -> str:
        """The name of the tmux session."""
        return f"linnet-{self.run}"

    @property
    def job(self) -> str:
        """The folder of the run's recipe on the other machine."""
        return f"{self.folder}/jobs/{self.run}"

    def look(self) -> Command:
        """Create the folders; prints whether the run is active. Status 3: a program is missing."""
        script = (
            "for program in tmux rsync python3; do command -v $program >/dev/null || "
            '{ echo "$program is not installed there" >&2; exit 3; }; done; '
            f"mkdir -p {self.job} {self.folder}/runs {self.folder}/files && "
            f"if tmux has-session -t ={self.session} 2>/dev/null; then echo running; else echo idle; fi"
        )
        return self._ssh(f"check whether {self.session} is running", script)

    def send_job(self, staging: Path) -> Command:
        """Copy recipe, manifests and the wheel, if any."""
        # absolute paths: rsync takes `a:b` for a host and `-a` for an option
        sent = [f"{staging.absolute()}/", *([str(self.wheel.absolute())] if self.wheel else [])]
        return Command("send the recipe", ("rsync", "-a", *sent, f"{self.host}:{self.job}/"))

    def send_files(self, paths: Sequence[str], size: int) -> Command:
        """Copy the files that the recipe names, except unchanged ones."""
        options = ("-rtL", "--relative", "--from0", "--files-from=-")
        count = f"{len(paths)} paths, {size / 1e6:,.1f} MB"
        return Command(
            "send the files that it names",
            ("rsync", *options, "/", f"{self.host}:{self.folder}/files/"),
            "".join(f"{path}\0" for path in paths),
            count,
        )

    def install(self) -> Command:
        """Create the environment and install Linnet."""
        extras = f"[{','.join(self.extras)}]"
        pip = f"{self.folder}/venv/bin/python -m pip install -q"
        make = f"test -x {self.folder}/venv/bin/python || python3 -m venv {self.folder}/venv"
        if self.wheel is None:
            script = f"{make} && {pip} {shlex.quote(f'linnet{extras}=={__version__}')}"
        else:
            wheel = f"{self.job}/{self.wheel.name}"
            script = f"{make} && {pip} {shlex.quote(wheel + extras)}"
            script += f" && {pip} --force-reinstall --no-deps {shlex.quote(wheel)}"  # the version may be the same
        return self._ssh("install linnet there", f"({script}) >&2")

    def start(self, environment: Mapping[str, str]) -> Command:
        """Start the run in tmux. Variables go through stdin and a pipe, never a command line or file."""
        script = (
            f"cd {self.job} && rm -f status keys && : > said && mkfifo -m 600 keys && "
            f"tmux new-session -d -s {self.session} 'exec sh job.sh' && cat > keys"
        )
        for name in environment:
            if not _VARIABLE.fullmatch(name):
                raise OptionError(f"forward {name!r}: expected the name of an environment variable")
        given = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
        return self._ssh(f"start it in the tmux session {self.session}", script, given, ", ".join(environment))

    def job_script(self) -> str:
        """`job.sh`: reads the variables, trains, and saves the exit status."""
        bin_ = "../../venv/bin"
        alone = f"{bin_}/python -m linnet train"
        many = f"{bin_}/python -m torch.distributed.run --nproc-per-node {self.processes} -m linnet train"
        skip = " --skip-bad" if self.skip_bad else ""
        train = f"{many if self.processes > 1 else alone} recipe.yaml{skip}"
        return f". ./keys\nrm -f keys\n{train} > result 2> said\necho $? > status\n"

    def follow(self) -> Command:
        """Print the run's output until it ends; the exit status is its own, but never ssh's 255."""
        script = (
            f"cd {self.job} || exit 1; tail -n +1 -f said & tail=$!; "
            f"while tmux has-session -t ={self.session} 2>/dev/null && kill -0 $tail 2>/dev/null; do "
            f"sleep {PAUSE:g}; done; sleep {PAUSE:g}; "
            'kill $tail 2>/dev/null; test "$(cat status 2>/dev/null)" = 0'
        )
        return self._ssh("show its output until it ends", script, options=("-o", "ServerAliveInterval=15"))

    def fetch(self, output: Path) -> Command:
        """Fetch the run's folder without checkpoints and the cached corpus."""
        there = f"{self.host}:{self.folder}/runs/{self.run}/"
        left = ("--exclude=/checkpoints", "--exclude=/corpus")
        return Command("fetch the run", ("rsync", "-a", *left, there, f"{output.absolute()}/"))

    def _ssh(self, why: str, script: str, stdin: str = "", shown: str = "", options: tuple[str, ...] = ()) -> Command:
        """A script for `sh`, independent of the user's login shell."""
        return Command(why, ("ssh", *options, self.host, f"sh -c {shlex.quote(script)}"), stdin, shown)
