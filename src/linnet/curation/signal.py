"""Signal quality of a recording: level, noise, clipping, bandwidth, silences and cut edges, in one pass.

Shapes: N samples at 16 kHz, T frames, M mel bands, F frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from linnet.audio.mel import mel_filters
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.curation.mfcc import BIN_HERTZ, HOP_SECONDS, MELS, Flags, Spectrum

SILENT_DB = -120.0
MOST_SNR, LEAST_SNR = 80.0, -20.0  # dB: the measurable range

_AT_PEAK = 0.98  # of the loudest sample
_RUN = 3  # consecutive samples; the peak of a vowel has one or two
_AUDIBLE_DB = -60.0  # below the strongest frequency
_EDGE = round(0.03 * SAMPLE_RATE)
_SMOOTH = 5  # frames, 100 ms
_QUIETEST = 0.1  # share of frames assumed to be noise, per band
_DIGITAL = 1e-10  # power below which a frame is digital silence and not noise
_NEIGHBORS = (1.0, 4 / 9, 1 / 36)  # correlation of the powers of frequencies 0, 1, 2 bins apart under a Hann window


@dataclass(frozen=True)
class Signal:
    """Signal measurements of a recording; NaN for too little audio.

    `level_db` is the mean level of the speech frames below full scale, `snr_db` the signal-to-noise ratio, `clipped`
    the share of samples in runs of three or more at the recording's own peak, `bandwidth_hz` the highest frequency
    within 60 dB of the strongest. `leading_silence` and `trailing_silence` are the seconds before and after the speech;
    `edge_level` is the level of the first or last 30 ms, whichever is louder, relative to `level_db`: near 0 if a
    recording is cut in the middle of speech.
    """

    level_db: float
    snr_db: float
    clipped: float
    bandwidth_hz: float
    leading_silence: float
    trailing_silence: float
    edge_level: float


def inspect(samples: Samples, spectrum: Spectrum, speech: Flags) -> Signal:
    """Measure samples [N], with their spectrum and speech frames [T]."""
    seconds = len(samples) / SAMPLE_RATE
    if not speech.any():
        nan = float("nan")
        return Signal(_level(samples), nan, clipped_share(samples), nan, seconds, seconds, nan)
    level = _decibels(float(spectrum.power[speech].mean(dtype=np.float64)))
    places = np.flatnonzero(speech)
    behind = seconds - (int(places[-1]) + 1) * HOP_SECONDS
    return Signal(
        level_db=level,
        snr_db=signal_to_noise(spectrum, speech),
        clipped=clipped_share(samples),
        bandwidth_hz=bandwidth(spectrum.highest),
        leading_silence=int(places[0]) * HOP_SECONDS,
        trailing_silence=max(behind, 0.0),
        edge_level=max(_level(samples[:_EDGE]), _level(samples[-_EDGE:])) - level,
    )


def signal_to_noise(spectrum: Spectrum, speech: Flags) -> float:
    """The signal-to-noise ratio in dB, by the quietest moments of each band; NaN below 5 usable frames.

    In each band the powers are smoothed over 100 ms, and their lowest tenth is taken as noise (after Martin 2001,
    "Noise power spectral density estimation based on optimal smoothing and minimum statistics"), so no pauses in speech
    are needed. The bias of a low quantile relative to the mean is corrected in closed form, since smoothed powers of
    noise have a gamma distribution.
    """
    heard = spectrum.power > _DIGITAL
    bands = spectrum.bands[heard]
    if len(bands) < _SMOOTH or not (heard & speech).any():
        return float("nan")
    sums = np.cumsum(np.pad(bands, ((1, 0), (0, 0))), axis=0, dtype=np.float64)
    smooth = np.ascontiguousarray(((sums[_SMOOTH:] - sums[:-_SMOOTH]) / _SMOOTH).T)  # [M, T - 4]
    place = int(_QUIETEST * (smooth.shape[1] - 1))
    weights, bias = _weights_and_bias()
    noise = float((np.partition(smooth, place, axis=1)[:, place] / bias) @ weights)
    both = float(spectrum.bands[heard & speech].mean(axis=0, dtype=np.float64) @ weights)
    if noise <= 0.0:
        return MOST_SNR
    return float(np.clip(_decibels((both - noise) / noise), LEAST_SNR, MOST_SNR))


def clipped_share(samples: Samples) -> float:
    """The share of samples [N] in runs of three or more within 2 % of the recording's peak.

    Relative to the peak, so that a clipped recording that was attenuated later is found too.
    """
    size = np.abs(samples)
    peak = float(size.max(initial=0.0))
    if peak == 0.0:
        return 0.0
    places = np.flatnonzero(size >= np.float32(_AT_PEAK * peak))
    starts = np.flatnonzero(np.diff(places, prepend=-2) != 1)
    runs = np.diff(starts, append=len(places))
    return float(runs[runs >= _RUN].sum()) / len(samples)


def bandwidth(highest: NDArray[np.float32]) -> float:
    """The highest frequency in Hz whose maximum power [F] is within 60 dB of the strongest one."""
    peak = float(highest.max(initial=0.0))
    if peak == 0.0:
        return 0.0
    return float(np.flatnonzero(highest >= peak * 10.0 ** (_AUDIBLE_DB / 10))[-1] * BIN_HERTZ)


def _level(samples: Samples) -> float:
    return _decibels(float(np.square(samples, dtype=np.float64).mean())) if len(samples) else SILENT_DB


def _decibels(power: float) -> float:
    return max(10.0 * float(np.log10(power)), SILENT_DB) if power > 0.0 else SILENT_DB


@lru_cache(maxsize=1)
def _weights_and_bias() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The weight of each band in a sum of powers, and the lowest tenth of smoothed noise relative to its mean, [M].

    A band of several frequencies has less variance than one: its degrees of freedom follow from its filter and the
    correlation of neighboring frequencies under the window.
    """
    filters = mel_filters(MELS).astype(np.float64)
    weights = 1.0 / filters.max(axis=0)
    weights[0] = 0.0  # hum
    spread = sum(
        (1 if lag == 0 else 2) * correlation * (filters[: len(filters) - lag] * filters[lag:]).sum(axis=0)
        for lag, correlation in enumerate(_NEIGHBORS)
    )
    shape = _SMOOTH * filters.sum(axis=0) ** 2 / spread
    return weights, gammaincinv(shape, _QUIETEST) / shape
