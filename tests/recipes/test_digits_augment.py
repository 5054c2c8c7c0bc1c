"""Each augmentation against a closed form."""

import numpy as np
import pytest
from scipy import fft

from recipes.digits import augment

RATE = 16_000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def sine(hertz: float, seconds: float = 1.0) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE).astype(np.float32)


def test_a_band_is_half_power_at_its_edges() -> None:
    frequencies = np.array([0.0, 300.0, 1500.0, 3400.0, 7000.0], np.float32)
    gain = augment.band(rng(), frequencies, 300.0, 3400.0)
    assert gain[0] < 1e-3
    assert gain[1] == pytest.approx(np.sqrt(0.5), abs=1e-3)
    assert gain[2] == pytest.approx(1.0, abs=0.01)
    assert gain[3] == pytest.approx(np.sqrt(0.5), abs=1e-3)
    assert gain[4] < 0.02


def test_an_open_band_is_one() -> None:
    frequencies = np.linspace(0, 8000, 50, dtype=np.float32)
    np.testing.assert_array_equal(augment.band(rng(), frequencies, 0.0, 8000.0), np.ones(50, np.float32))


def test_color_of_no_strength_is_one() -> None:
    frequencies = np.linspace(0, 8000, 50, dtype=np.float32)
    np.testing.assert_allclose(augment.tilt_and_bands(rng(), frequencies, 0.0), 1.0)


def test_folding_mirrors_three_kilohertz_to_five() -> None:
    spectrum = fft.rfft(sine(3000))
    frequencies = fft.rfftfreq(RATE, 1 / RATE).astype(np.float32)
    folded = augment.fold_up(spectrum, frequencies, 0.5)
    weight = np.exp(-(5000 - 4500) / 1500)
    assert abs(folded[5000]) == pytest.approx(0.5 * weight * abs(spectrum[3000]), rel=1e-3)
    assert abs(folded[3000]) == pytest.approx(abs(spectrum[3000]), rel=1e-5)


def test_warping_mels_moves_a_band_and_one_changes_nothing() -> None:
    features = np.zeros((3, 80), np.float32)
    features[:, 40] = 1.0
    np.testing.assert_array_equal(augment.warp_mel(features, 1.0), features)
    assert augment.warp_mel(features, 1.25)[0].argmax() == 32
    ramp = np.arange(80, dtype=np.float32)[None]
    np.testing.assert_allclose(augment.warp_mel(ramp, 0.9)[0], 0.9 * np.arange(80), rtol=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_masks_hide_bands_and_moments_and_invent_nothing(seed: int) -> None:
    features = rng().standard_normal((400, 80)).astype(np.float32)
    masked = augment.mask(rng(seed), features)
    changed = masked != features
    assert 0 < changed.mean() < 0.6
    assert len(np.unique(masked[changed])) == 1
    assert masked[changed][0] in (features.min(), features.mean())
    bands, moments = changed.all(0), changed.all(1)
    assert bands.sum() <= 24
    np.testing.assert_array_equal(changed, bands[None] | moments[:, None])


def test_longer_recordings_get_more_masks() -> None:
    def hidden(frames: int) -> float:
        features = rng().standard_normal((frames, 80)).astype(np.float32)
        masked = [(augment.mask(rng(seed), features) != features).all(1).sum() for seed in range(60)]
        return float(np.mean(masked))

    assert hidden(960) / hidden(240) == pytest.approx(4.0, rel=0.25)


@pytest.mark.parametrize("make", [augment.hum, augment.music, augment.clicks])
@pytest.mark.parametrize("length", [1600, RATE])
def test_noises_have_unit_level_and_repeat_with_their_seed(make: object, length: int) -> None:
    samples = make(rng(3), length)
    assert samples.shape == (length,)
    assert np.sqrt(np.mean(samples**2)) == pytest.approx(1.0, rel=1e-3)
    np.testing.assert_array_equal(samples, make(rng(3), length))
