"""Planted copies are found, whatever was done to them, and nothing else is."""

from __future__ import annotations

import io
import json
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
from linnet.errors import OutputError
from linnet.evaluation.contamination import ContaminationOptions, Match, find_contamination
from linnet.evaluation.contamination.prints import HOP, WINDOW, Fingerprint, _window_and_bands, exact_hash, fingerprint
from linnet.evaluation.contamination.sounds import SoundIndex, allowed
from linnet.evaluation.contamination.texts import PIECE, TextIndex, normalize, pieces

RATE = 16_000
Samples = np.ndarray


def speechlike(seed: int, seconds: float = 2.0) -> Samples:
    """Syllables: harmonics that glide, each under a hump of loudness and a formant of its own."""
    generator = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = np.interp(time, np.linspace(0, seconds, 9), generator.uniform(90, 220, 9))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    center = np.interp(time, np.linspace(0, seconds, 15), generator.uniform(300, 3200, 15))
    loudness = np.interp(time, np.linspace(0, seconds, 21), generator.uniform(0.05, 1.0, 21))
    voice = sum(np.exp(-(((number * pitch - center) / 400) ** 2)) * np.sin(number * phase) for number in range(1, 30))
    sound = loudness * voice + 1e-3 * generator.standard_normal(len(time))
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


def coded(samples: Samples, kind: str, subtype: str, rate: int = RATE) -> Samples:
    """Through a lossy codec at some rate and back."""
    buffer = io.BytesIO()
    soundfile.write(buffer, soxr.resample(samples, RATE, rate), rate, format=kind, subtype=subtype)
    buffer.seek(0)
    back, _ = soundfile.read(buffer, dtype="float32")
    return np.asarray(soxr.resample(back, rate, RATE))


def later(samples: Samples, count: int = 1_061) -> Samples:
    return np.concatenate([np.zeros(count, np.float32), samples])


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
def stored(strings: list[Samples]) -> SoundIndex:
    return SoundIndex([fingerprint(samples) for samples in strings[::2]])


@pytest.mark.parametrize("name", CHANGES)
def test_changed_copies_of_real_speech_are_found_and_no_others(
    strings: list[Samples], stored: SoundIndex, name: str
) -> None:
    for at in range(0, 20, 3):
        assert [one.index for one in stored.find(fingerprint(CHANGES[name](strings[2 * at])))] == [at], at
    for other in strings[1::6]:
        assert stored.find(fingerprint(CHANGES[name](other))) == []


def test_the_place_inside_a_longer_recording_is_told(strings: list[Samples]) -> None:
    index = SoundIndex([fingerprint(strings[0])])
    before = np.concatenate(strings[1:6])
    whole = coded(np.concatenate([before, strings[0], *strings[6:9]]), "MP3", "MPEG_LAYER_III")
    (sighting,) = index.find(fingerprint(whole))
    assert sighting.start == pytest.approx(len(before) / RATE, abs=0.05)
    assert sighting.covered > 0.95
    assert sighting.agreement > 0.8
    # and the other way round: the training has a piece of an evaluation recording
    (sighting,) = SoundIndex([fingerprint(whole)]).find(fingerprint(strings[0]))
    assert sighting.start == pytest.approx(-len(before) / RATE, abs=0.05)


@pytest.mark.parametrize("change", ["gain", "offset", "8 kHz", "mp3", "last two thirds"])
def test_changed_copies_of_made_up_sounds_are_found(change: str) -> None:
    made = [speechlike(seed) for seed in range(8)]
    index = SoundIndex([fingerprint(samples) for samples in made])
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
            assert SoundIndex(stored).find(other) == []


def test_a_fingerprint_is_that_of_a_slow_twin() -> None:
    samples = speechlike(3, 0.3)
    window, bands = (array.astype(np.float64) for array in _window_and_bands())
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
    monkeypatch.setattr("linnet.evaluation.contamination.prints._BLOCK", 7)
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


@pytest.fixture
def corpus(tmp_path: Path) -> dict[str, list[Utterance]]:
    """Three evaluation utterances; the training has the first as it is, the second as mp3, the third's text."""
    (tmp_path / "e").mkdir()
    texts = [
        "the first of three sentences here",
        "another one of which the sound is copied",
        "copied in its words only",
    ]
    evaluation, training = [], []
    for at, text in enumerate(texts):
        soundfile.write(tmp_path / f"e/{at}.wav", speechlike(at), RATE, subtype="PCM_16")
        evaluation.append(Utterance(str(tmp_path / f"e/{at}.wav"), text, id=f"e{at}"))
    soundfile.write(tmp_path / "0.flac", soundfile.read(tmp_path / "e/0.wav", dtype="int16")[0], RATE)
    soundfile.write(tmp_path / "1.mp3", later(speechlike(1)), RATE)
    soundfile.write(tmp_path / "2.wav", speechlike(12), RATE)
    soundfile.write(tmp_path / "3.wav", speechlike(13, 0.05), RATE)
    for name, text in (
        ("0.flac", None),
        ("1.mp3", "nothing that is said over there"),
        ("2.wav", texts[2]),
        ("3.wav", "no"),
        ("gone.wav", None),
    ):
        training.append(Utterance(str(tmp_path / name), text, id=name))
    return {"training": training, "evaluation": evaluation}


def test_what_was_planted_is_found_and_what_cannot_be_read_is_told(
    corpus: dict[str, list[Utterance]], tmp_path: Path
) -> None:
    done: list[int] = []
    result = find_contamination(**corpus, on_progress=done.append)
    found = [(match.kind, match.training, match.evaluation) for match in result.matches]
    assert found == [
        ("same-sound", "0.flac", "e0"),
        ("near-sound", "1.mp3", "e1"),
        ("near-text", "2.wav", "e2"),
    ]
    assert result.matches[1].start == pytest.approx(1_061 / RATE, abs=0.08)  # the codec adds a delay of its own
    assert (result.contaminated, result.utterances) == (3, {"same-sound": 1, "near-sound": 1, "near-text": 1})
    assert done == [1, 2, 3, 4, 5]
    seen = result.training
    assert (seen.utterances, seen.sounds, seen.sounds_too_short, seen.failed) == (5, 3, 1, 1)
    assert (seen.texts, seen.texts_too_short) == (2, 1)
    assert "gone.wav" in result.failures[0]
    lines = result.lines()
    assert lines[0] == "3 of 3 evaluation utterances are in the training data in some form"
    assert any(line.startswith("near-sound 0.9") and "e1 is in 1.mp3 at 0.1 s" in line for line in lines)
    result.write(tmp_path / "matches.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "matches.jsonl").read_text().splitlines()]
    assert [Match(**row) for row in rows] == list(result.matches)
    assert json.loads(json.dumps(result.to_dict()))["contaminated"] == 3


def test_sounds_or_texts_alone(corpus: dict[str, list[Utterance]]) -> None:
    sounds = find_contamination(**corpus, options=ContaminationOptions(texts=False))
    texts = find_contamination(**corpus, options=ContaminationOptions(sounds=False))
    assert {match.kind for match in sounds.matches} == {"same-sound", "near-sound"}
    assert {match.kind for match in texts.matches} == {"near-text"}
    assert texts.failures == ()
    assert texts.training.sounds == 0


def test_many_matches_are_counted_but_not_all_listed(tmp_path: Path) -> None:
    text = "everybody in this set says the same"
    rows = [Utterance("e.wav", text, id=str(at)) for at in range(50)]
    result = find_contamination([Utterance("t.wav", text)], rows, ContaminationOptions(sounds=False))
    assert (len(result.matches), result.contaminated) == (10, 50)
    with pytest.raises(OutputError, match="folder is missing"):
        result.write(tmp_path / "no" / "matches.jsonl")


def test_nothing_in_nothing() -> None:
    result = find_contamination([], [])
    assert (result.matches, result.contaminated) == ((), 0)
    assert result.lines()[0].startswith("0 of 0 evaluation utterances")
