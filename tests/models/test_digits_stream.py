"""The embedded causal model: how well its streams hear the test speaker and how soon, and that it stays silent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from linnet.models.causal import read_causal_spec
from linnet.models.resolve import embedded_names, resolve
from recipes.digits.score_streams import score

FSDD_STRINGS = 25  # about 140 words


def test_it_is_small_and_says_what_it_was_trained_for() -> None:
    ref = resolve("digits-stream")
    assert ref.origin == "embedded"
    assert {"digits", "digits-stream"} <= set(embedded_names())
    assert sum(path.stat().st_size for path in ref.path.iterdir()) < 8_000_000
    spec = read_causal_spec(ref.path)
    assert (spec.base, spec.first_block, spec.default_block) == ("digits", 16, 16)


@pytest.fixture(scope="module")
def figures(fsdd: Path) -> dict[str, dict[str, object]]:
    return {name: score(name, fsdd.parent, ("theo",), FSDD_STRINGS, [16]) for name in ("digits", "digits-stream")}


def test_streams_of_the_test_speaker_are_heard_soon(figures) -> None:
    streamed = figures["digits-stream"]["320 ms"]
    words = figures["digits-stream"]["words"]
    assert streamed["lag_p50"] <= 0.25 + 0.32 / np.sqrt(words)  # two standard errors of a median over 0.32 s blocks
    assert streamed["lag_p95"] <= 0.6 + 0.05
    spread = 2 * np.sqrt(0.05 * 0.95 / words)  # of so few words
    assert streamed["wer"] <= figures["digits"]["whole_wer"] + 0.01 + spread
    assert figures["digits-stream"]["whole_wer"] <= figures["digits"]["whole_wer"] + 0.01 + spread


def test_silence_and_noise_stay_without_words(figures) -> None:
    invented, clips = map(int, str(figures["digits-stream"]["invented"]).split(" of "))
    assert clips == 60
    assert invented <= 3
