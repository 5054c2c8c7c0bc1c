"""Made-up speech that keeps its identity through codecs, as real speech does."""

from __future__ import annotations

import numpy as np

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


def later(samples: Samples, count: int = 1_061) -> Samples:
    return np.concatenate([np.zeros(count, np.float32), samples])
