"""Audio fingerprints that are robust to loudness, codec and sample rate, and exact hashes of the samples.

Shapes: N samples at 16 kHz, T frames (one per 8 ms), 33 bands, 32 bits a frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import Self

import numpy as np
import numpy.typing as npt

from linnet.audio.types import SAMPLE_RATE, Samples

WINDOW = 1024  # 64 ms
HOP = 128  # 8 ms: a clip cut between two frames is at most 4 ms off
FRAMES_PER_SECOND = SAMPLE_RATE / HOP
_BANDS = 33
_LOWEST, _HIGHEST = 300.0, 3700.0  # Hz, the telephone band
_LAG = 2  # frames between the two that are compared
_QUIET = 1e-4  # of the power nearby; 40 dB below it codec noise dominates
_NEARBY = 64  # frames, half a second: levels are relative to neighboring words
_DOUBTS = 4  # uncertain bits per word
BLOCK = 4096  # frames transformed at once

Words = npt.NDArray[np.uint32]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Fingerprint:
    """A fingerprint: `words` [T] of 32 bits, and which frames are loud enough to compare, `loud` [T].

    `uncertain` [T, 4] holds the least certain bits of each word, one bit set in each entry.
    """

    words: Words
    loud: Flags
    uncertain: Words

    def __len__(self) -> int:
        return len(self.words)

    def to_store(self) -> Fingerprint:
        """Without the uncertain bits, which only queries need."""
        return Fingerprint(self.words, self.loud, np.zeros((0, _DOUBTS), np.uint32))

    @classmethod
    def empty(cls) -> Self:
        """The fingerprint of no audio."""
        return cls(np.zeros(0, np.uint32), np.zeros(0, np.bool_), np.zeros((0, _DOUBTS), np.uint32))


def exact_hash(samples: Samples) -> bytes:
    """A 16-byte hash of samples [N] rounded to 16 bits, the same for lossless copies in any container."""
    rounded = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype("<i2")
    return blake2b(rounded.tobytes(), digest_size=16).digest()


def fingerprint(samples: Samples) -> Fingerprint:
    """The fingerprint of samples [N], after Haitsma and Kalker 2002 ("A Highly Robust Audio Fingerprinting System").

    Bit m of a frame is the sign of the change, over two frames, of the energy difference between bands m and m + 1,
    which is independent of loudness and robust to codec and rate. The window is 64 ms instead of their 370 ms to
    distinguish words: two takes of a digit by one speaker must not match.
    """
    padded = np.pad(samples, WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]  # [T + lag, window]
    energies = np.concatenate([_energies(frames[at : at + BLOCK]) for at in range(0, len(frames), BLOCK)])
    falls = energies[:, :-1] - energies[:, 1:]
    growth = falls[_LAG:] - falls[:-_LAG]  # [T, 32]
    words = np.packbits(growth > 0, axis=1, bitorder="little").view("<u4")[:, 0]
    nearest = np.argpartition(np.abs(growth), _DOUBTS, axis=1)[:, :_DOUBTS]
    power = energies[_LAG:].sum(axis=1)
    return Fingerprint(words, power > _QUIET * _nearby(power), np.uint32(1) << nearest.astype(np.uint32))


def _nearby(power: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The maximum power [T] within the half second of a frame and the two around it; never zero."""
    blocks = np.maximum.reduceat(power, np.arange(0, len(power), _NEARBY)) if len(power) else power
    beside = np.pad(blocks, 1)
    around = np.maximum(np.maximum(beside[:-2], blocks), beside[2:])
    return np.repeat(np.maximum(around, 1e-12), _NEARBY)[: len(power)]


def _energies(frames: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Energies of the bands [T, 33] of frames [T, window]."""
    window, bands = window_and_bands()
    spectrum = np.fft.rfft(frames * window, axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    energies: npt.NDArray[np.float32] = power.astype(np.float32) @ bands
    return energies


@cache
def window_and_bands() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """A Hann window, and the share of each bin in each band [WINDOW // 2 + 1, 33]."""
    edges = np.geomspace(_LOWEST, _HIGHEST, _BANDS + 1) * WINDOW / SAMPLE_RATE
    bins = np.arange(WINDOW // 2 + 1)[:, None]
    inside = np.minimum(bins + 0.5, edges[1:]) - np.maximum(bins - 0.5, edges[:-1])
    return np.hanning(WINDOW).astype(np.float32), np.clip(inside, 0.0, 1.0).astype(np.float32)
