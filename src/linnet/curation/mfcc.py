"""Features of sound units from samples: band powers every 20 ms, speech frames, and their MFCC.

Shapes: N samples at 16 kHz, T frames (25 ms long, one every 20 ms), M mel bands, F frequencies, C coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from linnet.audio.mel import mel_filters
from linnet.audio.types import SAMPLE_RATE, Samples

WINDOW = 400  # 25 ms
HOP = 320  # 20 ms
HOP_SECONDS = HOP / SAMPLE_RATE
MELS = 40
COEFFICIENTS = 13
BIN_HERTZ = SAMPLE_RATE / WINDOW
NO_SOUND_DB = -80.0  # below full scale; quieter frames hold no speech

_BLOCK = 256  # frames transformed at once: they stay in the cache
_LOWEST = 2  # the lowest frequency for a frame's power, 80 Hz: excludes hum and offset
_RANGE = 1e-5  # floor relative to the loudest band, -50 dB, so that codecs and soft noise change little
_SILENCE = 1e-12  # power
_REACH_DB = 35.0  # the quietest speech, relative to loud frames
_ABOVE_FLOOR_DB, _ABOVE_FLOOR = (
    6.0,
    0.25,
)  # above the quietest frames: dB, or a share of the range if less
_STEADY_DB = 6.0  # a recording with a smaller range has no pauses

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Spectrum:
    """Summary of a recording's short-time spectrum.

    `bands` [T, M] are mean powers in mel bands, `power` [T] the mean square of each frame above 80 Hz, `highest` [F]
    the maximum power of each frequency over all frames.
    """

    bands: Floats
    power: Floats
    highest: Floats

    @property
    def level_db(self) -> Floats:
        """The level of each frame below full scale, at least -120 dB, [T]."""
        level: Floats = np.float32(10.0) * np.log10(np.maximum(self.power, np.float32(_SILENCE)))
        return level


def analyze(samples: Samples) -> Spectrum:
    """The spectrum of samples [N], with a Hann window; T is 1 + (N - 400) // 320, and 1 for fewer than 400 samples.

    Samples after the last complete frame (less than 20 ms) are ignored.
    """
    padded = samples if len(samples) >= WINDOW else np.pad(samples, (0, WINDOW - len(samples)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    window, filters = _hann(), _filters()
    made = np.empty((len(frames), MELS + 1), np.float32)
    highest = np.zeros(WINDOW // 2 + 1, np.float32)
    for at in range(0, len(frames), _BLOCK):
        spectrum = fft.rfft(frames[at : at + _BLOCK] * window, axis=1)
        power = spectrum.real**2 + spectrum.imag**2
        np.matmul(power, filters, out=made[at : at + _BLOCK])
        np.maximum(highest, power.max(axis=0), out=highest)
    return Spectrum(made[:, :MELS], made[:, MELS], highest)


def find_speech(spectrum: Spectrum) -> Flags:
    """Which frames [T] are loud enough for speech, by energy alone and independent of gain.

    A frame must be at most 35 dB below loud frames, above the quietest ones if there are pauses, and not digital
    silence. The frame on either side counts too, for soft consonants.
    """
    level = spectrum.level_db
    sounding = level >= NO_SOUND_DB
    if not sounding.any():
        return sounding
    quiet, often = np.quantile(level[sounding], (0.05, 0.95))
    loud = max(float(often), float(10.0 * np.log10(spectrum.power[sounding].mean(dtype=np.float64))))
    floor = float(quiet) + min(_ABOVE_FLOOR_DB, _ABOVE_FLOOR * (loud - float(quiet)))
    threshold = min(max(loud - _REACH_DB, floor), loud - _STEADY_DB)
    speech: Flags = sounding & (level >= threshold)
    widened = speech.copy()
    widened[1:] |= speech[:-1]
    widened[:-1] |= speech[1:]
    return widened & sounding


def cepstra(bands: Floats, coefficients: int = COEFFICIENTS) -> Floats:
    """The first mel-frequency cepstral coefficients [T, C] of the natural logarithm of band powers [T, M].

    Gain only adds a constant to the first coefficient: nothing is added to bands, which are limited to 50 dB below the
    loudest one.
    """
    least = max(float(bands.max(initial=0.0)) * _RANGE, _SILENCE * _RANGE)
    made: Floats = np.log(np.maximum(bands, np.float32(least))) @ _cosines(coefficients)
    return made


def smooth(features: Floats) -> Floats:
    """The mean of each frame [T, C] and its two neighbors, so that a shift by half a frame changes little."""
    padded = np.pad(features, ((1, 1), (0, 0)), mode="edge")
    made: Floats = (padded[:-2] + padded[1:-1] + padded[2:]) / np.float32(3.0)
    return made


@lru_cache(maxsize=1)
def _hann() -> Floats:
    """The periodic Hann window."""
    return (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)


@lru_cache(maxsize=1)
def _filters() -> Floats:
    """The mel filters, and a column for the mean square of a power spectrum (Parseval), [F, M + 1]."""
    once = np.full(WINDOW // 2 + 1, 2.0)
    once[0] = once[-1] = 1.0
    once[:_LOWEST] = 0.0
    scale = WINDOW * np.square(_hann(), dtype=np.float64).sum()
    return np.ascontiguousarray(np.column_stack([mel_filters(MELS), once / scale]), np.float32)


@lru_cache(maxsize=4)
def _cosines(coefficients: int) -> Floats:
    """The orthonormal discrete cosine transform (type II) as a matrix [M, C]."""
    made = fft.dct(np.eye(MELS), axis=1, norm="ortho")[:, :coefficients]
    return np.ascontiguousarray(made, np.float32)
