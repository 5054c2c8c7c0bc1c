"""Small random models and sounds to compress."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.compression.subject import Subject, WhisperSubject, load_subject, subject_of
from linnet.compression.windows import Audio
from linnet.models.resolve import resolve
from linnet.models.speech import load_speech_model
from tests.support.tiny_whispers import save_whisper


def whisper_subject(folder: Path, *, seed: int = 0, double: bool = True) -> WhisperSubject:
    """A random Whisper of two layers; in float64, where a twin is to agree to many digits."""
    subject = load_subject(resolve(str(save_whisper(folder, seed=seed))))
    assert isinstance(subject, WhisperSubject)
    if double:
        subject.model.double()
    return subject


def other_subject(folder: Path) -> Subject:
    """The model in a folder, of any other family."""
    return subject_of(load_speech_model(resolve(str(folder)), device="cpu", dtype=torch.float32))


def sound(seconds: float, *, seed: int = 0) -> Samples:
    """Tones that come and go in noise."""
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    pitch = 200 + 1500 * random.random(4)
    made = sum(np.sin(2 * np.pi * one * time) * np.sin(time * (index + 1)) for index, one in enumerate(pitch))
    return (0.1 * made + 0.02 * random.standard_normal(len(time))).astype(np.float32)


def audio_of(subject: Subject, count: int = 15, *, seconds: float = 1.6) -> Audio:
    """Windows of different sounds, every third of them held out."""
    audio = Audio()
    double = next(subject.model.parameters()).dtype == torch.float64
    for index in range(count):
        example = subject.example(sound(seconds, seed=index), "en")
        if double:
            for name, value in example.features.items():
                example.features[name] = value.double()  # type: ignore[index]
        (audio.held_out if index % 3 == 2 else audio.teaching).append(example)
        audio.seconds += seconds
    return audio
