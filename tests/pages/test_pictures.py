"""Pictures are of the kind that their ending says, the same each time, and what cannot be drawn is said."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from linnet.errors import MissingExtra, OptionError, OutputError
from linnet.pages.pictures import check_picture, name_lines, new_figure, plain_axes, save_figure

pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")


def _texts(path: Path) -> list[str]:
    return [element.text or "" for element in ET.parse(path).getroot().iter("{http://www.w3.org/2000/svg}text")]


def test_a_picture_is_of_the_kind_that_its_name_says(tmp_path: Path) -> None:
    for name, magic in (("a.png", b"\x89PNG"), ("b.PNG", b"\x89PNG"), ("c.svg", b"<?xml")):
        save_figure(new_figure(3, 2, "title"), tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(magic)
    assert "title" in _texts(tmp_path / "c.svg")


def test_the_same_picture_is_the_same_file(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg", "a.png", "b.png"):
        save_figure(new_figure(3, 2, "title"), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    names = ["$x_2$", "_hidden", "50 $", "語"]
    figure = new_figure(4, 3, "runs/$a$")
    axes = figure.subplots()
    plain_axes(axes, "in $")
    lines = [axes.plot([0, 1])[0] for _ in names]
    name_lines(axes, lines, names)
    save_figure(figure, tmp_path / "a.svg")
    assert {*names, "runs/$a$", "in $"} <= set(_texts(tmp_path / "a.svg"))
    save_figure(figure, tmp_path / "a.png")


def test_what_cannot_be_drawn_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        OptionError, match=r"curves.jpg: pictures are PNG or SVG; give a file name that ends with .png or"
    ):
        check_picture(Path("curves.jpg"))
    with pytest.raises(OutputError, match=r"nowhere/a.png: cannot write: No such file or directory"):
        save_figure(new_figure(3, 2, ""), tmp_path / "nowhere" / "a.png")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r'pip install "linnet\[plot\]"'):
        check_picture(Path("curves.png"))
