"""Sound made by formula, on which an encoder's ranges are read off where there are no recordings.

What it must have is what moves a speech encoder's activations to their ends: voices of many pitches with formants that
glide, hisses, pauses, rooms of different noise, loud and soft. Nothing of it is meant to be understood.

Shapes: N samples, T mel frames, M mel bands.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from linnet.audio.mel import HOP, log_mel
from linnet.audio.types import SAMPLE_RATE

WINDOWS = 8  # what the ranges are read off; more changed no range by more than a few percent
_PITCHES = 80.0, 280.0  # Hz, of grown-up voices
_FORMANTS = ((250.0, 850.0), (800.0, 2500.0), (2300.0, 3500.0))  # Hz, of vowels (Peterson and Barney 1952)
_BANDWIDTHS = 90.0, 130.0, 200.0  # Hz
_HISSES = 2500.0, 7000.0  # Hz, where fricatives are loudest


def calibration_windows(frames: int, bands: int, count: int = WINDOWS) -> list[Tensor]:
    """Log-mel features [T, M] of `count` windows of speech-like sound, always the same ones.

    Every fourth window is speech of a third of its length and silence after it, as a short clip is.
    """
    return [log_mel(torch.from_numpy(_window(frames * HOP, index)), bands) for index in range(count)]


def _window(size: int, index: int) -> np.ndarray:
    """One window of `size` samples [N], float32 within -1 and 1."""
    rng = np.random.default_rng(index)
    spoken = size // 3 if index % 4 == 3 else size
    pitch = rng.uniform(*_PITCHES)
    parts: list[np.ndarray] = []
    while sum(map(len, parts)) < spoken:
        parts += [_syllable(rng, pitch), np.zeros(rng.choice([0, 0, 0, 800, 6400]) + int(rng.integers(1, 800)))]
    voice = np.concatenate(parts)[:spoken]
    noise = rng.standard_normal(spoken) * 10 ** (-rng.uniform(15, 60) / 20)
    sound = np.zeros(size, np.float32)
    sound[:spoken] = voice / max(np.abs(voice).max(), 1e-6) + noise * voice.std()
    return sound * np.float32(10 ** (-rng.uniform(1, 25) / 20))


def _syllable(rng: np.random.Generator, pitch: float) -> np.ndarray:
    """A hiss, or a vowel whose pitch and formants glide from one place to another; 60 to 300 ms."""
    size = int(rng.uniform(0.06, 0.3) * SAMPLE_RATE)
    shape = np.sin(np.linspace(0, np.pi, size)) ** 0.5 * 10 ** (-rng.uniform(0, 15) / 20)
    if rng.random() < 0.3:
        return shape * 0.3 * _hiss(rng, size)
    glide = np.linspace(0.0, 1.0, size)[:, None]
    pitches = pitch * np.interp(glide[:, 0], [0, 1], rng.uniform(0.85, 1.2, 2))
    harmonics = np.arange(1, int(SAMPLE_RATE / 2 / (pitch * 1.2)))
    gains = 1.0 / harmonics
    for (low, high), width in zip(_FORMANTS, _BANDWIDTHS, strict=True):
        begin, end = rng.uniform(low, high, 2)
        away = (harmonics * pitch - (begin + (end - begin) * glide)) / width  # [N, harmonics]
        gains = gains + 3.0 / (1.0 + away**2) / np.sqrt(harmonics)
    phases = 2 * np.pi * np.cumsum(pitches)[:, None] / SAMPLE_RATE * harmonics
    vowel: np.ndarray = (gains * np.sin(phases)).sum(1)
    return shape * vowel / np.abs(vowel).max()


def _hiss(rng: np.random.Generator, size: int) -> np.ndarray:
    """Noise [N] around one frequency, at most 1."""
    spectrum = np.fft.rfft(rng.standard_normal(size))
    away = (np.fft.rfftfreq(size, 1 / SAMPLE_RATE) - rng.uniform(*_HISSES)) / 1500.0
    hiss = np.fft.irfft(spectrum / (1.0 + away**2), size)
    return hiss / np.abs(hiss).max()
