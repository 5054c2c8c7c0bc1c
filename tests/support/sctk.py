"""NIST's scoring toolkit (Debian's sctk) as an oracle: sclite's alignments, sc_stats' matched pairs."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path("/usr/lib/sctk/bin")  # where Debian puts it
Steps = list[tuple[str, str, str]]  # C, S, D or I; the word that was said; the one that was heard


def find_sctk() -> str | None:
    """The folder of sclite and sc_stats; None where they are not installed."""
    found = shutil.which("sclite", path=str(FOLDER)) or shutil.which("sclite")
    return None if found is None else str(Path(found).parent)


def sclite(folder: str, texts: Sequence[tuple[str, str, str]]) -> dict[int, Steps]:
    """The alignment of each (speaker, reference, hypothesis)."""
    return _steps(_sgml(folder, texts, "A"))


def sc_stats(folder: str, systems: Sequence[Sequence[tuple[str, str, str]]]) -> tuple[list[dict[int, Steps]], str]:
    """Both systems' alignments, and the line in which sc_stats tells its matched-pairs test."""
    sgml = [_sgml(folder, texts, name) for name, texts in zip("AB", systems, strict=True)]
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(
            [f"{folder}/sc_stats", "-p", "-t", "mapsswe", "-r", "-v", "-n", "found"],
            input="".join(sgml),
            cwd=place,
            check=True,
            capture_output=True,
            text=True,
        )
        report = (Path(place) / "found.stats.mapsswe").read_text(errors="replace")
    line = next(line for line in report.splitlines() if line.startswith("MTCH_PR_RESULTS"))
    return [_steps(one) for one in sgml], line


def _sgml(folder: str, texts: Sequence[tuple[str, str, str]], name: str) -> str:
    with tempfile.TemporaryDirectory() as place:
        for column, file in ((1, "reference"), (2, "hypothesis")):
            lines = [f"{text[column]} ({text[0]}_{number})\n" for number, text in enumerate(texts)]
            (Path(place) / file).write_text("".join(lines))
        done = subprocess.run(
            f"{folder}/sclite -r reference trn -h hypothesis trn {name} -i rm -o sgml stdout".split(),
            cwd=place,
            check=True,
            capture_output=True,
            text=True,
        )
    return done.stdout


def _steps(sgml: str) -> dict[int, Steps]:
    paths = re.findall(r'<PATH id="\(\w+_(\d+)\)"[^>]*>\n(.*?)\n?</PATH>', sgml, re.DOTALL)
    step = re.compile(r'([CSDI]),(?:"([^"]*)")?,(?:"([^"]*)")?')
    return {int(number): step.findall(line) for number, line in paths}
