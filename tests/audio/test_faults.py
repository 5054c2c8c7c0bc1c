"""Recordings as they come: joined, too loud, inverted, cut short, with holes in their time. See faults/README.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from sounds import speechlike, write

from linnet.audio import load, open_audio
from linnet.audio.decoders import SoundFileDecoder
from linnet.errors import AudioError

FAULTS = Path(__file__).resolve().parents[3] / "shared" / "data" / "faults"
EVERYTHING = 2**50


def heard(source: Any, **options: Any) -> tuple[np.ndarray, str]:
    """All samples, and all notices in one text."""
    with open_audio(source, **options) as sound:
        return sound.window(0, EVERYTHING), " ".join(sound.notices)


def fault(name: str) -> str:
    if not FAULTS.exists():
        pytest.skip("the shared faults are not beside the project")
    if name.endswith((".webm", ".mp4", ".mts")):
        pytest.importorskip("av", reason="PyAV (the extra av) is not installed")
    return str(FAULTS / name)


@pytest.fixture
def jfk() -> np.ndarray:
    """The eleven seconds of speech that most of the faults are made of."""
    return soundfile.read(fault("nan.wav"), dtype="float32")[0]


@pytest.mark.parametrize(
    ("name", "gain", "words"),
    [
        ("f32_int16scale.wav", 1.0, "far beyond full scale 1: all were divided by 32,768."),
        ("loud.wav", 300 / 256, "far beyond full scale 1: all were divided by 256."),
        ("antiphase.wav", 1.0, "its channels cancel each other out for 11.0 s, from 0.0 s on"),
        ("nan.wav", 1.0, "11 of 176,000 samples are NaN and infinite, the first at 0.312 s"),
    ],
)
def test_faulty_samples_of_real_speech(jfk: np.ndarray, name: str, gain: float, words: str) -> None:
    samples, notices = heard(fault(name))
    assert words in notices
    sound = np.isfinite(jfk)
    np.testing.assert_allclose(samples[sound], gain * jfk[sound], atol=1e-4)
    assert (samples[~sound] == 0).all() or name != "nan.wav"


@pytest.mark.parametrize("times", [2.0**15, 2.0**23, 300.0, 30.0])
def test_floats_of_another_scale_are_brought_to_full_scale(tmp_path: Path, times: float) -> None:
    sound = np.concatenate([np.zeros(32_000, np.float32), speechlike(3, 16000) / 2])  # the first blocks are silent
    path = write(tmp_path / "loud.wav", sound * times, 16000, subtype="FLOAT")
    for source in (path, sound * times, (sound * times).astype(np.float64)):
        samples, notices = heard(source)
        factor = samples[40_000] / sound[40_000]
        assert 0.25 < np.abs(samples).max() < 1.1
        np.testing.assert_allclose(samples, sound * factor, rtol=1e-5)
        assert f"all were divided by {times / factor:,.0f}." in notices


def test_what_is_a_little_over_full_scale_stays() -> None:
    sound = speechlike(3, 16000) * 6  # a peak of about 2
    samples, notices = heard(sound)
    assert np.array_equal(samples, sound)
    assert notices == ""


def test_clicks_do_not_make_the_rest_inaudible() -> None:
    sound = speechlike(10, 16000)
    clicks = sound.copy()
    clicks[[20_000, 90_000]] = [5e4, -1e30]
    samples, notices = heard(clicks)
    assert notices.startswith("2 of 160,000 samples are absurdly large, the first at 1.250 s")
    sound[[20_000, 90_000]] = 0
    assert np.array_equal(samples, sound)


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.opus"])
def test_channels_that_cancel(tmp_path: Path, name: str) -> None:
    sound = speechlike(4, 48000)
    right = np.where(np.arange(len(sound)) < 96_000, -sound, sound)  # inverted for the first two seconds
    path = write(tmp_path / name, np.stack([sound, right], 1), 48000)
    samples, notices = heard(path)
    assert "for 2.0 s, from 0.0 s on" in notices or name == "a.mp3"  # its blocks are not whole seconds
    left = load(path, channel="left").samples
    assert np.corrcoef(samples, left)[0, 1] > 0.999
    assert heard(path, channel="left")[1] == ""


def test_channels_that_differ_are_mixed() -> None:
    one, other = speechlike(3, 16000), speechlike(3, 16000, 1)
    for pair in ([one, other], [one, 0 * one], [0 * one, 0 * one], [one, -0.5 * one], [one] * 3):
        samples, notices = heard(np.stack(pair, 1))
        np.testing.assert_allclose(samples, np.mean(pair, 0), atol=1e-6)
        assert notices == ""
    surround = np.stack([one, -one, 0 * one, 0 * one, 0 * one, 0 * one], 1)
    assert np.array_equal(heard(surround)[0], one)


def test_any_failure_of_a_library_names_the_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.wav", speechlike(3, 16000), 16000)
    for error in (OSError(5, "Input/output error"), IndexError("list index out of range"), MemoryError()):

        def fail(self: Any, *_: Any, error: Exception = error) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(SoundFileDecoder, "read", fail)
            with pytest.raises(AudioError, match=rf"{path}: reading failed after 0.0 s \(.+\); check that it plays"):
                load(path)
        with monkeypatch.context() as patch:
            patch.setattr(SoundFileDecoder, "__init__", fail)
            with pytest.raises(AudioError, match=rf"{path}: reading failed \(.+\); check that it plays"):
                load(path)


def test_a_stream_that_begins_late_is_an_error_that_names_the_file() -> None:
    with pytest.raises(AudioError, match=r"late_stream\.mts: reading failed .*; check that it plays"):
        load(fault("late_stream.mts"))
