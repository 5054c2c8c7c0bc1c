"""A text that a model hears otherwise fails where the sounds agree with the model, and only there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from linnet.alignment.gain import TextGain
from linnet.curation.heard import Misheard, Unheard, heard_gates, read_gains, read_heard
from linnet.curation.hearing import hear_texts
from linnet.data import Utterance
from linnet.errors import OptionError
from tests.support.pools import pool_of

EVERYONE = np.ones(5, bool)


def test_both_witnesses_are_asked() -> None:
    rates = {"r0": 0.9, "r1": 0.9, "r2": 0.1, "r4": np.nan}
    scores = {"mi": [0.9, 0.8, 0.01, 0.01, 0.01], "mi_tokens": [0.1, 0.9, 0.01, 0.01, 0.01]}
    verdict = Misheard(rates).check(pool_of(["one two"] * 5, scores=scores), EVERYONE)
    assert verdict.failed.tolist() == [True, False, False, False, False]
    assert verdict.values[:3].tolist() == [0.9, 0.9, 0.1]
    assert np.isnan(verdict.values[3:]).all()
    alone = Misheard(rates).check(pool_of(["one two"] * 5), EVERYONE)
    assert alone.failed.tolist() == [True, True, False, False, False]
    assert "90% of its characters" in Misheard(rates).reason(0.9)


def test_rates_are_of_characters_of_the_normalized_texts(tmp_path: Path) -> None:
    path = tmp_path / "corpus.evaluation.jsonl"
    rows = [
        {"format": 1, "model": "tiny.en"},
        {"id": "a", "text": "A Cat!", "normalized_text": "a cat", "normalized_hypothesis": "a chat"},
        {"id": "b", "text": "one", "hypothesis": "one", "error": "gone.wav: no such file"},
        {"id": "c", "text": "one", "hypothesis": "two"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
    assert read_heard(path) == {"a": pytest.approx(0.2), "c": pytest.approx(1.0)}


def test_a_file_without_such_rows(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot be read"):
        heard_gates(tmp_path / "missing.jsonl")
    path = tmp_path / "empty.jsonl"
    path.write_text('{"audio": "a.wav"}\n')
    with pytest.raises(OptionError, match="linnet curate hear CORPUS"):
        heard_gates(path)


def test_a_file_is_asked_for_all_that_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "heard.jsonl"
    rows = [{"id": "r0", "text": "one", "gain": 0.1}, {"id": "r1", "gain": 5}, {"id": "r2", "error": "gone", "gain": 0}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
    assert read_gains(path) == {"r0": 0.1, "r1": 5.0}
    (gate,) = heard_gates(path)
    assert isinstance(gate, Unheard)
    verdict = gate.check(pool_of(["one two"] * 5), EVERYONE)
    assert verdict.failed.tolist() == [True, False, False, False, False]
    assert "0.1 nats per token" in gate.reason(0.1)
    with path.open("a") as file:
        file.write('{"id": "r3", "text": "one", "hypothesis": "two"}\n')
    assert [gate.name for gate in heard_gates(path)] == ["unheard", "misheard"]


class ByLoudness:
    """A model to which loud recordings say their texts."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def score(self, sounds, texts, languages):
        self.batches.append(len(sounds))
        assert len(texts) == len(languages) == len(sounds)
        gains = [4.0 if np.abs(sound).max() > 0.1 else 0.0 for sound in sounds]
        return [
            "without words" if text == "?" else TextGain(gain, -1.0, 3) for gain, text in zip(gains, texts, strict=True)
        ]


def test_a_corpus_is_heard_once(tmp_path: Path) -> None:
    for number in range(5):
        soundfile.write(tmp_path / f"{number}.wav", np.full(8000, 0.5 if number % 2 else 0.01), 16_000)
    texts = ["one", "two", "?", None, "four"]
    rows = [Utterance(str(tmp_path / f"{at}.wav"), text, id=f"r{at}") for at, text in enumerate(texts)]
    rows.append(Utterance(str(tmp_path / "gone.wav"), "five", id="r5"))
    path, model = tmp_path / "heard.jsonl", ByLoudness()
    report = hear_texts(rows[:2], path, model, "tiny", 2)
    assert (report.heard, report.kept) == (2, 0)
    report = hear_texts(rows, path, model, "tiny", 2)
    assert (report.heard, report.kept) == (1, 2)
    assert report.left_out == {"without a text": 1, "without words": 1, "unreadable audio": 1}
    assert report.lines()[0] == "1 transcripts heard, 2 before"
    assert max(model.batches) == 2
    assert read_gains(path) == {"r0": 0.0, "r1": 4.0, "r4": 0.0}
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert found[0] == {"id": "r0", "text": "one", "gain": 0.0, "score": -1.0, "tokens": 3, "model": "tiny"}
    again = hear_texts([Utterance(str(tmp_path / "1.wav"), "two", id="r0")], path, model, "tiny", 2)
    assert again.heard == 1  # another text of the same id
    assert read_gains(path)["r0"] == 4.0
