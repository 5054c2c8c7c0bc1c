"""Log-mel features of the Whisper family.

Shapes: N samples, T frames (one per 160 samples, 10 ms), M mel bins.
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
SETTLED = N_FFT // 2  # samples that a frame needs after its center


def log_mel(samples: Any, n_mels: int = 80) -> Any:
    """Turn waveforms [..., N] at 16 kHz into log-mel features [..., T, M] with T = N // 160, float32.

    NumPy arrays yield NumPy arrays, PyTorch tensors yield tensors on the same device: the frames of `LogMel`, scaled by
    `scale`, as in Radford et al. 2022 (https://arxiv.org/abs/2212.04356) and `transformers.WhisperFeatureExtractor`.
    Scaling depends on all samples, so pad first. Raises `ValueError` for fewer than 201 samples.

    >>> log_mel(np.zeros((2, 16000), np.float32)).shape
    (2, 100, 80)
    """
    return scale(LogMel(n_mels).finish(samples))


def scale(log: Any) -> Any:
    """Whisper's scaling of `LogMel` frames of one window [..., T, M]: max(log, max over T and M - 8), then (x + 4) /
    4."""
    xp = namespace(log)
    return (xp.maximum(log, xp.max(log, axis=(-2, -1), keepdims=True) - 8.0) + 4.0) / 4.0


def scale_causal(log: Any, peak: Any) -> tuple[Any, Any]:
    """The scaling of `LogMel` frames [..., T, M] by what was heard so far; returns it and the peak [..., 1, 1] reached.

    Each frame is scaled as `scale` does, with the maximum over itself, the frames before it and `peak` (a number, or
    what the call before returned) in place of that over the window. So chunks of any length give the same frames.
    """
    xp = namespace(log)
    peaks = xp.max(log, axis=-1, keepdims=True)
    first = xp.broadcast_to(xp.asarray(peak, dtype=log.dtype, device=log.device), (*peaks.shape[:-2], 1, 1))
    running = _running_maximum(xp.concat([first, peaks], axis=-2))
    scaled = (xp.maximum(log, running[..., 1:, :] - 8.0) + 4.0) / 4.0
    return scaled, running[..., -1:, :]


def _running_maximum(values: Any) -> Any:
    """The maximum along [..., T, 1] up to each place."""
    if hasattr(values, "cummax"):
        return values.cummax(-2).values
    return np.maximum.accumulate(values, axis=-2)


class LogMel:
    """Streaming log10 mel bins of a recording [..., N] at 16 kHz, in chunks of any length.

    Short-time Fourier transform (Hann window of 25 ms, hop 10 ms, reflected edges) and Slaney mel bins of at least
    1e-10, unscaled. All chunks are NumPy arrays, or tensors on one device, of equal shape except for their length.

    >>> mel, samples = LogMel(), np.zeros(16000, np.float32)
    >>> [mel.push(samples[:1000]).shape, mel.push(samples[1000:]).shape, mel.finish().shape]
    [(6, 80), (93, 80), (1, 80)]
    """

    def __init__(self, n_mels: int = 80) -> None:
        self._n_mels = n_mels
        self._held: Any = None  # samples from the start of the next frame on
        self._begun = False

    def push(self, samples: Any) -> Any:
        """Add samples; returns the frames [..., t, M] that are complete, those with 200 samples after their center."""
        self._take(samples)
        count = (self._held.shape[-1] - N_FFT) // HOP + 1 if self._begun else 0
        return self._bands(max(count, 0))

    def finish(self, samples: Any = None) -> Any:
        """End the recording; returns the remaining frames, N // 160 in total. Another recording may follow.

        Raises `ValueError` for fewer than 201 samples in total.
        """
        if samples is not None:
            self._take(samples)
        if not self._begun:
            count = 0 if self._held is None else self._held.shape[-1]
            raise ValueError(f"expected more than {SETTLED} samples, got {count}")
        xp, held = namespace(self._held), self._held
        self._held = xp.concat([held, xp.flip(held[..., -SETTLED - 1 : -1], axis=-1)], axis=-1)
        frames = self._bands((held.shape[-1] - SETTLED) // HOP)
        self._held, self._begun = None, False
        return frames

    def _take(self, samples: Any) -> None:
        """Buffer samples, with the reflected start of the recording."""
        xp = namespace(samples)
        samples = xp.astype(samples, xp.float32)
        held = samples if self._held is None else xp.concat([self._held, samples], axis=-1)
        if not self._begun and held.shape[-1] > SETTLED:
            held = xp.concat([xp.flip(held[..., 1 : SETTLED + 1], axis=-1), held], axis=-1)
            self._begun = True
        self._held = held

    def _bands(self, count: int) -> Any:
        """The first `count` frames of the buffer, which are removed from it."""
        xp, held = namespace(self._held), self._held
        if not count:
            return xp.zeros((*held.shape[:-1], 0, self._n_mels), dtype=xp.float32, device=held.device)
        window, filters = (xp.asarray(each, device=held.device) for each in (_hann(), mel_filters(self._n_mels)))
        spectrum = xp.fft.rfft(_frames(xp, held, count) * window)  # [..., T, F]
        self._held = held[..., count * HOP :]
        return xp.log10(xp.clip((xp.real(spectrum) ** 2 + xp.imag(spectrum) ** 2) @ filters, 1e-10, None))


def _frames(xp: Any, samples: Any, count: int) -> Any:
    """The samples of the first `count` frames, [..., T, 400], one every 160."""
    lead, lacking = samples.shape[:-1], (count + 2) * HOP - samples.shape[-1]
    if lacking > 0:  # of the last hop, half of which is in a frame
        samples = xp.concat([samples, xp.zeros((*lead, lacking), dtype=samples.dtype, device=samples.device)], axis=-1)
    hops = xp.reshape(samples[..., : (count + 2) * HOP], (*lead, count + 2, HOP))
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
    """The periodic Hann window."""
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
