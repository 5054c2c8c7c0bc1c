"""The base of pages: whole, escaped, with charts and media that need no network."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import jinja2
import pytest

from linnet.pages.charts import line_chart
from linnet.pages.media import AudioClip
from linnet.pages.page import render_page

HOSTILE = "</script><script>alert(1)</script>\"'"


def parts(call: str, **values: object) -> str:
    """What a macro of `parts.html` makes."""
    environment = jinja2.Environment(loader=jinja2.PackageLoader("linnet.pages", "parts"), autoescape=True)
    environment.filters |= {"scale": lambda value, largest: f"{value / largest:.0%}", "percent": lambda *_: "%"}
    return environment.from_string(f'{{% import "parts.html" as parts %}}{{{{ parts.{call} }}}}').render(values)


def tags(text: str) -> list[tuple[str, dict[str, str | None]]]:
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: found.append((tag, dict(attrs)))  # type: ignore[method-assign]
    parser.feed(text)
    return found


def test_a_page_of_pictures_may_show_them_and_load_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    template = '{% extends "page.html" %}{% block main %}<p>{{ more }}</p>{% endblock %}'
    files = {"__init__.py": "", "page/why.html": template, "page/why.css": "p { color: red; }"}
    for name, content in files.items():
        path = tmp_path / "some_feature" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    text = render_page("some_feature", "why", {"title": HOSTILE, "more": HOSTILE}, media=("img", "media"))
    assert text.count("<script>") == text.count("</script>") == 1
    assert "p { color: red; }</style>" in text
    policy = next(found["content"] for tag, found in tags(text) if found.get("http-equiv")) or ""
    assert re.sub(r"'sha256-[^']+'", "OURS", policy) == (
        "default-src 'none'; style-src OURS; script-src OURS; img-src data:; media-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def test_a_line_chart_keeps_its_points_in_order_and_inside() -> None:
    made = line_chart("loss", {HOSTILE: [(0, 2.0), (50, 1.0), (100, float("nan"))], "b": [(100, 0.11)]}, label_x="step")
    first, second = ([tuple(map(float, point.split(","))) for point in line.points.split()] for line in made.lines)
    assert len(first) == 2
    assert (first[0][0], second[0][0]) == (made.left, made.right)
    assert first[0][1] < first[1][1] < second[0][1] <= made.bottom
    assert [tick.text for tick in made.ticks_x] == ["0", "20", "40", "60", "80", "100"]
    assert [tick.text for tick in made.ticks_y] == [f"{tenths / 10:g}" for tenths in range(0, 21, 2)]
    drawn = parts("line_chart(chart)", chart=made)
    assert len([tag for tag, _ in tags(drawn) if tag == "polyline"]) == 2
    assert "<script>" not in drawn
    assert "style=" not in drawn


@pytest.mark.parametrize("points", [[], [(3, 3)], [(0, 0), (1, 0)], [(-1e9, 1e-9), (1e9, 2e-9)]])
def test_few_points_make_a_chart_too(points: list[tuple[float, float]]) -> None:
    made = line_chart("x", {"a": points})
    assert 2 <= len(made.ticks_x) <= 11
    assert 2 <= len(made.ticks_y) <= 11
    assert len(made.lines[0].points.split()) == len(points)


def test_a_bar_chart_is_a_table_with_heads() -> None:
    drawn = parts("bar_chart('speed', [('engine', ''), ('RTFx', 'share')], rows)", rows=[(HOSTILE, 2.0), ("b", 4.0)])
    assert [found.get("scope") for tag, found in tags(drawn) if tag == "th"] == ["col", "col", "row", "row"]
    assert [found["width"] for tag, found in tags(drawn) if tag == "rect"] == ["50%", "100%"]
    assert "<script>" not in drawn


def test_a_sound_is_played_or_says_why_not() -> None:
    assert "<audio" in parts("audio_player(clip, 'a')", clip=AudioClip("data:audio/mpeg;base64,AA=="))
    silent = parts("audio_player(clip, 'a')", clip=AudioClip(note=HOSTILE))
    assert "<audio" not in silent
    assert "no script" not in silent
    assert "<script>" not in silent
