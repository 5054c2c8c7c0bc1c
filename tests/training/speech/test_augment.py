"""Each thing that happens to a training sound: that it happens, when it does, and against a closed form what it is."""

from dataclasses import asdict, fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import WhisperFeatureExtractor

from linnet.errors import OptionError
from linnet.settings import build
from linnet.training.speech import augment
from linnet.training.speech.recipe import AugmentOptions, SpeechData

RATE = 16_000
KNOBS = [field.name for field in fields(AugmentOptions)]
NOTHING = AugmentOptions(**dict.fromkeys(KNOBS, 0.0))


def sound(seconds: float = 2.0) -> np.ndarray:
    noise = np.random.default_rng(1).standard_normal(round(seconds * RATE))
    return (0.1 * np.convolve(noise, [1, 0.9, 0.5], "same")).astype(np.float32)


def only(name: str, chance: float = 1.0) -> AugmentOptions:
    return AugmentOptions(**{**asdict(NOTHING), name: chance})


def test_there_is_a_knob_for_each_effect_in_their_order() -> None:
    assert list(augment.EFFECTS) == KNOBS


@pytest.mark.parametrize("name", KNOBS)
def test_each_knob_changes_something_by_the_key_alone_and_nothing_at_zero(name: str) -> None:
    plain = sound()
    assert augment.augmented(plain, NOTHING, (0, 0, 3)) is plain
    once = augment.augmented(plain, only(name), (0, 0, 3))
    assert once.dtype == np.float32
    assert not np.array_equal(once, plain)
    np.testing.assert_array_equal(once, augment.augmented(plain, only(name), (0, 0, 3)))
    others = [augment.augmented(plain, only(name), key) for key in ((0, 1, 3), (0, 0, 4), (1, 0, 3))]
    assert name == "telephone" or not any(np.array_equal(once, other) for other in others)


@pytest.mark.parametrize("name", KNOBS)
def test_it_happens_as_often_as_its_chance_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(augment.EFFECTS, name, lambda samples, _: samples + 1)
    heard = [augment.augmented(np.zeros(8, np.float32), only(name, 0.3), (0, 0, row))[0] for row in range(1000)]
    assert 0.25 < np.mean(heard) < 0.35


def test_one_knob_moves_no_other() -> None:
    plain, key = sound(), (0, 0, 5)
    both = augment.augmented(plain, AugmentOptions(**{**asdict(NOTHING), "noise": 1.0, "level": 1.0}), key)
    apart = augment.augmented(augment.augmented(plain, only("noise"), key), only("level"), key)
    np.testing.assert_array_equal(both, apart)


@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 4000), row=st.integers(0, 2**31), longest=st.sampled_from([0.1, 0.25, np.inf]))
def test_sounds_of_any_length_stay_sounds_and_within_what_the_model_takes(
    length: int, row: int, longest: float
) -> None:
    everything = AugmentOptions(**dict.fromkeys(KNOBS, 1.0))
    heard = augment.augmented(sound(0.25)[:length], everything, (0, 0, row), longest=longest)
    assert np.isfinite(heard).all()
    assert 0.9 * length - 1 <= len(heard) <= length / 0.9 + 1
    assert len(heard) <= max(length, longest * RATE)


@pytest.mark.parametrize("codec", augment.codecs(), ids=lambda codec: codec[1])
def test_a_codec_keeps_time_and_level_and_loses_a_little(
    codec: tuple[str, str, int, tuple[float, float] | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augment, "codecs", lambda: (codec,))
    time = np.arange(2 * RATE) / RATE
    plain = (3.0 * np.sin(2 * np.pi * 400 * time) * np.sin(np.pi * time / 2)).astype(np.float32)  # over full scale
    heard = augment.coded(plain, np.random.default_rng(0))
    assert heard.shape == plain.shape
    error = np.square(heard - plain).mean() / np.square(plain).mean()
    assert 1e-8 < error < 0.1  # a shift by a quarter of a period would make it 2
    high = 0.1 * np.sin(2 * np.pi * 6000 * time).astype(np.float32)
    kept = np.square(augment.coded(high, np.random.default_rng(0))).mean() / np.square(high).mean()
    assert (kept < 0.01) == (codec[1] == "GSM610")


def test_this_libsndfile_has_all_codecs() -> None:
    assert [codec[1] for codec in augment.codecs()] == ["GSM610", "OPUS", "MPEG_LAYER_III"]


@pytest.mark.parametrize("seed", range(4))
def test_masks_silence_their_bands_and_stretches_for_whispers_features_and_nothing_else(seed: int) -> None:
    extractor, plain = WhisperFeatureExtractor(chunk_length=4), sound(4.0)
    heard = augment.masked(plain, np.random.default_rng(seed))
    before, after = (
        extractor(one, sampling_rate=RATE, return_tensors="np").input_features[0] for one in (plain, heard)
    )
    random = np.random.default_rng(seed)
    bands, stretches = augment.bands(random), augment.stretches(random, 4.0)
    assert sum(high - low for low, high in bands) > 100
    heard_by = [np.nonzero(column)[0][[0, -1]] * 40.0 for column in extractor.mel_filters.T]  # Hz of each mel bin
    lowest, highest = np.array(heard_by).T[:, :, None]
    times = np.arange(400) / 100
    inside, clear = np.zeros((80, 400), bool), np.ones((80, 400), bool)
    whole = (times > 0.02) & (times < 3.98)  # at its ends the sound is mirrored, which the masks know nothing of
    for low, high in bands:  # a Hann window's main lobe is 80 Hz to each side, and there are two windows
        inside |= (lowest > low + 160) & (highest < high - 160) & whole
        clear &= (highest < low - 160) | (lowest > high + 160)
    for start, end in stretches:
        inside |= (times > start + 0.03) & (times < end - 0.03)
        clear &= (times < start - 0.03) | (times > end + 0.03)
    assert inside.any()
    assert clear.mean() > 0.3
    assert after[inside].max() < after[clear].mean() - 0.5  # two orders of magnitude, and more, in power
    assert np.abs(after - before)[clear].mean() < 0.01


def test_masks_are_as_wide_as_the_paper_says() -> None:
    whole = 2595 * np.log10(1 + 8000 / 700)
    widths: list[float] = []
    for seed in range(500):
        random = np.random.default_rng(seed)
        for low, high in augment.bands(random):
            ends = [2595 * np.log10(1 + edge / 700) / whole * 80 for edge in (low, high)]
            assert -1e-6 <= ends[0] <= ends[1] <= 80 + 1e-6
            widths.append(ends[1] - ends[0])
        for seconds in (1.0, 30.0):
            for start, end in augment.stretches(random, seconds):
                assert 0 <= start <= end <= seconds
                assert end - start <= min(1.0, 0.1 * seconds)
    assert max(widths) < 27
    assert np.mean(widths) == pytest.approx(13.5, abs=1)


def test_true_is_all_defaults_false_is_none_and_a_mapping_sets_each() -> None:
    assert build(SpeechData, {"augment": True}, "data").augment == AugmentOptions()
    assert build(SpeechData, {"augment": False}, "data").augment is None
    assert build(SpeechData, {}, "data").augment is None
    chosen = build(SpeechData, {"augment": {"masks": 0.5, "speed": 0}}, "data").augment
    assert chosen == AugmentOptions(masks=0.5, speed=0.0)
    with pytest.raises(OptionError, match="did you mean 'codec'"):
        build(SpeechData, {"augment": {"codecs": 0.5}}, "data")
    with pytest.raises(OptionError, match=r"level must be from 0 to 1, got 1\.5"):
        build(SpeechData, {"augment": {"level": 1.5}}, "data")
