"""Controls the process that measures steps, and restarts it where a step ended it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from linnet.data.batching import Shape
from linnet.errors import LinnetError, OptionError
from linnet.notices import Notify
from linnet.training.estimate.memory import describe
from linnet.training.estimate.memory_profile import Moments
from linnet.training.speech.recipe import SpeechData, SpeechRecipe

_PATIENCE = 30  # seconds for processes to end before they are killed
_LAST_LINES = 8  # of a process's stderr


class Probing:
    """Measures steps of a recipe in one process, or in several under torchrun; a context manager.

    `characters` are those of a CTC head, if the recipe has one.

    Raises:
        LinnetError: the recipe's model or device is unavailable, or its process ends before the first step.
    """

    def __init__(self, recipe: SpeechRecipe, processes: int, notify: Notify, characters: str = "") -> None:
        self._characters = characters
        self._recipe, self.processes, self._notify = recipe, processes, notify
        self._folder = tempfile.TemporaryDirectory(prefix="linnet-probe-")
        self._process: subprocess.Popen[str] | None = None
        self.held = self.free = 0  # bytes of weights and optimizer, and free before loading

    def __enter__(self) -> Probing:
        content = json.dumps(asdict(replace(self._recipe, data=SpeechData())))
        (self._path / "recipe.yaml").write_text(content, encoding="utf-8")  # JSON is YAML
        try:
            unused = self._start()
        except BaseException:  # also an interrupt
            self.__exit__()
            raise
        for name in unused:
            self._notify(f"{name} gets no gradient: it is trained, but not used in a step")
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._folder.cleanup()

    @property
    def _path(self) -> Path:
        return Path(self._folder.name)

    def moments(self, shape: Shape) -> Moments | None:
        """The bytes of each moment of a step at this shape; None if it runs out of memory or the process is killed."""
        if self._process is None:
            self._start()
        answer = self._ask(shape)
        if answer is None:
            self._notify(f"a step of {describe(shape)} ended its process: {self._last_words()}")
            self._end()
            return None
        if answer.get("full"):
            return None
        if "error" in answer:
            raise LinnetError(f"a step of {describe(shape)}: {answer['error']}")
        return {name: int(count) for name, count in answer["moments"].items()}

    def _start(self) -> list[str]:
        """Start the process; returns the names of trained weights without a gradient."""
        several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(self.processes)]
        command = [sys.executable, *(several if self.processes > 1 else [])]
        with (self._path / "stderr").open("w") as errors:
            self._process = subprocess.Popen(
                [*command, "-m", "linnet.training.estimate.probe", str(self._path / "recipe.yaml"), self._characters],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "KINETO_LOG_LEVEL": "5"},
                start_new_session=True,  # interrupts go to this process only, which ends the others
            )
        answer = self._answer()
        if answer is None:
            raise LinnetError(f"the measuring process ended before its first step: {self._last_words()}")
        if "error" in answer:
            raise OptionError(answer["error"])
        self.held, self.free = int(answer["held"]), int(answer["free"])
        return list(answer["unused"])

    def _ask(self, shape: Shape) -> dict[str, Any] | None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(shape) + "\n")
            self._process.stdin.flush()
        except OSError:  # it is gone
            return None
        return self._answer()

    def _answer(self) -> dict[str, Any] | None:
        """The next reply of the first process; None if it has ended."""
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer: dict[str, Any] | None = json.loads(line) if line else None
        return answer

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()  # torchrun ends its own processes
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except OSError:  # a pipe to a process that has ended
                continue

    def _last_words(self) -> str:
        """How the process ended, and its last output."""
        assert self._process is not None
        try:
            code = self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            code = 0
        lines = (self._path / "stderr").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        words = "; ".join(line.strip() for line in lines[-_LAST_LINES:] if not line.startswith("USDT"))
        return f"exit status {code}{', a signal, as when the system is out of memory' * (code < 0)}. {words}"
