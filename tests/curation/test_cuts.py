"""A recording without its end and a text without a part stand out from what is usual; others do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from linnet.curation.cuts import CutSound, CutText, cut_sound, cut_text
from linnet.curation.outliers import ENOUGH, beside_speakers, of_learned
from linnet.curation.pool import Pool
from tests.support.pools import pool_of

COUNT = 150


def usual(count: int = COUNT, **columns: Any) -> Pool:
    """Recordings of like length with a little spread in everything; the first one is for the test to change."""
    rng = np.random.default_rng(3)
    values = {
        "duration": np.full(count, 4.0),
        "speech_frames": np.rint(175 * np.exp(rng.normal(0, 0.1, count))),
        "characters": np.full(count, 40),
        "language": ["en"] * count,
        "trailing_silence": rng.uniform(0.1, 0.3, count),
        "scores": {"mi_raw": rng.normal(2, 0.3, count), "mi_tokens_raw": rng.normal(2, 0.3, count)},
    }
    values.update(columns)
    pool = pool_of(["three one four one five"] * count, **{k: v for k, v in values.items() if k != "trailing_silence"})
    pool.numbers["trailing_silence"][:] = values["trailing_silence"]  # type: ignore[index]
    return pool


def changed(pool: Pool, row: int, characters: float, silence: float, mi: float, tokens: float) -> Pool:
    pool.characters[row] = characters
    pool.numbers["trailing_silence"][row] = silence
    pool.scores["mi_raw"][row], pool.scores["mi_tokens_raw"][row] = mi, tokens
    return pool


EVERYONE = np.ones(COUNT, bool)


def test_half_a_recording_is_found_and_half_a_text() -> None:
    pool = changed(usual(), 0, characters=60, silence=0.0, mi=2.0, tokens=1.2)
    pool = changed(pool, 1, characters=25, silence=0.2, mi=1.0, tokens=2.0)
    sound, text = CutSound(2.5).check(pool, EVERYONE), CutText(2.5).check(pool, EVERYONE)
    assert sound.failed[0]
    assert not sound.failed[1]
    assert sound.failed[2:].mean() < 0.05
    assert text.failed[1]
    assert not text.failed[0]
    assert text.failed[2:].mean() < 0.05
    assert sound.values[0] == np.nanmax(sound.values)
    assert text.values[1] == np.nanmax(text.values)
    assert "end of its sound" in CutSound(2.5).reason(3.0)
    assert "part of its text" in CutText(2.5).reason(3.0)


def test_each_sign_counts() -> None:
    base = {"characters": 40, "silence": 0.2, "mi": 2.0, "tokens": 2.0}
    for name, worse in (("characters", 60), ("silence", 0.0), ("tokens", 1.0)):
        values = [cut_sound(changed(usual(), 0, **{**base, name: value}), EVERYONE)[0] for value in (base[name], worse)]
        assert values[1] > values[0]
    for name, worse in (("characters", 25), ("mi", 1.0)):
        values = [cut_text(changed(usual(), 0, **{**base, name: value}), EVERYONE)[0] for value in (base[name], worse)]
        assert values[1] > values[0]


def test_the_signs_of_sound_recordings_add_up_to_one_standard_deviation() -> None:
    count = 6000
    rng = np.random.default_rng(4)
    pool = usual(
        count,
        speech_frames=np.rint(1750 * np.exp(rng.normal(0, 0.2, count))),
        duration=np.full(count, 40.0),
        trailing_silence=np.exp(rng.normal(0, 1, count)),
        scores={"mi_raw": rng.normal(2, 0.3, count), "mi_tokens_raw": rng.normal(2, 0.3, count)},
    )
    everyone = np.ones(count, bool)
    assert np.std(cut_sound(pool, everyone)) == pytest.approx(1.0, abs=0.03)
    assert np.std(cut_text(pool, everyone)) == pytest.approx(1.0, abs=0.03)


def test_what_few_recordings_have_taught_counts_for_less() -> None:
    codes = np.repeat([0, 1, 2, -1], [99, 100, 5000, 3])
    scores, judged = of_learned(np.full(len(codes), 3.0), codes, np.ones(len(codes), bool))
    assert scores[[0, 99, 199, -1]] == pytest.approx([2.0, 2.0, 3 / 1.01, 2.0])
    assert judged[[0, 99, 199, -1]].tolist() == [False, True, True, False]


def test_a_rare_voice_is_judged_beside_itself_and_one_of_wrong_texts_is_not() -> None:
    rng = np.random.default_rng(9)
    speakers = np.repeat([0, 1, 2, 3, -1], [500, 60, 60, 29, 1])
    centers = np.repeat([0.0, -1.2, -6.0, -1.2, -1.2], [500, 60, 60, 29, 1])
    scores = centers + rng.normal(0, 0.1, len(speakers))
    scores[500] = -4.0  # a wrong text of the rare voice
    found = beside_speakers(scores, speakers, np.ones(len(speakers), bool))
    assert np.abs(found[:500]).max() < 0.5
    assert np.abs(found[501:560]).max() < 0.5
    assert found[500] == pytest.approx(-2.8, abs=0.1)
    assert found[560:620].max() < -4.0
    assert found[620:] == pytest.approx(scores[620:])


@pytest.mark.parametrize("gate", [CutSound(2.5), CutText(2.5)])
def test_of_a_small_language_nothing_fails_yet_the_value_is_there(gate: CutSound | CutText) -> None:
    languages = ["en"] * (ENOUGH + 10) + ["is"] * (COUNT - ENOUGH - 10)
    pool = usual(language=languages)
    characters, mi = (70, 2.0) if isinstance(gate, CutSound) else (15, 0.5)
    pool = changed(changed(pool, 0, characters, 0.0, mi, 1.0), COUNT - 1, characters, 0.0, mi, 1.0)
    verdict = gate.check(pool, EVERYONE)
    assert verdict.failed[0]
    assert not verdict.failed[COUNT - 1]
    assert verdict.values[COUNT - 1] > 2.5


def test_without_text_or_speech_there_is_no_value() -> None:
    pool = usual(characters=np.r_[0, np.full(COUNT - 1, 40)], scores={})
    for values in (cut_sound(pool, EVERYONE), cut_text(pool, EVERYONE)):
        assert np.isnan(values[0])
        assert np.isfinite(values[1:]).all()
