"""Calling the command in this process, as `linnet ARGUMENTS` does in its own."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import pytest

from linnet.cli import main


@dataclass(frozen=True)
class Called:
    """What a call left: exit status, stdout, stderr."""

    status: int
    out: str
    err: str


Call = Callable[..., Called]


def make_call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """A function that runs the command with arguments; `model` replaces what `linnet.load` gives."""

    def call(*arguments: object, model: Any = None) -> Called:
        if model is not None:
            monkeypatch.setattr("linnet.transcription.recognizer.load", _loader(model))
        monkeypatch.setattr(sys, "argv", ["linnet", *map(str, arguments)])
        return Called(_status(), *capsys.readouterr())

    return call


def called(*arguments: object) -> Called:
    """The same without fixtures, for what a module makes once."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["linnet", *map(str, arguments)])
        status = _status()
    return Called(status, *(one.buffer.getvalue().decode() for one in (out, err)))  # type: ignore[attr-defined]


def _status() -> int:
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _loader(model: Any) -> Callable[..., Any]:
    def load(name: str | None, *, notify: Callable[[str], None], **_: object) -> Any:
        if name is None:
            notify("model: fake (the only one)")
        return model

    return load
