"""Log-mel features of the Whisper family.

Shapes: N samples, T frames (one per 160 samples, 10 ms), M mel mel_bins.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linnet.arrays import namespace
from linnet.audio.types import SAMPLE_RATE

N_FFT = 400
HOP = 160


def log_mel(samples: Any, n_mels: int = 80) -> Any:
    """Turn waveforms [..., N] at 16 kHz into log-mel features [..., T, M] with T = N // 160, float32.

    NumPy arrays give NumPy arrays, PyTorch tensors tensors on the same device. The short-time Fourier transform (Hann
    window of 25 ms, hop 10 ms, reflected edges), Slaney mel mel_bins, log10 clipped to 8 below the loudest band of each
    waveform, then (x + 4) / 4: the front end of Radford et al. 2022 (https://arxiv.org/abs/2212.04356), equal to
    `transformers.WhisperFeatureExtractor`. Because of the clipping, a waveform's features depend on all of its samples:
    pad first, then call this. Raises `ValueError` for fewer than 201 samples, which have no reflected edges.

    >>> log_mel(np.zeros((2, 16000), np.float32)).shape
    (2, 100, 80)
    """
    xp, place = namespace(samples), samples.device
    if samples.shape[-1] <= N_FFT // 2:
        raise ValueError(f"expected more than {N_FFT // 2} samples, got {samples.shape[-1]}")
    window, filters = (xp.asarray(each, device=place) for each in (_hann(), mel_filters(n_mels)))
    spectrum = xp.fft.rfft(_frames(xp, xp.astype(samples, xp.float32)) * window)  # [..., T, F]
    mel_bins = (xp.real(spectrum) ** 2 + xp.imag(spectrum) ** 2) @ filters
    log = xp.log10(xp.clip(mel_bins, 1e-10, None))
    log = xp.maximum(log, xp.max(log, axis=(-2, -1), keepdims=True) - 8.0)
    return (log + 4.0) / 4.0


def _frames(xp: Any, samples: Any) -> Any:
    """The samples of each frame, [..., T, 400]: those around its middle, every 160."""
    count, edge = samples.shape[-1] // HOP, N_FFT // 2
    before, after = samples[..., 1 : edge + 1], samples[..., -edge - 1 : -1]
    padded = xp.concat([xp.flip(before, axis=-1), samples, xp.flip(after, axis=-1)], axis=-1)
    hops = xp.reshape(padded[..., : (count + 2) * HOP], (*samples.shape[:-1], count + 2, HOP))
    rest = N_FFT - 2 * HOP
    return xp.concat([hops[..., :-2, :], hops[..., 1:-1, :], hops[..., 2:, :rest]], axis=-1)


@lru_cache(maxsize=4)
def mel_filters(n_mels: int) -> NDArray[np.float32]:
    """Triangular filters [N_FFT // 2 + 1, M] on the Slaney mel scale, each of unit area (Slaney 1998)."""
    frequencies = np.linspace(0.0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
    edges = _mel_to_hertz(np.linspace(0.0, _hertz_to_mel(SAMPLE_RATE / 2), n_mels + 2))
    rise = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
    filters = np.maximum(0.0, np.minimum(rise, fall)) * (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return np.ascontiguousarray(filters.T, np.float32)


@lru_cache(maxsize=1)
def _hann() -> NDArray[np.float32]:
    """The periodic window of Hann."""
    return (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(N_FFT) / N_FFT)).astype(np.float32)


_LINEAR_HERTZ = 200.0 / 3.0  # below 1 kHz the scale is linear, above it logarithmic
_LOG_START = 1000.0
_LOG_STEP = np.log(6.4) / 27.0


def _hertz_to_mel(hertz: float) -> float:
    if hertz < _LOG_START:
        return hertz / _LINEAR_HERTZ
    return float(_LOG_START / _LINEAR_HERTZ + np.log(hertz / _LOG_START) / _LOG_STEP)


def _mel_to_hertz(mel: np.ndarray) -> np.ndarray:
    start = _LOG_START / _LINEAR_HERTZ
    return np.where(mel < start, mel * _LINEAR_HERTZ, _LOG_START * np.exp(_LOG_STEP * (mel - start)))
