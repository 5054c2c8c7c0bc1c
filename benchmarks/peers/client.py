"""The other end of `worker.py`: a runtime in its own process, asked to transcribe."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

WORKER = Path(__file__).with_name("worker.py")


class PeerError(Exception):
    """A peer that cannot be set up, converted or run; the text is the reason for the table."""


@dataclass(frozen=True)
class Run:
    """One transcription: seconds of wall clock and of CPU, tokens of each window, peak memory of the process so far."""

    seconds: float
    cpu_seconds: float
    tokens: tuple[int, ...]
    peak_mb: float


@dataclass(frozen=True)
class Launch:
    """How to start one runtime: its interpreter, its module under systems/, its settings."""

    python: Path
    system: str
    settings: dict[str, Any]
    environment: dict[str, str]
    log: Path

    def whole_environment(self) -> dict[str, str]:
        """The variables of this process with those of the runtime above them."""
        return {**os.environ, **self.environment}

    def command(self, do: str) -> list[str]:
        """The command line of its process."""
        order = {"system": self.system, "do": do, "settings": self.settings}
        return [str(self.python), str(WORKER), json.dumps(order)]


def convert(launch: Launch) -> dict[str, Any]:
    """Convert a model in the peer's environment; its seconds and versions. Raises `PeerError`."""
    begun = time.perf_counter()
    with launch.log.open("ab") as log:
        done = subprocess.run(
            launch.command("convert"),
            stdout=subprocess.PIPE,
            stderr=log,
            env=launch.whole_environment(),
            check=False,
        )
    reply = _read(done.stdout.decode() or "{}", launch)
    return {**reply, "process_seconds": time.perf_counter() - begun}


class Worker:
    """A running runtime with its model loaded. To be used in a `with` block. Raises `PeerError`."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._log = launch.log.open("ab")
        self._process = subprocess.Popen(
            launch.command("serve"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=launch.whole_environment(),
        )
        try:
            ready = self._next()
        except PeerError:
            self.close()
            raise
        self.versions: dict[str, str] = ready["versions"]
        self.load_seconds: float = ready["load_seconds"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the process."""
        self.close()

    def _next(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        return _read(self._process.stdout.readline() or "{}", self._launch)

    def transcribe(self, recording: Path, seconds: float) -> Run:
        """The first `seconds` of a recording."""
        assert self._process.stdin is not None
        print(json.dumps({"recording": str(recording), "seconds": seconds}), file=self._process.stdin, flush=True)
        reply = self._next()
        return Run(reply["seconds"], reply["cpu_seconds"], tuple(reply["tokens"]), reply["peak_mb"])

    def call(self, recording: Path, calls: Sequence[Sequence[tuple[int, int]]]) -> tuple[list[float], list[str]]:
        """One call for each list of stretches (first and last sample): the seconds of each, and all texts in order."""
        assert self._process.stdin is not None
        print(json.dumps({"recording": str(recording), "calls": calls}), file=self._process.stdin, flush=True)
        reply = self._next()
        return reply["seconds"], [text for texts in reply["texts"] for text in texts]

    def close(self) -> None:
        """Wait until it has ended; nothing is left running."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


def _read(text: str, launch: Launch) -> dict[str, Any]:
    reply: dict[str, Any] = json.loads(text)
    if not reply:
        raise PeerError(f"its process ended without an answer, see {launch.log.name}")
    if "error" in reply:
        raise PeerError(" ".join(str(reply["error"]).split())[:300])
    return reply
