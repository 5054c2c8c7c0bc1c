"""Spectra, speech frames and MFCC, against a slow float64 twin."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import fft

from linnet.audio.mel import mel_filters
from linnet.curation.mfcc import HOP, MELS, WINDOW, analyze, cepstra, find_speech, smooth
from tests.support.syllables import RATE, speechlike


def twin(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Band powers and MFCC, frame by frame."""
    window = np.hanning(WINDOW + 1)[:-1]
    bands = []
    for start in range(0, len(samples) - WINDOW + 1, HOP):
        power = np.abs(np.fft.rfft(samples[start : start + WINDOW].astype(np.float64) * window)) ** 2
        bands.append(power @ mel_filters(MELS).astype(np.float64))
    log = np.log(np.maximum(bands, 1e-5 * np.max(bands)))
    return np.array(bands), fft.dct(log, axis=1, norm="ortho")[:, :13]


def test_bands_and_cepstra_are_those_of_the_twin() -> None:
    samples = speechlike(1, 6.0)  # over one block of frames
    bands, wanted = twin(samples)
    spectrum = analyze(samples)
    np.testing.assert_allclose(spectrum.bands, bands, rtol=1e-3, atol=1e-7 * bands.max())
    assert np.abs(cepstra(spectrum.bands) - wanted).max() < 0.02
    assert spectrum.highest.shape == (WINDOW // 2 + 1,)


@pytest.mark.parametrize(("count", "frames"), [(1, 1), (399, 1), (400, 1), (719, 1), (720, 2), (16_000, 49)])
def test_how_many_frames_there_are(count: int, frames: int) -> None:
    spectrum = analyze(np.full(count, 0.1, np.float32))
    assert spectrum.bands.shape == (frames, MELS)
    assert spectrum.power.shape == find_speech(spectrum).shape == (frames,)


def test_the_level_of_a_tone_is_its_mean_square_and_hum_has_none() -> None:
    time = np.arange(RATE) / RATE
    tone, hum = (analyze((0.5 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)) for hertz in (1000, 20))
    np.testing.assert_allclose(tone.level_db, 10 * np.log10(0.125), atol=0.2)
    assert hum.level_db.max() < -20


def test_smoothing_is_the_mean_of_three_frames() -> None:
    features = np.array([[0.0], [3.0], [6.0], [0.0]], np.float32)
    assert smooth(features)[:, 0].tolist() == [1.0, 3.0, 3.0, 2.0]
    assert smooth(features[:1]).tolist() == [[0.0]]


def test_gain_changes_the_first_coefficient_alone() -> None:
    samples = speechlike(2)
    loud, quiet = analyze(samples), analyze(samples * np.float32(0.1))
    assert np.array_equal(find_speech(loud), find_speech(quiet))
    difference = cepstra(loud.bands) - cepstra(quiet.bands)
    np.testing.assert_allclose(difference[:, 0], np.log(1e2) * np.sqrt(MELS), rtol=1e-3)
    np.testing.assert_allclose(difference[:, 1:], 0, atol=1e-3)


@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_speech_is_found_between_pauses(noise: float) -> None:
    pause = np.zeros(RATE, np.float32)
    samples = np.concatenate([pause, speechlike(3), pause])
    samples += noise * np.random.default_rng(0).standard_normal(len(samples)).astype(np.float32)
    speech = find_speech(analyze(samples))
    assert speech[52:148].mean() > 0.85
    assert speech[:48].sum() + speech[152:].sum() <= 4


def test_silence_holds_no_speech_and_a_steady_sound_is_all_of_it() -> None:
    assert not find_speech(analyze(np.zeros(RATE, np.float32))).any()
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    assert find_speech(analyze(0.1 * noise)).all()
