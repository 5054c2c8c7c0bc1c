"""Calibration windows: read again they are what they were, in one pass and one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from linnet.audio.types import SAMPLE_RATE
from linnet.compression.subject import Subject
from linnet.compression.windows import HELD_OUT, read_audio
from linnet.data.manifest import Utterance
from linnet.errors import OptionError
from tests.support.tiny_speech import save_wav2vec2
from tests.support.tiny_subjects import other_subject, whisper_subject


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return whisper_subject(tmp_path_factory.mktemp("w") / "w")


def recording(path: Path, seconds: float, seed: int) -> np.ndarray:
    """Noise whose level rises and falls, stereo with nothing on the right; the left channel [N]."""
    random = np.random.default_rng(seed)
    count = round(seconds * SAMPLE_RATE)
    level = 0.1 + 0.1 * np.sin(np.arange(count) / 4000)
    left = (level * random.standard_normal(count)).astype(np.float32)
    soundfile.write(path, np.stack([left, np.zeros_like(left)], 1), SAMPLE_RATE, subtype="FLOAT")
    return left


def test_windows_of_recordings_and_stretches_are_read_again_as_they_were(subject: Subject, tmp_path: Path) -> None:
    window = subject.window / SAMPLE_RATE
    samples = recording(tmp_path / "long.wav", 5.5 * window, seed=0)
    utterances = [Utterance(str(tmp_path / "long.wav"), channel=0)]
    starts = [0.25 * step for step in range(8)]
    length = 0.9 * window
    utterances += [Utterance(str(tmp_path / "long.wav"), start=one, end=one + length, channel=0) for one in starts]
    told: list[str] = []
    audio = read_audio(subject, utterances, most=100, skipped=told.append)
    assert told == []
    assert audio.seconds == pytest.approx(5.5 * window + 8 * length)
    for examples in (audio.teaching, audio.held_out):
        passed = [one.features["input_features"] for one in examples]
        assert len(passed) == len(examples)
        for index, features in enumerate(passed):
            assert torch.equal(features, examples[index].features["input_features"])
    total = len(audio.teaching) + len(audio.held_out)
    examples = audio.held_out if total % HELD_OUT == 0 else audio.teaching  # every fifth window judges
    last = examples[len(examples) - 1]
    expected = subject.example(samples[round(starts[-1] * SAMPLE_RATE) :][: round(length * SAMPLE_RATE)])
    assert torch.equal(last.features["input_features"], expected.features["input_features"])


def test_short_recordings_of_a_language_also_fill_whole_windows(subject: Subject, tmp_path: Path) -> None:
    window, languages = subject.window / SAMPLE_RATE, ["en", "de", "en"] * 5
    sounds = [recording(tmp_path / f"{index}.wav", 0.4 * window, index) for index in range(15)]
    utterances = [
        Utterance(str(tmp_path / f"{index}.wav"), channel=0, language=one) for index, one in enumerate(languages)
    ]
    audio = read_audio(subject, utterances, most=100, skipped=pytest.fail)

    def features(*indices: int) -> torch.Tensor:
        return subject.example(np.concatenate([sounds[index] for index in indices])).features["input_features"]

    judges = [4, 9, 14]  # de, en, en: too few of one language for a whole window
    english, german = [0, 2, 3, 5, 6, 8, 11, 12], [1, 7, 10, 13]
    whole = [english[:3], english[3:6], german[:3]]
    expected = [features(index) for index in range(15) if index not in judges] + [features(*one) for one in whole]
    made = [one.features["input_features"] for one in audio.teaching]
    assert len(made) == len(expected)
    assert all(any(torch.equal(one, found) for found in made) for one in expected)
    assert sorted(one.language or "" for one in audio.teaching if one.frames == one.positions) == ["de", "en", "en"]
    assert all(
        torch.equal(one.features["input_features"], features(n)) for one, n in zip(audio.held_out, judges, strict=True)
    )
    assert audio.seconds == pytest.approx(15 * 0.4 * window)


def test_what_is_held_out_is_joined_by_itself(subject: Subject, tmp_path: Path) -> None:
    window = subject.window / SAMPLE_RATE
    sounds = [recording(tmp_path / f"{index}.wav", 0.5 * window, index) for index in range(10)]
    audio = read_audio(
        subject, [Utterance(str(tmp_path / f"{n}.wav"), channel=0) for n in range(10)], most=100, skipped=pytest.fail
    )
    last = audio.held_out[2].features["input_features"]
    assert torch.equal(last, subject.example(np.concatenate([sounds[4], sounds[9]])).features["input_features"])


def test_models_of_any_window_hear_each_recording_as_it_is(tmp_path: Path) -> None:
    save_wav2vec2(tmp_path / "m", norm="layer")
    recording(tmp_path / "a.wav", 0.6, 0)
    utterances = [Utterance(str(tmp_path / "a.wav"), channel=0)] * 10
    audio = read_audio(other_subject(tmp_path / "m"), utterances, most=100, skipped=pytest.fail)
    assert len(audio.teaching) + len(audio.held_out) == 10


def test_what_is_silent_or_unreadable_is_counted_and_too_little_refused(subject: Subject, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE)
    told: list[str] = []
    rows = [Utterance(str(tmp_path / name)) for name in ("silent.wav", "missing.wav")]
    with pytest.raises(OptionError, match=r"left out: 1 silent, 1 unreadable"):
        read_audio(subject, rows, most=10, skipped=told.append)
    assert len(told) == 2
