"""Signal checks on sounds whose level, noise, clipping, bandwidth and silences are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import soxr

from linnet.curation.mfcc import analyze, find_speech
from linnet.curation.signal import MOST_SNR, Signal, clipped_share, inspect
from tests.support.syllables import RATE, speechlike


def signal(samples: np.ndarray) -> Signal:
    spectrum = analyze(samples.astype(np.float32))
    return inspect(samples.astype(np.float32), spectrum, find_speech(spectrum))


def with_noise(seed: int, decibels: float) -> np.ndarray:
    """Syllables with pauses, and white noise so many decibels below them."""
    generator = np.random.default_rng(seed)
    pause = np.zeros(RATE // 4)
    speech = [speechlike(10 * seed + part, 0.8) for part in range(4)]
    samples = np.concatenate([piece for part in speech for piece in (part, pause)])
    power = np.mean(np.concatenate(speech) ** 2)
    return samples + generator.standard_normal(len(samples)) * np.sqrt(power * 10 ** (-decibels / 10))


@pytest.mark.parametrize("decibels", [0.0, 10.0, 20.0])
def test_the_noise_that_was_added_is_found(decibels: float) -> None:
    errors = [signal(with_noise(seed, decibels)).snr_db - decibels for seed in range(3)]
    assert abs(np.mean(errors)) < 2.0, errors
    assert max(map(abs, errors)) < 3.0, errors


def test_noise_alone_has_no_signal_above_it() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(4 * RATE)
    assert signal(noise).snr_db < -8.0


def test_gain_changes_the_level_and_nothing_else() -> None:
    samples = with_noise(1, 15.0)
    loud, quiet = signal(samples), signal(0.1 * samples)
    assert loud.level_db - quiet.level_db == pytest.approx(20.0, abs=0.01)
    assert (loud.snr_db, loud.edge_level) == pytest.approx((quiet.snr_db, quiet.edge_level), abs=0.02)
    assert (loud.bandwidth_hz, loud.leading_silence) == (quiet.bandwidth_hz, quiet.leading_silence)


def test_the_share_of_clipped_samples_at_any_gain() -> None:
    samples = speechlike(4)
    assert clipped_share(samples) < 2e-4
    limit = float(np.quantile(np.abs(samples), 0.95))
    clipped = np.clip(samples, -limit, limit)
    assert 0.01 < clipped_share(clipped) <= 0.051  # crests of high sounds are too short to be told from whole ones
    assert clipped_share(clipped * np.float32(0.2)) == pytest.approx(clipped_share(clipped), abs=0.001)


def test_single_samples_at_the_peak_are_no_clipping() -> None:
    samples = np.zeros(1000, np.float32)
    samples[[10, 11, 500]] = 1.0
    assert clipped_share(samples) == 0.0
    samples[12] = 1.0
    assert clipped_share(samples) == pytest.approx(0.003)


@pytest.mark.parametrize("rate", [8_000, 11_025])
def test_a_recording_that_was_made_at_a_lower_rate_has_its_bandwidth(rate: int) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE)
    narrow = soxr.resample(soxr.resample(noise, RATE, rate), rate, RATE)
    assert signal(noise).bandwidth_hz == 8000.0
    assert 0.9 * rate / 2 < signal(narrow).bandwidth_hz <= rate / 2 + 120


def test_silences_at_both_ends_and_the_level_of_the_edges() -> None:
    speech = speechlike(5)
    padded = np.concatenate([np.zeros(RATE // 2), speech, np.zeros(RATE)])
    padded += 1e-4 * np.random.default_rng(0).standard_normal(len(padded))
    found = signal(padded)
    assert found.leading_silence == pytest.approx(0.5, abs=0.07)
    assert found.trailing_silence == pytest.approx(1.0, abs=0.07)
    assert found.edge_level < -30.0
    loudest = int(np.argmax(np.convolve(speech**2, np.ones(480), "valid")))
    assert signal(speech[: loudest + 400]).edge_level > -3.0


def test_silence_has_a_length_and_nothing_else() -> None:
    found = signal(np.zeros(RATE))
    assert (found.level_db, found.leading_silence, found.trailing_silence, found.clipped) == (-120.0, 1.0, 1.0, 0.0)
    assert all(math.isnan(value) for value in (found.snr_db, found.bandwidth_hz, found.edge_level))


def test_digital_silence_tells_nothing_of_the_noise() -> None:
    noisy = with_noise(2, 5.0)
    padded = np.concatenate([np.zeros(2 * RATE), noisy, np.zeros(2 * RATE)])
    assert signal(padded).snr_db == pytest.approx(signal(noisy).snr_db, abs=1.0)


def test_a_click_is_too_little_to_tell() -> None:
    samples = np.zeros(RATE)
    samples[8000] = 1.0
    assert math.isnan(signal(samples).snr_db)
    assert signal(speechlike(1)).snr_db < MOST_SNR
