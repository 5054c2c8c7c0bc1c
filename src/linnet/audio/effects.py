"""Audio effects on float32 mono at 16 kHz: speed, reverberation, telephone, noise.

Shapes: N samples.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

from linnet.audio.types import SAMPLE_RATE as RATE
from linnet.audio.types import Samples

Rng = np.random.Generator


def resample(samples: Samples, factor: float) -> Samples:
    """Speed up [N] by `factor` (linear interpolation), with pitch and formants; N / factor samples."""
    length = max(1, round(len(samples) / factor))
    position = np.arange(length, dtype=np.float64) * factor
    return np.interp(position, np.arange(len(samples)), samples).astype(np.float32)


def room_response(rng: Rng) -> Samples:
    """A synthetic room impulse response: the direct path at 0, early reflections, a tail of decaying noise.

    The tail falls by 60 dB in 0.1 to 0.9 s; its energy is -3 to -20 dB of the direct path's.
    """
    seconds = float(rng.uniform(0.1, 0.9))
    length = int(min(seconds, 0.5) * RATE)
    tail = rng.standard_normal(length, dtype=np.float32)
    tail *= np.exp(-6.908 * np.arange(length, dtype=np.float32) / (seconds * RATE))
    tail[: int(0.004 * RATE)] = 0.0
    tail *= 10 ** (rng.uniform(-20, -3) / 20) / max(1e-6, float(np.sqrt((tail**2).sum())))
    for _ in range(int(rng.integers(0, 6))):
        tail[int(rng.integers(16, RATE // 25))] += rng.uniform(-0.5, 0.5)
    tail[0] = 1.0
    return tail


def mu_law(samples: Samples, bits: int) -> Samples:
    """Mu-law companding (ITU-T G.711, mu 255) with `bits` bits."""
    levels = 2 ** (bits - 1) - 1
    code = np.sign(samples) * np.log1p(255.0 * np.abs(np.clip(samples, -1, 1))) / np.log(256.0)
    code = np.round(code * levels) / levels
    expanded: Samples = (np.sign(code) * np.expm1(np.abs(code) * np.log(256.0)) / 255.0).astype(np.float32)
    return expanded


def colored(rng: Rng, length: int, power: float) -> Samples:
    """Noise of unit RMS with power 1 / f ** `power`: 0 white, 1 pink, 2 brown."""
    spectrum = fft.rfft(rng.standard_normal(length, dtype=np.float32))
    frequencies = np.maximum(np.arange(len(spectrum)) * RATE / length, 20.0)
    return unit(fft.irfft(spectrum * frequencies ** (-power / 2), length).astype(np.float32))


def unit(samples: Samples) -> Samples:
    """Scaled to an RMS of one; zeros stay zeros."""
    level = float(np.sqrt(np.mean(samples**2))) if len(samples) else 0.0
    return samples / level if level > 1e-9 else samples
