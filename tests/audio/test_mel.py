"""Log-mel features against transformers' extractor and a slow float64 twin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sounds import speechlike

from linnet.audio import load, log_mel
from linnet.audio.mel import HOP, N_FFT, mel_filters

RATE = 16_000


def twin(samples: np.ndarray, n_mels: int) -> np.ndarray:
    """The same features [T, M] in float64, written as the definition reads."""
    x = np.pad(samples.astype(np.float64), N_FFT // 2, mode="reflect")
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
    filters = slaney(n_mels)
    rows = []
    for frame in range(len(samples) // HOP):
        power = np.abs(np.fft.rfft(hann * x[frame * HOP : frame * HOP + N_FFT])) ** 2
        rows.append([np.log10(max(1e-10, float(band @ power))) for band in filters])
    log = np.array(rows)
    return (np.maximum(log, log.max() - 8) + 4) / 4


def slaney(n_mels: int) -> np.ndarray:
    """Triangles of unit area whose corners lie evenly on the Slaney mel scale, [M, F]."""

    def hertz(mel: float) -> float:
        return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    top = 15 + 27 * np.log(8) / np.log(6.4)
    corners = [hertz(top * i / (n_mels + 1)) for i in range(n_mels + 2)]
    bins = np.arange(N_FFT // 2 + 1) * RATE / N_FFT
    filters = np.zeros((n_mels, len(bins)))
    for m, (low, middle, high) in enumerate(zip(corners, corners[1:], corners[2:], strict=False)):
        for k, frequency in enumerate(bins):
            if low < frequency < high:
                slope = (
                    (frequency - low) / (middle - low) if frequency <= middle else (high - frequency) / (high - middle)
                )
                filters[m, k] = slope * 2 / (high - low)
    return filters


def extractor(samples: np.ndarray, n_mels: int) -> np.ndarray:
    from transformers import WhisperFeatureExtractor

    extract = WhisperFeatureExtractor(feature_size=n_mels)
    return extract(samples, sampling_rate=RATE, padding=False, return_tensors="np").input_features[0].T


def sounds() -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    click = np.zeros(8000, np.float32)
    click[4000] = 1
    return {
        "glide": speechlike(2.5, RATE),
        "noise": (0.1 * random.standard_normal(RATE)).astype(np.float32),
        "silence": np.zeros(RATE, np.float32),
        "click": click,
        "faint": 1e-5 * speechlike(1, RATE),
        "odd length": speechlike(0.777, RATE)[:12_345],
    }


def check(ours: np.ndarray, samples: np.ndarray, n_mels: int) -> None:
    """At least as near to the float64 twin as Transformers' extractor is, whose own float32 is off by up to 3e-5."""
    truth, theirs = twin(samples, n_mels), extractor(samples, n_mels)
    assert ours.dtype == np.float32
    assert ours.shape == (len(samples) // HOP, n_mels)
    assert np.abs(ours - truth).max() <= max(np.abs(theirs - truth).max(), 1e-5)
    assert np.abs(ours - truth).mean() < 1e-6
    assert np.abs(ours - theirs).mean() < 1e-6


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("name", sounds())
def test_synthetic_sounds(name: str, n_mels: int) -> None:
    check(log_mel(sounds()[name], n_mels), sounds()[name], n_mels)


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize(
    "name", ["jfk.flac", "libri-1088-134315-0000.wav", "common_voice_en_651325.mp3", "LJ002-0020.wav"]
)
def test_real_clips(clips: Path, name: str, n_mels: int) -> None:
    samples = load(clips / name).samples
    check(log_mel(samples, n_mels), samples, n_mels)


def test_a_tensor_gives_a_tensor_of_the_same_features(clips: Path) -> None:
    samples = load(clips / "jfk.flac").samples
    found = log_mel(torch.from_numpy(samples))
    assert isinstance(found, torch.Tensor)
    check(found.numpy(), samples, 80)


def test_a_waveform_without_room_for_its_edges_is_refused() -> None:
    assert log_mel(np.zeros(201, np.float32)).shape == (1, 80)
    with pytest.raises(ValueError, match="expected more than 200 samples, got 200"):
        log_mel(np.zeros(200, np.float32))


@pytest.mark.parametrize("n_mels", [80, 128])
def test_filters(n_mels: int) -> None:
    np.testing.assert_allclose(mel_filters(n_mels).T, slaney(n_mels), atol=1e-6)


def test_batch_equals_single() -> None:
    batch = np.stack([speechlike(1, RATE, seed) * (seed + 1) / 3 for seed in range(3)])
    together = log_mel(batch)
    for row, samples in zip(together, batch, strict=True):
        np.testing.assert_allclose(row, log_mel(samples), atol=1e-5, rtol=0)


def test_padding_to_the_window_equals_the_extractor() -> None:
    from transformers import WhisperFeatureExtractor

    samples = speechlike(2, RATE)
    padded = np.pad(samples, (0, 28 * RATE)).astype(np.float32)
    theirs = WhisperFeatureExtractor()(samples, sampling_rate=RATE, return_tensors="np").input_features[0].T
    truth = twin(padded, 80)
    found = log_mel(padded)
    assert np.abs(found - truth).max() <= max(np.abs(theirs - truth).max(), 1e-5)
    assert np.abs(found - theirs).mean() < 1e-6
