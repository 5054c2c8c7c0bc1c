"""Processes that are forked from one that has the libraries loaded already: a start costs no import.

For tests of what the command does in a process of its own (its output, its exit status, its end by a signal) and not of
how it starts, which `python -m linnet` tells.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["linnet.training.speech.run", "linnet.cli.train", "peft", "soundfile"])


def run_linnet(*arguments: object, cwd: Path, timeout: float = 120.0) -> CompletedProcess[str]:
    """Run the command in a folder, with the environment of now.

    Raises `TimeoutError`, and ends it, where it takes longer.
    """
    return _run(_command, ["linnet", *map(str, arguments)], cwd, timeout)


def run_python(code: str, *, cwd: Path, timeout: float = 120.0) -> CompletedProcess[str]:
    """The same of a program, as `python -c` runs it."""
    return _run(_program, ["-c", code], cwd, timeout)


def _run(work: Callable[[list[str]], None], words: list[str], cwd: Path, timeout: float) -> CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as told:
        process = CONTEXT.Process(target=_working, args=(work, words, str(cwd), dict(os.environ), told))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"{' '.join(words)} takes more than {timeout:g} s")
        texts = [(Path(told) / name).read_text(encoding="utf-8") for name in ("stdout", "stderr")]
    return CompletedProcess(words, process.exitcode, *texts)


def _working(
    work: Callable[[list[str]], None], words: list[str], cwd: str, environment: dict[str, str], told: str
) -> None:
    _take_place(environment, told)
    os.chdir(cwd)
    sys.argv = list(words)
    work(words)


def _command(words: list[str]) -> None:
    from linnet.cli import main

    main()


def _program(words: list[str]) -> None:
    exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})


def _take_place(environment: dict[str, str], told: str) -> None:
    """Write where the test reads, in its environment."""
    os.environ.clear()
    os.environ.update(environment)
    for number, name in ((1, "stdout"), (2, "stderr")):
        with (Path(told) / name).open("wb") as file:
            os.dup2(file.fileno(), number)


class Killed:
    """A function of a module in a process of its own, which is killed at the end of the `with` block.

    The function gets a `tell`, and `told` is the next that it was called with. Raises `EOFError` where it ended.
    """

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._own, pipe = CONTEXT.Pipe(duplex=False)
        self._process = CONTEXT.Process(target=_telling, args=(function, pipe, *arguments))
        self._process.start()
        pipe.close()

    def told(self, timeout: float = 60.0) -> Any:
        """What comes next. Raises `TimeoutError` where nothing comes."""
        if not self._own.poll(timeout):
            raise TimeoutError(f"nothing was told for {timeout:g} s")
        return self._own.recv()

    def __enter__(self) -> Killed:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._own.close()


def _telling(function: Callable[..., Any], pipe: Any, *arguments: Any) -> None:
    function(pipe.send, *arguments)
