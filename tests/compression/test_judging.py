"""Two models on the same recordings: conditions, paired errors, encoder times."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from linnet.compression.judging import CONDITIONS, as_recorded, judge, narrow, noisy
from linnet.compression.speed import time_encoders
from linnet.data.manifest import Utterance
from linnet.errors import OptionError
from linnet.models.resolve import ModelRef, resolve

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def digits() -> ModelRef:
    return resolve("digits", offline=True)


@given(st.integers(1, 40_000), st.floats(0.01, 1.0))
def test_noise_is_5_db_below_the_recording(length: int, level: float) -> None:
    samples = np.full(length + 20_000, level, np.float32)
    added = noisy(samples, np.random.default_rng(length)) - samples
    assert 10 * math.log10(np.mean(samples**2) / np.mean(added.astype(np.float64) ** 2)) == pytest.approx(5.0, abs=0.3)


@pytest.mark.parametrize(("hertz", "kept"), [(1000, 1.0), (3000, 1.0), (5000, 0.0), (7000, 0.0)])
def test_a_line_of_8_khz_keeps_what_is_below_4_khz(hertz: int, kept: float) -> None:
    tone = np.sin(2 * np.pi * hertz * np.arange(16_000) / 16_000).astype(np.float32)
    heard = narrow(tone, np.random.default_rng(0))
    assert heard.shape == tone.shape
    assert heard.dtype == np.float32
    middle = slice(2000, 14_000)
    assert np.sqrt(np.mean(heard[middle] ** 2) / np.mean(tone[middle] ** 2)) == pytest.approx(kept, abs=0.02)


def test_a_model_beside_itself_differs_in_nothing(digits: ModelRef) -> None:
    text = "three zero one four"
    utterances = [Utterance(str(path), text=text, language="en") for path in sorted(EXAMPLES.glob("digits-*.flac"))]
    found = judge((digits, digits), utterances, threads=1, normalizer="basic")
    assert [one.condition for one in found] == list(CONDITIONS)
    for one in found:
        assert one.errors[0] == one.errors[1] > 0  # the other languages are wrong for sure
        assert one.words == 4 * len(utterances)
        assert one.difference is not None
        assert one.difference.low <= 0.0 <= one.difference.high
        assert one.skipped == 0


def test_what_cannot_be_read_is_reported_and_left_out(digits: ModelRef, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "quiet.wav", np.zeros(16_000, np.float32), 16_000)
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    told: list[str] = []
    rows = [Utterance(str(tmp_path / name), text="one two", language="en") for name in ("quiet.wav", "broken.wav")]
    (found,) = judge(
        (digits, digits), rows, threads=1, conditions=["as recorded"], normalizer="basic", notify=told.append
    )
    assert (found.utterances, found.words, found.skipped) == (1, 2, 1)
    assert any("broken.wav" in one for one in told)


def test_utterances_without_words_are_refused(digits: ModelRef) -> None:
    path = str(EXAMPLES / "digits-en.flac")
    with pytest.raises(OptionError, match="hold no words"):
        judge((digits, digits), [Utterance(path), Utterance(path, text=" ")])


def test_as_recorded_changes_nothing() -> None:
    samples = np.arange(5, dtype=np.float32)
    assert as_recorded(samples, np.random.default_rng(0)) is samples


def test_both_encoders_are_timed_in_turn(digits: ModelRef) -> None:
    (found,) = time_encoders((digits, digits), compute_types=["f32"], threads=1, rounds=3)
    assert found.compute_type == "f32"
    assert len(found.ratios) == 3
    assert found.speedup == sorted(found.ratios)[1]
    assert found.dense > 0 < found.compressed
