"""Log-mel features of the Whisper family.

Shapes: B batch, N samples, T frames (one per 160 samples, 10 ms), M mel bands.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from linnet.audio.types import SAMPLE_RATE

N_FFT = 400
HOP = 160


def log_mel(samples: Tensor, n_mels: int = 80) -> Tensor:
    """Turn waveforms [..., N] at 16 kHz into log-mel features [..., T, M] with T = N // 160.

    The short-time Fourier transform (Hann window of 25 ms, hop 10 ms, reflected edges), Slaney mel bands, log10
    clipped to 8 below the loudest band of each waveform, then (x + 4) / 4: the front end of Radford et al. 2022
    (https://arxiv.org/abs/2212.04356), equal to `transformers.WhisperFeatureExtractor`.
    Because of the clipping, a waveform's features depend on all of its samples: pad first, then call this.

    >>> log_mel(torch.zeros(2, 16000)).shape
    torch.Size([2, 100, 80])
    """
    window = torch.hann_window(N_FFT, device=samples.device)
    spectrum = torch.stft(samples.float(), N_FFT, HOP, window=window, return_complex=True)  # [..., F, T + 1]
    power = spectrum[..., :-1].abs().square()
    bands = mel_filters(n_mels).to(samples.device) @ power  # [..., M, T]
    log = bands.clamp(min=1e-10).log10()
    log = torch.maximum(log, log.amax(dim=(-2, -1), keepdim=True) - 8.0)
    return ((log + 4.0) / 4.0).transpose(-2, -1)


@lru_cache(maxsize=4)
def mel_filters(n_mels: int) -> Tensor:
    """Triangular filters [M, N_FFT // 2 + 1] on the Slaney mel scale, each of unit area (Slaney 1998)."""
    frequencies = np.linspace(0.0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
    edges = _mel_to_hertz(np.linspace(0.0, _hertz_to_mel(SAMPLE_RATE / 2), n_mels + 2))
    rise = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
    filters = np.maximum(0.0, np.minimum(rise, fall)) * (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return torch.from_numpy(filters.astype(np.float32))


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
