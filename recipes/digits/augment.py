"""What isolated digits ask for beside `linnet.audio.effects`: microphones, bands, masks, music. Float32 mono at 16 kHz.

Shapes: N samples, F = N // 2 + 1 frequencies of a real Fourier transform, T frames, M mel bins.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linnet.audio.effects import Rng, colored, unit
from linnet.audio.types import SAMPLE_RATE as RATE

Array = NDArray[np.float32]


def tilt_and_bands(rng: Rng, frequencies: Array, strength: float = 1.0) -> Array:
    """A smooth random gain [F] over `frequencies` (Hz): a tilt (1.8 dB per octave) and four broad bumps (2.8 dB)."""
    octaves = np.log2(np.maximum(frequencies, 60.0) / 1000.0)
    decibels: NDArray[np.float64] = rng.normal(0, 1.8) * strength * octaves.astype(np.float64)
    for center in rng.uniform(-3.5, 3.0, 4):
        decibels = decibels + rng.normal(0, 2.8) * strength * np.exp(
            -(((octaves - center) / rng.uniform(0.3, 1.2)) ** 2)
        )
    return np.power(10.0, decibels / 20).astype(np.float32)


def band(rng: Rng, frequencies: Array, low: float, high: float) -> Array:
    """A band-pass gain [F] with soft edges; `low` 0 or `high` 8000 leaves that side open."""
    gain = np.ones(len(frequencies), np.float64)
    if low > 0:
        gain = gain / np.sqrt(1 + (low / np.maximum(frequencies, 1.0)) ** float(rng.choice([4, 8])))
    if high < RATE / 2:
        gain = gain / np.sqrt(1 + np.minimum(frequencies / high, 4.0) ** float(rng.choice([16, 32, 64])))
    return gain.astype(np.float32)


def fold_up(spectrum: NDArray[np.complex64], frequencies: Array, gain: float) -> NDArray[np.complex64]:
    """Give band-limited speech [F] a plausible top: 2-4 kHz mirrored to 4-6 kHz (spectral folding), `gain` linear."""
    weight = np.clip((frequencies - 3800) / 300, 0, 1) * np.exp(-np.maximum(frequencies - 4500, 0) / 1500)
    mirrored = np.conj(spectrum[::-1]) * (weight * gain)
    return (spectrum + mirrored).astype(np.complex64)


def warp_mel(features: Array, alpha: float) -> Array:
    """Stretch the mel axis of [T, M] by `alpha`: another length of vocal tract (Jaitly and Hinton 2013)."""
    bands = features.shape[1]
    source = np.minimum(np.arange(bands) * alpha, bands - 1)
    low = source.astype(np.int64)
    part = (source - low).astype(np.float32)
    high = np.minimum(low + 1, bands - 1)
    warped: Array = features[:, low] * (1 - part) + features[:, high] * part
    return warped


def mask(rng: Rng, features: Array) -> Array:
    """Two masks of up to 12 bands, and in every 0.6 s about one of up to 12 frames, at the quietest or the mean value.

    SpecAugment (Park et al. 2019), with masks as dense in long recordings as in short ones: no part of a word is
    always there, so each must tell the word.
    """
    features = features.copy()
    filling = features.min() if rng.random() < 0.5 else features.mean()
    for _ in range(2):
        width = int(rng.integers(0, 13))
        first = int(rng.integers(0, features.shape[1] - width))
        features[:, first : first + width] = filling
    for _ in range(int(rng.poisson(len(features) / 60))):
        width = int(rng.integers(1, 13))
        first = int(rng.integers(0, max(1, len(features) - width)))
        features[first : first + width] = filling
    return features


def hum(rng: Rng, length: int) -> Array:
    """Mains hum: 50 or 60 Hz and its harmonics, of unit level."""
    time = np.arange(length) / RATE
    base = float(rng.choice([50.0, 60.0])) * (1 + rng.normal(0, 0.002))
    parts = [rng.uniform(0, 1) / k * np.sin(2 * np.pi * base * k * time + rng.uniform(0, 6.28)) for k in range(1, 12)]
    return unit(np.sum(parts, 0).astype(np.float32) + 1e-3 * rng.standard_normal(length, dtype=np.float32))


def music(rng: Rng, length: int) -> Array:
    """Music-like sound of unit level: chords or arpeggios of harmonic notes, plucked or held."""
    output = np.zeros(length, np.float32)
    beat = int(rng.uniform(0.12, 1.2) * RATE)
    held = rng.random() < 0.4
    root = float(rng.uniform(80, 400))
    for start in range(0, length, beat):
        span = min(length - start, int(beat * rng.uniform(1, 3)))
        time = np.arange(span, dtype=np.float32) / RATE
        fade = np.minimum(1, time * 50) * (np.ones(1) if held else np.exp(-time * rng.uniform(2, 12)))
        notes = rng.choice([0, 2, 3, 4, 5, 7, 9, 10, 12, 16, 19], int(rng.integers(1, 5)))
        for note in notes:
            pitch = root * 2 ** (note / 12)
            partials = int(rng.integers(1, 8))
            slope = rng.uniform(0.5, 2)
            vibrato = rng.choice([0.0, 0.02]) * np.sin(2 * np.pi * 5 * time) * 5
            for k in range(1, partials + 1):
                output[start : start + span] += fade * np.sin(2 * np.pi * pitch * k * time + vibrato * k) / k**slope
        if rng.random() < 0.3:
            burst = min(span, int(0.08 * RATE))
            drum = rng.standard_normal(burst, dtype=np.float32) * np.exp(-np.arange(burst) / (0.015 * RATE))
            output[start : start + burst] += 2 * drum.astype(np.float32)
    return unit(output)


def clicks(rng: Rng, length: int) -> Array:
    """Clicks, knocks and puffs at random times, of unit level."""
    output = np.zeros(length, np.float32)
    for _ in range(max(1, int(rng.poisson(length / RATE * rng.uniform(0.5, 4))))):
        span = int(rng.choice([0.003, 0.02, 0.08, 0.3]) * RATE)
        start = int(rng.integers(0, max(1, length - span)))
        envelope = np.exp(-np.arange(span) / (span / 4))
        if rng.random() < 0.4:
            sound = np.sin(2 * np.pi * rng.uniform(80, 2500) * np.arange(span) / RATE)
        else:
            sound = colored(rng, span, float(rng.uniform(0, 2)))
        piece = (sound * envelope * rng.uniform(0.2, 1))[: length - start]
        output[start : start + len(piece)] += piece.astype(np.float32)
    return unit(output)
