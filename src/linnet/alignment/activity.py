"""Signal against background per 10 ms of a recording: finds the edges of words for the alignment.

Shapes: N samples, T frames of 10 ms, K bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from linnet.audio.types import SAMPLE_RATE, Samples

FRAME = SAMPLE_RATE // 100  # samples: 10 ms
_WINDOW = SAMPLE_RATE // 40  # samples: 25 ms, around the middle of a frame
_BANDS = 20
_QUIET_SHARE = 0.1  # percentile of a band's frames that is taken as background
_STEADY = 9  # frames over which a band's power is averaged to estimate the background
_RANGE = 1e-5  # 50 dB below a band's loud frames is background
_CLEAR = 30.0  # limit of a band's ratio, so that one loud band alone does not dominate a frame
_MIDDLE, _SLOPE = 0.2, 0.3  # of log(1 + likelihood ratio); tuned on FSDD's training and validation speakers

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class SpeechActivity:
    """Per frame: `score` [T] from -1 (background) to 1 (signal), and `level` [T] from 0 up, which does not saturate.

    `level` is log(1 + likelihood ratio): its dips are where words may touch.
    """

    score: Scores
    level: Scores


def speech_activity(samples: Samples) -> SpeechActivity:
    """The signal against the recording's background per 10 ms of samples [N]; T = N / 160, rounded up.

    In each of 20 mel-spaced bands the power over its background, g, gives the log likelihood ratio g - 1 - log g of
    Sohn, Kim and Sung (1999, "A statistical model-based voice activity detection", with the maximum-likelihood estimate
    g - 1 of the signal-to-noise ratio). The mean over bands, compressed, is the level; smoothed over 30 ms and scaled
    to [-1, 1], the score. The background is the 10th percentile of each band's means over 90 ms, so both are relative
    to this recording: if it has no pauses, they mean little.

    >>> tone = np.sin(np.arange(1600) * 0.3).astype(np.float32)
    >>> speech_activity(np.concatenate([np.zeros(1600, np.float32), tone])).score.round()[[0, 5, 14, 19]]
    array([-1., -1.,  1.,  1.])
    """
    if not len(samples):
        return SpeechActivity(np.zeros(0), np.zeros(0))
    power = _band_power(samples)  # [T, K]
    whole = max(1, len(samples) // FRAME)  # the last frame may hold less than 10 ms
    floor = np.quantile(_steadied(power[:whole]), _QUIET_SHARE, axis=0)
    floor = np.maximum(floor, np.quantile(power, 0.95, axis=0) * _RANGE)
    over = np.maximum(power / floor, 1.0)
    ratio = over - 1.0 - np.log(over)
    clear = np.log1p(np.minimum(ratio, _CLEAR).mean(1))
    smooth = np.convolve(np.pad(clear, 1, mode="edge"), np.full(3, 1 / 3), "valid")
    return SpeechActivity(np.clip((smooth - _MIDDLE) / _SLOPE, -1.0, 1.0), np.log1p(ratio.mean(1)))


def _steadied(power: Scores) -> Scores:
    """Moving averages over 90 ms of power [T, K]."""
    summed = np.cumsum(np.pad(power, ((_STEADY // 2 + 1, _STEADY // 2), (0, 0)), mode="edge"), 0)
    steady: Scores = (summed[_STEADY:] - summed[:-_STEADY]) / _STEADY
    return steady


def _band_power(samples: Samples) -> Scores:
    frames = -(-len(samples) // FRAME)
    before = (_WINDOW - FRAME) // 2
    padded = np.pad(samples.astype(np.float64), (before, _WINDOW + frames * FRAME - len(samples)))
    cut = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::FRAME][:frames]
    spectrum = np.abs(np.fft.rfft(cut * np.hanning(_WINDOW), axis=1)) ** 2
    power: Scores = spectrum @ _bands() + 1e-10
    return power


@lru_cache(maxsize=1)
def _bands() -> Scores:
    """Averaging weights of mel-spaced bands from 60 Hz up, [bins, K]; bands narrower than a bin are omitted."""
    frequencies = np.fft.rfftfreq(_WINDOW, 1 / SAMPLE_RATE)
    mel = 2595 * np.log10(1 + frequencies / 700)
    lowest = 2595 * np.log10(1 + 60 / 700)
    edges = np.linspace(lowest, mel[-1], _BANDS + 1)
    member = (np.digitize(mel, edges) - 1)[:, None] == np.arange(_BANDS)
    kept = member[:, member.any(0)].astype(np.float64)
    share: Scores = kept / kept.sum(0)
    return share
