"""The embedded model: what it hears, that Transformers alone hears the same, and that it is small."""

from __future__ import annotations

from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile
import soxr
from transformers import pipeline

import linnet
from linnet.audio.types import SAMPLE_RATE, Audio
from linnet.transcription.recognizer import Recognizer

SPOKEN = {
    "digits-en": ("en", "three one four one five nine"),
    "digits-de": ("de", "zwei sieben eins acht"),
    "digits-fr": ("fr", "trois zéro sept quatre"),
    "digits-es": ("es", "uno seis ocho cero"),
    "digits-it": ("it", "nove due cinque tre"),
    "digits-long": (
        "en",
        "four one five two six five three five eight nine seven nine three two seven eight four six two "
        "six four one three eight three two seven nine five zero two eight eight four one nine seven one",
    ),
}
ENGLISH = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture(scope="module")
def digits() -> Recognizer:
    return linnet.load("digits", device="cpu")


@pytest.fixture(scope="module")
def strings(fsdd: Path) -> list[tuple[Audio, str]]:
    """Connected strings of 5 digits of the test speaker, as in benchmarks/digits.py but fewer."""
    rng = np.random.default_rng(11)
    made = []
    for index in range(24):
        parts, words = [np.zeros(1600, np.float32)], []
        for digit in rng.integers(0, 10, 5):
            samples, rate = soundfile.read(fsdd / f"{digit}_theo_{rng.integers(50)}.wav", dtype="float32")
            gap = np.zeros(int(rng.uniform(0.05, 0.25) * SAMPLE_RATE), np.float32)
            parts += [soxr.resample(samples, rate, SAMPLE_RATE), gap]
            words.append(ENGLISH[digit])
        made.append((Audio(np.concatenate(parts), name=f"theo {index}"), " ".join(words)))
    return made


@pytest.mark.parametrize("name", SPOKEN)
def test_the_examples_are_heard_with_their_language(digits: Recognizer, root: Path, name: str) -> None:
    language, text = SPOKEN[name]
    heard = digits.transcribe(root / "examples" / f"{name}.flac")
    if name == "digits-long":  # three windows
        assert jiwer.wer(text, heard.text) <= 0.2
    else:
        assert heard.text == text
    assert heard.language == language
    assert heard.language_probability is not None
    assert heard.language_probability > 0.5
    starts = [segment.start for segment in heard.segments]
    assert starts == sorted(starts)
    assert heard.segments[-1].end <= heard.duration


@pytest.mark.parametrize("beams", [1, 5])
def test_stock_transformers_hears_the_same(
    digits: Recognizer, root: Path, strings: list[tuple[Audio, str]], beams: int
) -> None:
    folder = root / "src" / "linnet" / "models" / "embedded" / "digits"
    stock = pipeline("automatic-speech-recognition", str(folder), device="cpu")
    settings = {} if beams == 5 else {"generate_kwargs": {"num_beams": beams}}  # the pipeline's own default is 5
    recordings = [audio for audio, _ in strings[:3]]
    for name in ("digits-en", "digits-de", "digits-fr", "digits-es", "digits-it"):
        samples, _ = soundfile.read(root / "examples" / f"{name}.flac", dtype="float32")
        recordings.append(Audio(samples, name))
    for timestamps in (False, True):
        sounds = [{"raw": audio.samples.copy(), "sampling_rate": SAMPLE_RATE} for audio in recordings]
        expected = stock(sounds, batch_size=len(sounds), return_timestamps=timestamps, **settings)
        for audio, said in zip(recordings, expected, strict=True):
            ours = digits.transcribe(audio, timestamps=timestamps, temperatures=(0.0,), beam_size=beams)
            assert ours.text.split() == said["text"].split(), (audio.name, timestamps)


def test_a_speaker_it_never_met_is_understood(digits: Recognizer, strings: list[tuple[Audio, str]]) -> None:
    results = list(digits.transcribe_many([audio for audio, _ in strings], batch_size=8))
    heard = {result.index: result.transcript.text for result in results if result.transcript}
    rate = jiwer.wer([text for _, text in strings], [heard[index] for index in range(len(strings))])
    assert rate <= 0.04  # guards the shipped weights; benchmarks/digits.py measures the bar of 3 % on 200 strings


def test_silence_and_noise_have_no_words(digits: Recognizer) -> None:
    rng = np.random.default_rng(3)
    for level in (0.0, 1e-3, 0.1):
        sound = Audio((level * rng.standard_normal(5 * SAMPLE_RATE)).astype(np.float32))
        assert digits.transcribe(sound).text == ""


def test_a_forced_language_and_translation_are_obeyed(digits: Recognizer, root: Path) -> None:
    italian = root / "examples" / "digits-it.flac"
    forced = digits.transcribe(italian, language="italian")
    assert (forced.language, forced.language_probability) == ("it", None)
    assert digits.transcribe(italian, task="translate").text == "nine two five three"
