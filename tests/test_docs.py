"""Every Python snippet of the README and the docs runs, and every command in them parses."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.support.forked import run_python
from tests.support.places import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def snippets(language: str) -> list[tuple[str, str]]:
    return [(page.name, body) for page in PAGES for name, body in FENCE.findall(page.read_text()) if name == language]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "```python" in page.read_text()], ids=lambda page: page.name
)
def test_the_python_of_a_page_runs(page: Path) -> None:
    bodies = [body for name, body in FENCE.findall(page.read_text()) if name == "python"]
    done = run_python("\n".join(bodies), cwd=ROOT)
    assert done.returncode == 0, done.stderr


def commands() -> list[tuple[str, str]]:
    lines = [(page, line.split("  #")[0].strip()) for page, body in snippets("bash") for line in body.splitlines()]
    return [(page, line) for page, line in lines if line.startswith("linnet ")]


def test_every_option_named_in_the_docs_exists() -> None:
    from typer.main import get_command
    from typer.testing import CliRunner

    from linnet.cli import build_app

    assert commands(), "the docs show no command"
    app, helps = build_app(), {}
    known = get_command(app).commands
    for page, line in commands():
        words = shlex.split(line)
        verbs = words[1:3] if set(words[2:3]) & set(getattr(known[words[1]], "commands", ())) else words[1:2]
        key = tuple(verbs)
        if key not in helps:
            result = CliRunner().invoke(app, [*verbs, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
            assert result.exit_code == 0, (page, line, result.output)
            helps[key] = result.output
        for option in [word.split("=")[0] for word in words if word.startswith("--")]:
            assert option in helps[key], f"{page}: {line}: {option} is not an option of linnet {' '.join(verbs)}"


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_tables_of_the_benchmarks_are_those_of_the_data_file() -> None:
    from benchmarks.plots import fill_tables, read_sections

    page = (ROOT / "docs/benchmarks.md").read_text()
    sections = read_sections()
    assert fill_tables(page, sections) == page, "run  python benchmarks/plots.py"
    shown = set(re.findall(r"<!-- table: (\w+) -->", page))
    assert shown == set(sections), "every section of docs/benchmarks.json has its place in the page"


def test_every_target_of_the_benchmarks_is_met_or_missed() -> None:
    from benchmarks.plots import read_sections, rows_of

    for name, section in read_sections().items():
        for row in rows_of(section):
            if row.get("target", "") != "":
                assert row["met?"] in ("met", "missed"), f"{name}: {row}"


def test_a_ratio_of_the_benchmarks_is_that_of_its_two_sides() -> None:
    from benchmarks.plots import read_sections, rows_of

    for row in rows_of(read_sections()["speed_real"]):
        ratio = row["faster-whisper, s"] / row["Linnet, s"]
        assert abs(ratio - row["times as fast"]) < 0.02, row
        assert (row["met?"] == "met") == (row["times as fast"] >= row["target"]), row


def source_texts() -> str:
    """All source files, with texts that go over several lines put together."""
    files = sorted((ROOT / "src/linnet").rglob("*.py"))
    return re.sub(r'"\s*\n\s*f?"', "", "\n".join(path.read_text() for path in files))


def test_the_messages_of_the_troubleshooting_page_exist() -> None:
    page, source = (ROOT / "docs/troubleshooting.md").read_text(), source_texts()
    lines = page.split("## Recordings")[1].splitlines()
    firsts = [line.split(" | ")[0] for line in lines if line.startswith("| `")]
    quoted = [span for first in firsts for span in re.findall(r"`([^`]+)`", first)]
    assert len(quoted) > 20, "the page quotes messages"
    for message in quoted:
        assert message in source, f"no message of Linnet holds {message!r}"


def test_the_picture_of_the_rooms_shows_every_room() -> None:
    page = (ROOT / "docs/design.md").read_text()
    rooms = [path.name for path in (ROOT / "src/linnet").iterdir() if (path / "__init__.py").exists()]
    picture = page.split("```mermaid")[1].split("```")[0]
    for room in rooms:
        assert re.search(rf"\b{room}\b", picture), f"docs/design.md: the picture lacks {room}"
        assert f"`{room}`" in page, f"docs/design.md: the table lacks {room}"


def test_every_option_of_faster_whisper_has_its_row() -> None:
    faster_whisper = pytest.importorskip("faster_whisper", reason="faster-whisper is an extra")
    import inspect

    page = (ROOT / "docs/coming_from.md").read_text()
    made = inspect.signature(faster_whisper.WhisperModel.__init__).parameters
    called = inspect.signature(faster_whisper.WhisperModel.transcribe).parameters
    batched = inspect.signature(faster_whisper.BatchedInferencePipeline.transcribe).parameters
    passed_on = {"self", "audio", "model_kwargs"}
    for name in {*made, *called, *batched} - passed_on:
        assert f"`{name}`" in page, f"docs/coming_from.md lacks {name} of faster-whisper"
