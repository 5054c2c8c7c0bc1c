"""Calling the command in this process, as `linnet ARGUMENTS` does in its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
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
        status = 0
        try:
            main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        return Called(status, *capsys.readouterr())

    return call


def _loader(model: Any) -> Callable[..., Any]:
    def load(name: str | None, *, notify: Callable[[str], None], **_: object) -> Any:
        if name is None:
            notify("model: fake (the only one)")
        return model

    return load
