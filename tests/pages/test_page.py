"""The base of pages: whole, escaped, with charts and media that need no network."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path

import jinja2
import numpy as np
import pytest

from linnet.pages.charts import line_chart
from linnet.pages.media import AudioClip, picture_url, spectrogram_url
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


def decoded(address: str) -> np.ndarray:
    """The gray values of a PNG that `picture_url` made, by the chunks of the standard."""
    kind, _, data = address.partition(",")
    assert kind == "data:image/png;base64"
    png = base64.b64decode(data)
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    place, chunks = 8, {}
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        name, body = png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        assert struct.unpack(">I", png[place + 8 + length : place + 12 + length])[0] == zlib.crc32(name + body)
        chunks[name] = body
        place += 12 + length
    width, height, depth, color = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (depth, color) == (8, 0)
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not rows[:, 0].any()
    return rows[:, 1:]


def test_a_picture_is_png() -> None:
    pixels = np.array([[0.0, 0.5, 1.0], [1.0, 0.0, 0.25]])
    assert decoded(picture_url(pixels)).tolist() == [[0, 128, 255], [255, 0, 64]]


def test_a_spectrogram_shows_a_tone_where_it_is() -> None:
    tone = np.sin(2 * np.pi * 2000 * np.arange(16000) / 16000).astype(np.float32)
    image = decoded(spectrogram_url(np.concatenate([np.zeros(16000, np.float32), tone]), 16000))
    height, width = image.shape
    assert width == 200
    assert image[:, : width // 2 - 5].max() == 0
    loudest = height - 1 - image[:, width // 2 + 5 : -5].argmax(0)  # frequencies grow upwards
    assert set(loudest * 8000 / (height - 1)) == {2000.0}
    assert decoded(spectrogram_url(np.zeros(60 * 16000, np.float32), 16000)).shape[1] <= 1200
