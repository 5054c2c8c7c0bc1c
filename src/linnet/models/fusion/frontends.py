"""Features of each family of speech encoders, one window at a time, so that they do not depend on the batch.

Everything is computed in torch on the model's device and equals the feature extractor of Transformers for the family.

Shapes: N samples at 16 kHz, T frames, F features.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

RATE = 16000
HOP = 160


def unit_variance(samples: Tensor) -> Tensor:
    """Zero mean and unit variance over the window [N] (`Wav2Vec2FeatureExtractor` with `do_normalize`)."""
    return (samples - samples.mean()) / (samples.var(correction=0) + 1e-7).sqrt()


def whisper_mel(samples: Tensor, bands: int) -> Tensor:
    """Log-mel features [F, N // 160] of a padded window (`WhisperFeatureExtractor`; Radford et al. 2022, 2.2)."""
    window = torch.hann_window(400, device=samples.device)
    spectrum = torch.stft(samples, 400, HOP, window=window, return_complex=True)[:, :-1]
    log = (_filters(400, bands, "slaney").to(samples.device) @ spectrum.abs().square()).clamp(min=1e-10).log10()
    return (torch.maximum(log, log.max() - 8.0) + 4.0) / 4.0


def parakeet_mel(samples: Tensor, bands: int) -> Tensor:
    """Log-mel features [N // 160, F], each band of zero mean and unit variance (`ParakeetFeatureExtractor`)."""
    emphasized = torch.cat([samples[:1], samples[1:] - 0.97 * samples[:-1]])
    window = torch.hann_window(400, periodic=False, device=samples.device)
    spectrum = torch.stft(
        emphasized, 512, HOP, win_length=400, window=window, return_complex=True, pad_mode="constant"
    )[:, : len(samples) // HOP]
    log = (_filters(512, bands, "slaney").to(samples.device) @ spectrum.abs().square() + 2**-24).log().T  # [T, F]
    return (log - log.mean(0)) / (log.std(0) + 1e-5)


def granite_mel(samples: Tensor, bands: int) -> Tensor:
    """Log-mel features and their deltas, two frames side by side: [ceil(N // 160 / 2), 4 F].

    As `GraniteSpeech5FeatureExtractor`, without torchaudio: triangular filters on the HTK mel scale, reflected edges,
    log10 floored 8 below the maximum, and deltas by regression of width 3.
    """
    frames = 2 * -(-(len(samples) // HOP) // 2)
    samples = torch.nn.functional.pad(samples, (0, max(0, (frames - 1) * HOP + 1 - len(samples))))
    window = torch.hann_window(400, device=samples.device)
    spectrum = torch.stft(samples, 512, HOP, win_length=400, window=window, return_complex=True)[:, :frames]
    log = (_filters(512, bands, "htk").to(samples.device) @ spectrum.abs().square()).clamp(min=1e-10).log10()
    log = torch.maximum(log, log.max() - 8.0) / 4.0 + 1.0  # [F, T]
    wide = torch.cat([log[:, :1], log, log[:, -1:]], dim=1)
    deltas = (wide[:, 2:] - wide[:, :-2]) / 2.0
    return torch.cat([log, deltas]).T.reshape(frames // 2, -1)


@lru_cache(maxsize=8)
def _filters(n_fft: int, bands: int, scale: str) -> Tensor:
    """Triangular mel filters [F, n_fft // 2 + 1] up to 8 kHz, of unit area on the Slaney scale."""
    filters = mel_filter_bank(
        n_fft // 2 + 1, bands, 0.0, RATE / 2, RATE, norm="slaney" if scale == "slaney" else None, mel_scale=scale
    )
    return torch.from_numpy(filters.T.copy()).float()
