"""A text that a model hears otherwise fails where the sounds agree with the model, and only there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from linnet.curation.heard import Misheard, read_heard
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
        read_heard(tmp_path / "missing.jsonl")
    path = tmp_path / "empty.jsonl"
    path.write_text('{"audio": "a.wav"}\n')
    with pytest.raises(OptionError, match="linnet evaluate CORPUS"):
        read_heard(path)
