"""Log-mel features against transformers' extractor and a slow float64 twin; in pieces as in one."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.audio import load, log_mel
from linnet.audio.mel import HOP, N_FFT, SETTLED, LogMel, mel_filters, scale, scale_causal
from tests.support.sounds import speechlike

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
    """About as near to the float64 twin as Transformers' extractor is, whose own float32 is off by up to 3e-5.

    Both maxima are single roundings, which each processor's FFT makes otherwise: without AVX-512 ours is 1.2 of theirs.
    """
    truth, theirs = twin(samples, n_mels), extractor(samples, n_mels)
    assert ours.dtype == np.float32
    assert ours.shape == (len(samples) // HOP, n_mels)
    assert np.abs(ours - truth).max() <= max(1.5 * np.abs(theirs - truth).max(), 1e-5)
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
    assert np.abs(found - truth).max() <= max(1.5 * np.abs(theirs - truth).max(), 1e-5)
    assert np.abs(found - theirs).mean() < 1e-6


@st.composite
def cuts(draw: st.DrawFn) -> tuple[int, list[int]]:
    """A length, and the places where a sound of it is cut: often pieces of 0 and 1 samples."""
    length = draw(st.integers(201, 4000))
    sizes = draw(st.lists(st.one_of(st.sampled_from([0, 1, 2, HOP, SETTLED, N_FFT]), st.integers(0, 700)), max_size=60))
    return length, [min(place, length) for place in np.cumsum([0, *sizes]).tolist()]


def in_pieces(sound: np.ndarray, places: list[int], *, tensor: bool, last: bool) -> np.ndarray:
    """The frames of a sound [..., N] that is pushed in pieces; after each piece there are those that are settled.

    `last`: what is left comes with `finish`, else it is pushed before.
    """
    mel, got, frames = LogMel(), [], 0
    given = torch.from_numpy(sound) if tensor else sound
    for start, end in pairwise(places):
        got.append(mel.push(given[..., start:end]))
        frames += got[-1].shape[-2]
        assert frames == sum(end >= max(frame * HOP + SETTLED, SETTLED + 1) for frame in range(end // HOP))
    rest = given[..., places[-1] :]
    if not last:
        got.append(mel.push(rest))
    got.append(mel.finish(rest) if last else mel.finish())
    assert all(isinstance(part, torch.Tensor) == tensor for part in got)
    return np.concatenate([np.asarray(part) for part in got], axis=-2)


@settings(max_examples=60, deadline=None)
@given(cuts(), st.sampled_from(["speech", "noise", "silence", "speech and silence"]), st.booleans(), st.booleans())
def test_pieces_of_any_length_give_the_frames_of_the_whole(
    cut: tuple[int, list[int]], name: str, tensor: bool, last: bool
) -> None:
    length, places = cut
    sound = {
        "speech": speechlike(0.25, RATE)[:length],
        "noise": (0.1 * np.random.default_rng(length).standard_normal(length)).astype(np.float32),
        "silence": np.zeros(length, np.float32),
        "speech and silence": np.pad(speechlike(0.25, RATE)[: length // 2], (0, length - length // 2)),
    }[name].astype(np.float32)
    found = in_pieces(sound, places, tensor=tensor, last=last)
    assert found.dtype == np.float32
    np.testing.assert_allclose(scale(found), whole(sound, tensor=tensor), atol=1e-6, rtol=0)


def whole(sound: np.ndarray, *, tensor: bool) -> np.ndarray:
    return log_mel(torch.from_numpy(sound)).numpy() if tensor else log_mel(sound)


@pytest.mark.parametrize("tensor", [False, True])
@pytest.mark.parametrize("size", [1, 333, 1600])
@pytest.mark.parametrize("name", ["jfk.flac", "LJ002-0020.wav", "common_voice_en_651325.mp3"])
def test_real_clips_in_pieces(clips: Path, name: str, size: int, tensor: bool) -> None:
    samples = load(clips / name).samples[: 3 * RATE if size > 1 else 2000]
    places = list(range(0, len(samples) + 1, size))
    found = in_pieces(samples, places, tensor=tensor, last=False)
    np.testing.assert_allclose(scale(found), whole(samples, tensor=tensor), atol=1e-6, rtol=0)


def test_several_sounds_at_once_in_pieces_and_another_one_after_them() -> None:
    batch = np.stack([speechlike(0.5, RATE, seed) for seed in range(3)]).astype(np.float32)
    mel = LogMel(128)
    for sounds in (batch, batch[:1, :5000]):
        got = [mel.push(sounds[..., :150]), mel.push(sounds[..., 150:3001]), mel.finish(sounds[..., 3001:])]
        assert got[0].shape == (len(sounds), 0, 128)
        np.testing.assert_allclose(scale(np.concatenate(got, -2)), log_mel(sounds, 128), atol=1e-6, rtol=0)


def test_frames_before_scaling_are_the_logarithms_themselves_and_settle_for_good(clips: Path) -> None:
    """What comes later, however loud, changes no frame that was given; only the scaling knows the loudest band."""
    samples = load(clips / "jfk.flac").samples[: 2 * RATE]
    loud = np.concatenate([samples, 50 * samples])
    found = LogMel().push(samples)
    np.testing.assert_allclose(found, LogMel().finish(loud)[: len(found)], atol=1e-6, rtol=0)
    assert np.abs(log_mel(loud)[: len(found)] - scale(found)).max() > 0.1
    log = np.array([[-1.0, 2.0], [-7.0, -6.0]])
    assert scale(log).tolist() == [[0.75, 1.5], [-0.5, -0.5]]


def test_too_short_a_sound_in_pieces_is_refused() -> None:
    mel = LogMel()
    with pytest.raises(ValueError, match="expected more than 200 samples, got 0"):
        mel.finish()
    assert mel.push(np.zeros(200, np.float32)).shape == (0, 80)
    with pytest.raises(ValueError, match="expected more than 200 samples, got 200"):
        mel.finish()
    assert mel.finish(np.zeros(1, np.float32)).shape == (1, 80)  # the refusal has lost nothing


@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(0, 50), max_size=6), peak=st.floats(-3.0, 2.0), tensor=st.booleans())
def test_causal_scaling_of_pieces_equals_that_of_the_whole(cuts: list[int], peak: float, tensor: bool) -> None:
    log = np.random.default_rng(len(cuts)).normal(-2.0, 3.0, (50, 8)).astype(np.float32)
    wanted, reached = np.empty_like(log), np.float32(peak)
    for index, frame in enumerate(log):  # a frame at a time
        reached = max(reached, frame.max())
        wanted[index] = (np.maximum(frame, reached - 8.0) + 4.0) / 4.0
    edges = [0, *sorted(cuts), 50]
    parts, carried = [], peak
    for start, end in pairwise(edges):
        part = torch.from_numpy(log[start:end]) if tensor else log[start:end]
        scaled, carried = scale_causal(part, carried)
        parts.append(np.asarray(scaled))
    np.testing.assert_array_equal(np.concatenate(parts), wanted)
