"""The gain of a text from its sound, in joined digits by the embedded model."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from linnet.alignment.forced import ForcedAligner, ForcedWords
from linnet.alignment.gain import GainScorer, TextGain
from linnet.audio.mel import log_mel
from linnet.engines.torch import TorchEngine
from linnet.models.resolve import resolve
from linnet.models.whisper import WhisperModel, load_whisper

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SAID = ([3, 1, 4, 1, 5], [9, 2], [6, 5, 3])


@pytest.fixture(scope="module")
def model() -> WhisperModel:
    return load_whisper(resolve("digits").path, name="digits")


@pytest.fixture(scope="module")
def scorer(model) -> GainScorer:
    return GainScorer(model, TorchEngine(model))


@pytest.fixture(scope="module")
def sounds(fsdd) -> list[np.ndarray]:
    """Digits of one speaker with pauses of 0.15 s, at 16 kHz."""
    import soxr

    made = []
    for digits in SAID:
        parts = [np.zeros(4000, np.float32)]
        for take, digit in enumerate(digits):
            samples, rate = soundfile.read(fsdd / f"{digit}_george_{take}.wav", dtype="float32")
            samples = soxr.resample(samples, rate, 16_000)
            parts += [samples * (0.5 / np.abs(samples).max()), np.zeros(2400, np.float32)]
        made.append(np.concatenate(parts).astype(np.float32))
    return made


def text_of(digits: list[int]) -> str:
    return " ".join(NAMES[digit] for digit in digits)


def test_a_text_gains_from_its_own_sound_only(scorer, sounds):
    texts = [text_of(digits) for digits in SAID]
    own = scorer.score(sounds, texts, ["en"] * 3)
    other = scorer.score(sounds, [text_of([(digit + 4) % 10 for digit in digits]) for digits in SAID], ["en"] * 3)
    for right, wrong in zip(own, other, strict=True):
        assert isinstance(right, TextGain)
        assert isinstance(wrong, TextGain)
        assert right.gain > 1.5
        assert wrong.gain < right.gain - 2.0


def test_the_gain_is_a_difference_of_log_probabilities(model, scorer, sounds):
    """Against one step after another for a single recording, and the score of forced alignment."""
    import torch

    engine = TorchEngine(model)
    (found,) = scorer.score(sounds[:1], [text_of(SAID[0])], [None])
    forced = ForcedAligner(model, engine).align(sounds[0], text_of(SAID[0]), None)
    assert isinstance(found, TextGain)
    assert isinstance(forced, ForcedWords)
    assert found.score == pytest.approx(forced.score, abs=1e-4)
    length = model.padded(len(sounds[0]))
    heard = np.pad(sounds[0], (0, length - len(sounds[0])))
    tokens = model.vocabulary.tokenizer(" " + text_of(SAID[0]), add_special_tokens=False)["input_ids"]
    prefix = [model.vocabulary.start, *model.vocabulary.languages.values()][: 1 + bool(model.vocabulary.languages)]
    if "transcribe" in model.vocabulary.tasks:
        prefix.append(model.vocabulary.tasks["transcribe"])
    prefix.append(model.vocabulary.no_timestamps)
    means = []
    for wave in (heard, np.zeros_like(heard)):
        state = engine.start(engine.encode(log_mel(torch.from_numpy(wave[None]), model.n_mels)), max_length=100)
        given, scores = np.array([prefix]), []
        for token in tokens:
            scores.append(float(torch.log_softmax(engine.step(state, given)[0].double(), -1)[token]))
            given = np.array([[token]])
        means.append(np.mean(scores))
    assert found.tokens == len(tokens)
    assert found.gain == pytest.approx(means[0] - means[1], abs=1e-4)


def test_recordings_that_are_computed_together_are_scored_as_alone(model, sounds):
    scorer = GainScorer(model, TorchEngine(model))
    texts = [text_of(digits) for digits in SAID]
    length = max(len(sound) for sound in sounds)
    same = [np.pad(sound, (0, length - len(sound))) for sound in sounds]
    together = scorer.score(same, texts, ["en", None, "en"])
    alone = [scorer.score([sound], [text], ["en"])[0] for sound, text in zip(same, texts, strict=True)]
    for one, other in zip(together, alone, strict=True):
        assert isinstance(one, TextGain)
        assert isinstance(other, TextGain)
        assert one.gain == pytest.approx(other.gain, abs=1e-3)


def test_what_cannot_be_scored_has_a_reason(model, scorer, sounds):
    long = np.zeros(model.window_samples + 1, np.float32)
    found = scorer.score([sounds[0], long, sounds[1]], ["...", "one", text_of(SAID[1])], ["en"] * 3)
    assert found[0] == "without words"
    assert str(found[1]).startswith("longer than the model's window of ")
    assert isinstance(found[2], TextGain)
