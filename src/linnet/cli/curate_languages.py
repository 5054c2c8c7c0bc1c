"""`linnet curate languages`: the phoneme backend of each language."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from linnet.cli.console import notice, print_result

if TYPE_CHECKING:
    from linnet.curation.languages import LanguageRow


def languages(
    list_name: str = typer.Option("heep", "--list", metavar="NAME", help="Published list: heep or flores200."),
    as_json: bool = typer.Option(False, "--json", help="Print the result as JSON."),
) -> None:
    """Show the 204 languages of a published list and their phoneme backends on this machine."""
    from linnet.curation.languages import backend_counts, language_table

    rows = language_table(list_name)
    if as_json:
        print_result(json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False) + "\n")
    else:
        print_result("".join(f"{line}\n" for line in _lines(rows)))
    counts = ", ".join(f"{count} {backend}" for backend, count in backend_counts(rows).items())
    notice(f"{len(rows)} codes for {len({row.code for row in rows})} languages: {counts}")


def _lines(rows: Sequence[LanguageRow]) -> list[str]:
    cells = [("LISTED", "CODE", "NAME", "SCRIPT", "BACKEND", "WHY")]
    cells += [(row.listed, row.code, row.name, row.script, row.backend, row.why) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
