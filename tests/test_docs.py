"""Every Python snippet of the README and the docs runs, and every command in them parses."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def snippets(language: str) -> list[tuple[str, str]]:
    return [(page.name, body) for page in PAGES for name, body in FENCE.findall(page.read_text()) if name == language]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "```python" in page.read_text()], ids=lambda page: page.name
)
def test_the_python_of_a_page_runs(page: Path) -> None:
    bodies = [body for name, body in FENCE.findall(page.read_text()) if name == "python"]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(bodies)], cwd=ROOT, capture_output=True, text=True, check=False
    )
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
