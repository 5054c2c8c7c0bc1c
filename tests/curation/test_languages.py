import json

import pytest
import typer
from typer.testing import CliRunner

from linnet.cli.curate_languages import languages
from linnet.curation.language_names import NAMES
from linnet.curation.languages import backend_counts, language_table
from linnet.curation.phonemes.backends import PhonemeOptions
from linnet.errors import OptionError
from linnet.text.language_codes import base_language, canonical


@pytest.mark.parametrize(("name", "expected"), [("heep", (100, 33, 71)), ("flores200", (104, 28, 72))])
def test_each_of_204_languages_has_a_backend_and_a_reason(name, expected):
    rows = language_table(name)

    assert len(rows) == 204
    assert sum(backend_counts(rows).values()) == 204
    for row in rows:
        assert row.code == canonical(row.code)
        assert base_language(row.code) in NAMES
        assert len(row.script) == 4
        assert row.why
    best = [row.best for row in rows]
    assert (best.count("epitran"), best.count("espeak-ng"), best.count("uroman")) == expected


def test_what_a_language_would_get_says_how():
    row = next(row for row in language_table("heep", PhonemeOptions(backends=())) if row.listed == "de")

    assert (row.backend, row.best, row.why) == (
        "graphemes",
        "graphemes",
        "no rules and no voice exist: its own letters",
    )


def test_an_unknown_list_is_refused():
    with pytest.raises(OptionError, match="heep or flores200"):
        language_table("flores")


def run(*arguments):
    app = typer.Typer()
    app.command()(languages)
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return done


def test_the_command_prints_a_row_for_each_language():
    done = run("--list", "flores200")

    lines = done.stdout.splitlines()
    assert len(lines) == 205
    assert lines[0].split() == ["LISTED", "CODE", "NAME", "SCRIPT", "BACKEND", "WHY"]
    assert "204 codes for 203 languages" in done.stderr


def test_the_command_prints_json():
    rows = json.loads(run("--json").stdout)

    assert len(rows) == 204
    assert rows[0]["name"] == "Afar"
