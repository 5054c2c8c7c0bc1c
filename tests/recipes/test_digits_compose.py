"""Recordings are what their targets say they are."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from linnet.audio.types import SAMPLE_RATE as RATE
from linnet.errors import OptionError
from recipes.digits.bank import Voices, load_bank, load_fsdd
from recipes.digits.compose import PHRASE_GAP, Composer, Mix, Recording, Word, make_noises
from recipes.digits.dataset import DigitBatches, DigitsData
from tests.support.places import SHARED

FSDD = SHARED / "fsdd"


@pytest.fixture(scope="module")
def composer(bank: Path) -> Composer:
    voices: Voices = {}
    load_bank(bank, voices)
    return Composer(voices, Mix(), seed=0)


def test_a_bank_holds_its_voices(composer: Composer) -> None:
    assert sorted(composer.voices) == ["de", "en", "es", "fr", "it"]
    voice = composer.voices["en"]["espeak"][0]
    assert sorted(voice.digits) == list(range(10))
    assert voice.strings[0].digits == (3, 1, 4)


def test_words_lie_in_order_inside_the_samples(composer: Composer) -> None:
    cuts = 0
    for seed in range(60):
        recording = composer.compose(np.random.default_rng(seed), 6.0)
        length = len(recording.samples) / RATE
        assert length <= 6.0
        assert recording.samples.dtype == np.float32
        assert np.isfinite(recording.samples).all()
        assert np.abs(recording.samples).max() <= 1.0
        edges = [edge for word in recording.words for edge in (word.start, word.end)]
        assert all(later > earlier - 0.05 for earlier, later in pairwise(edges))
        assert not edges or (edges[0] >= 0 and edges[-1] <= length + 1e-6)
        if recording.cut is not None:
            cuts += 1
            assert recording.words
            assert edges[-1] - 0.05 <= recording.cut < length
    assert 3 <= cuts <= 30


def test_energy_is_where_the_words_are(composer: Composer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composer, "pollute", lambda rng, samples, narrow: samples)
    for seed in range(30):
        recording = composer.compose(np.random.default_rng(seed), 8.0)
        if not recording.words:
            continue
        inside = np.zeros(len(recording.samples), bool)
        for word in recording.words:
            inside[round(word.start * RATE) : round(word.end * RATE)] = True
        if recording.cut is not None:
            inside[round(recording.cut * RATE) :] = True
        assert np.abs(recording.samples[inside]).mean() > 0.05
        outside = recording.samples[~inside]
        assert not len(outside) or np.abs(outside).mean() < 1e-3


def test_the_same_seed_composes_the_same_recording(composer: Composer, bank: Path) -> None:
    voices: Voices = {}
    load_bank(bank, voices)
    make_noises.cache_clear()
    twin = Composer(voices, Mix(), seed=0)
    assert twin.noises is not composer.noises
    for seed in range(5):
        one = composer.compose(np.random.default_rng(seed), 4.0)
        two = twin.compose(np.random.default_rng(seed), 4.0)
        np.testing.assert_array_equal(one.samples, two.samples)
        assert one.words == two.words


def test_phrases_part_at_long_silences() -> None:
    words = [Word(1, 0.0, 0.5), Word(2, 0.9, 1.2), Word(3, 1.2 + PHRASE_GAP, 2.0)]
    recording = Recording(np.zeros(RATE * 3, np.float32), "en", words)
    assert [[word.digit for word in phrase] for phrase in recording.phrases()] == [[1, 2], [3]]


def test_a_batch_depends_on_its_number_alone(bank: Path, tmp_path: Path) -> None:
    data = DigitsData(banks=(str(bank),), windows=(1.5,), shares=(1.0,), full_from=2.0, batch_seconds=6.0)
    first = DigitBatches(data, 4, 0)
    again = DigitBatches(data, 4, 0)
    _ = again[0]
    one, two = first[3].tensors, again[3].tensors
    assert one["features"].shape == (4, 80, 150)
    assert one["frames"].shape == (4, 75)
    assert one["inputs"].shape == one["labels"].shape
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(first[2].tensors["features"], one["features"])


def test_the_last_batches_span_the_whole_window(bank: Path, tmp_path: Path) -> None:
    data = DigitsData(
        banks=(str(bank),), windows=(1.5,), shares=(1.0,), full_from=0.5, batch_seconds=20.0, full_batch_seconds=20.0
    )
    batches = DigitBatches(data, 2, 0)
    assert batches[0].tensors["features"].shape == (13, 80, 150)
    assert batches[1].tensors["features"].shape == (2, 80, 1000)


def test_a_folder_that_is_no_bank_is_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"make_digits_speech\.py"):
        load_bank(tmp_path, {})


def test_missing_real_recordings_are_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="'george'"):
        load_fsdd(tmp_path, ("george",), {})


@pytest.mark.skipif(not FSDD.is_dir(), reason="needs ../shared/data/fsdd (DATA.md says where from)")
def test_the_real_recordings_of_a_speaker_are_complete() -> None:
    voices: Voices = {}
    load_fsdd(FSDD, ("lucas",), voices)
    (voice,) = voices["en"]["real"]
    assert {digit: len(clips) for digit, clips in voice.digits.items()} == dict.fromkeys(range(10), 50)
