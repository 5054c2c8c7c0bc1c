"""What is taken as audio, and what is refused and why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.audio.types import SAMPLE_RATE
from linnet.errors import OptionError
from linnet.streaming.events import Bye
from linnet.streaming.events import Warning as StreamWarning
from linnet.streaming.samples import Resampler, checked
from linnet.streaming.session import StreamSession
from tests.support.amplitude_speech import AmplitudeModel, LoudIsSpeech

NOISE = np.random.default_rng(0).uniform(-0.9, 0.9, 4000).astype(np.float32)


@pytest.mark.parametrize(
    "given",
    [NOISE, NOISE.astype(np.float64), NOISE.tolist(), NOISE[:, None], NOISE[None], torch.from_numpy(NOISE), NOISE[::1]],
)
def test_floats_are_taken_in_every_wrapping(given: Any) -> None:
    samples, damaged = checked(given)
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, NOISE)
    assert damaged == 0


def test_sixteen_bits_are_scaled() -> None:
    samples, _ = checked(np.array([-32768, 0, 16384], np.int16))
    assert samples.tolist() == [-1.0, 0.0, 0.5]


def test_what_is_no_number_is_silence_and_said_once() -> None:
    broken = NOISE.copy()
    broken[[3, 5]] = np.nan, np.inf
    samples, damaged = checked(broken)
    assert (damaged, samples[3], samples[5], samples[4]) == (2, 0.0, 0.0, NOISE[4])
    session = StreamSession(AmplitudeModel(), activity=LoudIsSpeech())
    events = session.push(broken) + session.push(broken) + session.finish()
    assert [event.code for event in events if isinstance(event, StreamWarning)] == ["samples"]
    assert isinstance(events[-1], Bye)
    assert events[-1].time == 2 * len(NOISE) / SAMPLE_RATE


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((100, 2)), r"mono samples \[N\], got the shape \[100, 2\]"),
        (np.zeros((1, 2, 3)), "mono"),
        (np.arange(5), "int64"),
        (np.array(["a"]), "floats within"),
        (np.array([100.0, -20000.0]), "divide those of int16 by 32768"),
        (object(), "array of samples, got object"),
        (0.5, "array of samples, got float"),
        (None, "array of samples, got NoneType"),
    ],
)
def test_what_is_no_audio_is_refused_with_the_way_out(given: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        checked(given)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 3000), min_size=1, max_size=20), st.sampled_from([8000, 22050, 44100, 48000]))
def test_chunks_resample_to_what_the_whole_gives(chunks: list[int], rate: int) -> None:
    resampler, made, at = Resampler(rate), [], 0
    while at < len(NOISE):
        for size in [*chunks, 500]:
            made.append(resampler.push(NOISE[at : at + size])[0])
            at += size
    whole = soxr.resample(NOISE, rate, SAMPLE_RATE, "HQ")
    found = np.concatenate([*made, resampler.finish()])
    np.testing.assert_allclose(found, whole, atol=1e-5)


def test_a_rate_that_no_recording_has_is_refused() -> None:
    with pytest.raises(OptionError, match="sample rate must be from 1000 to 768000 Hz, got 16"):
        Resampler(16)


def test_nothing_follows_the_end() -> None:
    session = StreamSession(AmplitudeModel())
    session.finish()
    for late in (lambda: session.push(NOISE), session.flush, session.finish):
        with pytest.raises(OptionError, match="has ended"):
            late()


def test_a_clock_that_is_set_back_is_said_and_harms_nothing() -> None:
    times = iter([100.0, 50.0, 51.0, 51.5, 60.0, 61.0])
    session = StreamSession(AmplitudeModel(), clock=lambda: next(times), activity=LoudIsSpeech())
    events = session.push(NOISE) + session.push(NOISE) + session.finish()
    assert [event.code for event in events if isinstance(event, StreamWarning)] == ["clock"]
    stats = events[-2]
    assert stats.type == "stats"
    assert stats.compute == 0.5  # type: ignore[attr-defined]
