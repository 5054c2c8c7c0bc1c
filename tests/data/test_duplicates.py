"""Planted copies are found, whatever was done to them, and nothing else is."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st

from linnet.audio import load
from linnet.data import Utterance
from linnet.data.duplicates import Coverage, DuplicateIndex, DuplicateOptions, Likeness
from linnet.data.duplicates.prints import HOP, WINDOW, Fingerprint, exact_hash, fingerprint, window_and_bands
from linnet.data.duplicates.recordings import RecordingIndex, allowed
from linnet.data.duplicates.texts import PIECE, TextIndex, normalize, pieces
from linnet.data.samples import UtteranceReader
from tests.support.syllables import RATE, Samples, later, speechlike


def coded(samples: Samples, kind: str, subtype: str, rate: int = RATE) -> Samples:
    """Through a lossy codec at some rate and back."""
    buffer = io.BytesIO()
    soundfile.write(buffer, soxr.resample(samples, RATE, rate), rate, format=kind, subtype=subtype)
    buffer.seek(0)
    back, _ = soundfile.read(buffer, dtype="float32")
    return np.asarray(soxr.resample(back, rate, RATE))


CHANGES: dict[str, Callable[[Samples], Samples]] = {
    "gain": lambda samples: 0.05 * samples,
    "offset": later,
    "8 kHz": lambda samples: soxr.resample(soxr.resample(samples, RATE, 8_000), 8_000, RATE),
    "mp3": lambda samples: coded(later(samples), "MP3", "MPEG_LAYER_III"),
    "mp3 at 8 kHz": lambda samples: coded(later(samples), "MP3", "MPEG_LAYER_III", 8_000),
    "vorbis": lambda samples: coded(later(samples, 333), "OGG", "VORBIS"),
    "opus": lambda samples: coded(later(samples), "OGG", "OPUS", 48_000),
    "last two thirds": lambda samples: samples[len(samples) // 3 :],
}


@pytest.fixture(scope="module")
def strings(fsdd: Path) -> list[Samples]:
    """Forty strings of four digits of one speaker each, no recording used twice."""
    made = []
    for speaker in ("theo", "george"):
        for take in range(20):
            clips = [load(fsdd / f"{(take + 3 * at) % 10}_{speaker}_{take}.wav").samples for at in range(4)]
            made.append(np.concatenate([part for clip in clips for part in (clip, np.zeros(1_500, np.float32))]))
    return made


@pytest.fixture(scope="module")
def stored(strings: list[Samples]) -> RecordingIndex:
    return RecordingIndex([fingerprint(samples) for samples in strings[::2]])


@pytest.mark.parametrize("name", CHANGES)
def test_changed_copies_of_real_speech_are_found_and_no_others(
    strings: list[Samples], stored: RecordingIndex, name: str
) -> None:
    for at in range(0, 20, 3):
        assert [one.index for one in stored.find(fingerprint(CHANGES[name](strings[2 * at])))] == [at], at
    for other in strings[1::6]:
        assert stored.find(fingerprint(CHANGES[name](other))) == []


def test_the_place_inside_a_longer_recording_is_told(strings: list[Samples]) -> None:
    index = RecordingIndex([fingerprint(strings[0])])
    before = np.concatenate(strings[1:6])
    whole = coded(np.concatenate([before, strings[0], *strings[6:9]]), "MP3", "MPEG_LAYER_III")
    (sighting,) = index.find(fingerprint(whole))
    assert sighting.start == pytest.approx(len(before) / RATE, abs=0.05)
    assert sighting.covered > 0.95
    assert sighting.agreement > 0.8
    # and the other way round: the training has a piece of an evaluation recording
    (sighting,) = RecordingIndex([fingerprint(whole)]).find(fingerprint(strings[0]))
    assert sighting.start == pytest.approx(-len(before) / RATE, abs=0.05)


@pytest.mark.parametrize("change", ["gain", "offset", "8 kHz", "mp3", "last two thirds"])
def test_changed_copies_of_made_up_sounds_are_found(change: str) -> None:
    made = [speechlike(seed) for seed in range(8)]
    index = RecordingIndex([fingerprint(samples) for samples in made])
    for at, samples in enumerate(made):
        assert [one.index for one in index.find(fingerprint(CHANGES[change](samples)))] == [at]
    assert index.find(fingerprint(speechlike(100))) == []


def test_silence_and_nothing_match_nothing() -> None:
    silence = fingerprint(np.zeros(RATE, np.float32))
    assert not silence.loud.any()
    for stored in ([], [Fingerprint.empty()], [silence], [silence, fingerprint(speechlike(0))]):
        for other in (
            silence,
            Fingerprint.empty(),
            fingerprint(np.zeros(0, np.float32)),
            fingerprint(speechlike(1, 0.01)),
        ):
            assert RecordingIndex(stored).find(other) == []


def test_a_fingerprint_is_that_of_a_slow_twin() -> None:
    samples = speechlike(3, 0.3)
    window, bands = (array.astype(np.float64) for array in window_and_bands())
    padded = np.pad(samples.astype(np.float64), WINDOW // 2)
    turns = np.exp(-2j * np.pi * np.outer(np.arange(WINDOW), np.arange(WINDOW // 2 + 1)) / WINDOW)
    energies = [
        (np.abs((padded[at : at + WINDOW] * window) @ turns) ** 2) @ bands
        for at in range(0, len(padded) - WINDOW + 1, HOP)
    ]
    found = fingerprint(samples)
    wrong = 0
    for frame in range(2, len(energies)):
        for bit in range(32):
            now, past = energies[frame], energies[frame - 2]
            wanted = now[bit] - now[bit + 1] > past[bit] - past[bit + 1]
            wrong += bool(found.words[frame - 2] >> np.uint32(bit) & np.uint32(1)) != wanted
    assert len(found) == len(energies) - 2
    assert wrong <= len(found) * 32 // 500  # float32 against float64 where the two sides are equal to 7 digits


def test_blocks_are_joined_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fingerprint(speechlike(0))
    monkeypatch.setattr("linnet.data.duplicates.prints.BLOCK", 7)
    parts = fingerprint(speechlike(0))
    different = np.bitwise_count(whole.words ^ parts.words).sum()
    assert different <= len(whole) * 32 // 500  # sums of another order
    assert (whole.loud == parts.loud).mean() > 0.99


def test_the_limit_rises_with_the_length() -> None:
    assert [round(allowed(seconds), 9) for seconds in (0.0, 0.5, 1.25, 2.0, 60.0)] == [0.18, 0.18, 0.24, 0.3, 0.3]


def test_the_hash_is_of_the_rounded_samples(tmp_path: Path) -> None:
    samples = np.rint(speechlike(0, 0.5) * 32_768).astype(np.int16)
    digests = set()
    for suffix in ("wav", "flac"):
        soundfile.write(tmp_path / f"a.{suffix}", samples, RATE)
        digests.add(exact_hash(load(tmp_path / f"a.{suffix}").samples))
    assert len(digests) == 1
    samples[100] += 1
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    assert exact_hash(load(tmp_path / "a.wav").samples) not in digests


WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "नमस्ते", "音声認識"]
words = st.lists(st.sampled_from(WORDS), max_size=14)


@given(stored=st.lists(words, max_size=6), other=words, threshold=st.sampled_from([0.5, 0.75, 1.0]))
def test_texts_are_found_as_by_comparing_all_pairs(stored: list[list[str]], other: list[str], threshold: float) -> None:
    def shingles(text: str) -> set[str]:
        plain = normalize(text)
        return {plain[at : at + PIECE] for at in range(len(plain) - PIECE + 1)} if len(plain) >= 20 else set()

    mine = shingles(" ".join(other))
    found = TextIndex([" ".join(text) for text in stored], threshold).find(" ".join(other))
    if len(mine) < 10:
        assert found is None
        return
    wanted = {}
    for index, text in enumerate(stored):
        theirs = shingles(" ".join(text))
        if len(theirs) >= 10:
            share = len(mine & theirs) / min(len(mine), len(theirs))
            if share >= threshold:
                wanted[index] = share
    assert found is not None
    assert {one.index: pytest.approx(one.share) for one in found} == wanted


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ask not what your country can do for you", True),
        ("Ask not, what your COUNTRY can do for you!", True),
        ("ask not what your county can do for you", True),
        ("and so my fellow americans ask not what your country can do for you ask what you can do", True),
        ("ask me what your garden can grow for us", False),
        ("a sentence on something else altogether", False),
    ],
)
def test_what_is_nearly_the_same_text(text: str, found: bool) -> None:
    index = TextIndex(["Ask not what your country can do for you."])
    assert bool(index.find(text)) == found


def test_short_texts_tell_nothing() -> None:
    index = TextIndex(["yes please", None, "ha ha ha ha ha ha ha ha ha ha ha"])
    assert index.compared == 0
    assert index.find("yes please") is None
    assert len(pieces("short")) == 0


def test_utterances_are_looked_up_by_sound_and_by_text_in_their_own_corpus_too(tmp_path: Path) -> None:
    texts = ["the first of three sentences here", "another one that is said twice", "Another one, that is said twice!"]
    corpus = []
    for name, seed, text in (("a.wav", 0, texts[0]), ("b.flac", 1, texts[1]), ("c.wav", 1, texts[2])):
        soundfile.write(tmp_path / name, np.rint(speechlike(seed) * 32_768).astype(np.int16), RATE)
        corpus.append(Utterance(str(tmp_path / name), text, id=name))
    with UtteranceReader() as listener:
        index = DuplicateIndex(corpus, listener)
        found = [index.find(utterance) for utterance in [*corpus, Utterance(str(tmp_path / "gone.wav"), "no")]]
        sounds = DuplicateIndex(corpus, listener, DuplicateOptions(texts=False))
        assert [one.kind for one in sounds.find(corpus[1])] == ["same-audio"] * 2
    assert index.ids == ["a.wav", "b.flac", "c.wav"]
    assert found[0] == [Likeness("same-audio", 0, 1.0), Likeness("near-text", 0, 1.0)]
    assert found[1] == found[2] == [Likeness(kind, at, 1.0) for kind in ("same-audio", "near-text") for at in (1, 2)]
    assert found[3] == []
    assert index.held == Coverage(utterances=3, recordings=3, texts=3)
    assert index.passed == Coverage(utterances=4, recordings=3, texts=3, texts_too_short=1, failed=1)
    assert "gone.wav" in index.failures[0]
