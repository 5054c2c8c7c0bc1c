"""Real speech through the embedded English model: what comes out, how soon, and that noise gives nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch
from rapidfuzz.distance import Levenshtein

from linnet.audio import load
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.streaming.events import Event, Final, Partial
from linnet.streaming.models import streaming_model
from linnet.streaming.options import StreamOptions
from linnet.streaming.protocol import StreamingModel
from linnet.streaming.session import StreamSession
from linnet.text.normalizers import Normalizers

BEGIN = 5.3  # seconds: the pause before the second sentence
SENTENCE = "Last night we counted forty two finches in the garden, and two of them sang until half past nine."


@pytest.fixture(scope="module")
def model() -> Iterator[StreamingModel]:
    threads = torch.get_num_threads()
    # PyTorch is quick to load; bf16 is slow where the processor lacks it
    yield streaming_model("en", threads=1, engine="torch", compute_type="f32")
    torch.set_num_threads(threads)


def run(model: StreamingModel, samples: Samples, **options: object) -> list[Event]:
    session = StreamSession(model, StreamOptions(language="en", **options))  # type: ignore[arg-type]
    events = [event for at in range(0, len(samples), 1600) for event in session.push(samples[at : at + 1600])]
    return events + session.finish()


def words(text: str) -> list[str]:
    return Normalizers("english").normalize(text, "en").split()


def test_speech_is_recognized_while_it_is_spoken(model: StreamingModel, root: Path) -> None:
    samples = load(root / "examples" / "speech-thomas.flac").samples[round(BEGIN * SAMPLE_RATE) :]
    events = run(model, samples)
    finals = [event for event in events if isinstance(event, Final)]
    expected = words(SENTENCE)
    assert Levenshtein.distance(words("".join(event.text for event in finals)), expected) <= 0.15 * len(expected)
    lags = [event.time - word.end for event in finals for word in event.words]
    assert median(lags) < 1.0
    assert max(lags) < 3.0
    first = next(event for event in events if isinstance(event, Partial))
    assert first.time < 1.5  # the recording begins with speech
    stable = [event for event in finals if event.reason == "stable"]
    assert sum(len(event.words) for event in stable) > len(expected) / 2


@pytest.mark.parametrize("level", [-60.0, -30.0, -12.0])
def test_noise_and_silence_give_no_words(model: StreamingModel, level: float) -> None:
    rng = np.random.default_rng(7)
    noise = rng.standard_normal(3 * SAMPLE_RATE) * 10 ** (level / 20)
    brown = np.cumsum(noise) / 60
    for sound in (noise, brown - brown.mean(), np.sin(np.arange(len(noise)) * 0.05) * 10 ** (level / 20)):
        events = run(model, np.clip(sound, -1.0, 1.0).astype(np.float32))
        assert not [event for event in events if isinstance(event, Final | Partial)]
