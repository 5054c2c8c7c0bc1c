"""Suites: the shipped one holds what the leaderboard publishes, and a file of one's own is checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from linnet.data.suites import Suite, open_sets, read_suite, shipped
from linnet.errors import OptionError
from tests.support import corpus_formats as corpora


def write(folder: Path, content: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(content)
    return str(path)


def test_the_leaderboard_of_2026() -> None:
    suite = read_suite("open-asr")
    assert shipped() == ("open-asr",)
    assert {name: len(suite.table(name).sets) for name in suite.tables} == {
        "english": 7,
        "english-extra": 6,
        "english-2025": 8,
        "long-form": 10,
        "long-form-extra": 1,
        "multilingual": 14,
    }
    by_name = {one.name: one for one in suite.sets}
    other = by_name["librispeech-other"]
    assert (other.path, other.subset, other.split) == ("hf-audio/open-asr-leaderboard", "librispeech", "test.other")
    assert {one.protocol for one in suite.table("english-2025").sets} == {"plain"}
    assert {one.language for one in suite.table("multilingual").sets} == {"de", "fr", "it", "es", "pt", "hi"}
    assert all(one.long_form == one.table.startswith("long-form") for one in suite.sets)
    assert all(one.kind in ("hub", "hub-chunks") and one.path.count("/") == 1 for one in suite.sets)
    assert sum(one.weight for one in suite.table("long-form").sets) == 3  # CORAAL's parts are one set
    assert read_suite("open-asr:multilingual").sets == suite.table("multilingual").sets


def test_a_suite_of_ones_own(tmp_path: Path) -> None:
    corpora.linnet(tmp_path)
    name = write(
        tmp_path,
        "about: mine\nsets:\n"
        "  - {name: here, path: corpus.jsonl, weight: 2, normalizer: basic}\n"
        "  - {name: gone, path: gone.jsonl, table: other}\n"
        "  - {name: last, path: corpus.jsonl, kind: linnet}\n",
    )
    suite = read_suite(name)
    assert (suite.name, suite.about, suite.tables) == ("mine", "mine", ("all", "other"))
    assert (suite.sets[0].weight, suite.sets[0].normalizer) == (2.0, "basic")
    here, gone, last = open_sets(suite)
    assert here.source is not None
    assert [row.id for row in here.source] == ["a", "b", "c"]
    assert gone.source is None
    assert f"{tmp_path}/gone.jsonl: no such file" in str(gone.error)
    assert last.source is not None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("sets: [{name: a, paht: x}]", "set 1: unknown key 'paht'; did you mean 'path'"),
        ("sets: [{name: a}]", "the key 'path' is missing"),
        ("sets: [{name: a, path: 3}]", "set 1: path: expected str, got 3"),
        ("sets: [{name: a, path: x, split: 1}]", "split: expected str or nothing, got 1"),
        ("sets: [{name: a, path: x, weight: heavy}]", "weight: expected float, got 'heavy'"),
        ("sets: [{name: a, path: x, weight: 0}]", "more than zero"),
        ("sets: [{name: a, path: x, long_form: 1}]", "expected bool, got 1"),
        ("sets: [{name: a, path: x}, {name: a, path: y}]", "two sets are named 'a'"),
        ("sets: []", "must be a list"),
        ("sets: [x]", "set 1: expected keys and values, got 'x'"),
        ("stes: []\nsets: [{name: a, path: x}]", "unknown key 'stes'; did you mean 'sets'"),
        ("about: 3\nsets: [{name: a, path: x}]", "about: expected str, got 3"),
        ("[", "not YAML"),
        ("sets: " + "9" * 5000, "not YAML"),
        ("sets: " + "[" * 900 + "]" * 900, "not YAML"),
        ("text", "expected the keys about and sets"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: str, says: str) -> None:
    with pytest.raises(OptionError) as caught:
        read_suite(write(tmp_path, content))
    assert says in str(caught.value)
    assert "mine.yaml" in str(caught.value)


def test_a_name_that_is_none_names_the_nearest() -> None:
    with pytest.raises(OptionError, match="unknown suite 'open-ars'; did you mean 'open-asr'"):
        read_suite("open-ars")
    with pytest.raises(OptionError, match="unknown table 'englisch'; did you mean 'english'"):
        read_suite("open-asr:englisch")


def test_without_a_network_each_set_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets: Any = pytest.importorskip("datasets", reason="datasets (the extra datasets) is not installed")

    def load_dataset(*_: object, **__: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    suite: Suite = read_suite("open-asr:english")
    opened = list(open_sets(suite))
    assert len(opened) == 7
    assert all("is unavailable on the Hub (no network)" in str(one.error) for one in opened)
