"""Each effect against a closed form."""

import numpy as np
import pytest
from scipy import fft, signal

from linnet.audio import effects

RATE = 16_000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def sine(hertz: float, seconds: float = 1.0) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE).astype(np.float32)


def loudest(samples: np.ndarray) -> float:
    return float(np.abs(fft.rfft(samples)).argmax() * RATE / len(samples))


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
def test_resample_moves_a_tone_by_its_factor(factor: float) -> None:
    moved = effects.resample(sine(400), factor)
    assert len(moved) == round(RATE / factor)
    assert loudest(moved) == pytest.approx(400 * factor, abs=2)


def test_resample_by_one_changes_nothing() -> None:
    np.testing.assert_array_equal(effects.resample(sine(300), 1.0), sine(300))


@pytest.mark.parametrize("seed", range(5))
def test_a_room_starts_with_the_direct_path_and_dies_away(seed: int) -> None:
    response = effects.room_response(rng(seed))
    assert response[0] == 1.0
    assert len(response) <= RATE // 2
    early, late = np.square(response[64 : len(response) // 2]).sum(), np.square(response[len(response) // 2 :]).sum()
    assert late < early


def test_mu_law_is_the_companding_of_g711() -> None:
    samples = np.linspace(-1, 1, 1001).astype(np.float32)
    coded = effects.mu_law(samples, 8)
    codes = np.sign(samples) * np.log(1 + 255 * np.abs(samples)) / np.log(256)
    steps = np.sign(coded) * np.log(1 + 255 * np.abs(coded)) / np.log(256)
    assert np.abs(steps - codes).max() <= 0.5 / 127 + 1e-5
    assert len(np.unique(coded)) <= 255


@pytest.mark.parametrize(("power", "slope"), [(0.0, 0.0), (1.0, -3.01), (2.0, -6.02)])
def test_colored_noise_falls_by_its_power_per_octave(power: float, slope: float) -> None:
    samples = effects.colored(rng(), 20 * RATE, power)
    frequencies, density = signal.welch(samples, RATE, nperseg=4096)
    keep = (frequencies > 100) & (frequencies < 6000)
    fitted = np.polyfit(np.log2(frequencies[keep]), 10 * np.log10(density[keep]), 1)[0]
    assert fitted == pytest.approx(slope, abs=0.2)


def test_unit_leaves_silence_alone() -> None:
    np.testing.assert_array_equal(effects.unit(np.zeros(5, np.float32)), np.zeros(5, np.float32))
