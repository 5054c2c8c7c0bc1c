"""Known texts in joined digits, whose words' bounds are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

import linnet
from linnet.alignment.forced import ForcedAligner, ForcedWords, text_tokens
from linnet.data.manifest import Utterance
from linnet.engines.torch import TorchEngine
from linnet.models.resolve import resolve
from linnet.models.whisper import WhisperModel, load_whisper
from linnet.transcription.word_alignment import AlignmentLimits, AlignmentReport, align_utterances

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture(scope="module")
def model() -> WhisperModel:
    return load_whisper(resolve("digits").path, name="digits")


@pytest.fixture(scope="module")
def aligner(model: WhisperModel) -> ForcedAligner:
    return ForcedAligner(model, TorchEngine(model))


def joined(fsdd, digits: list[int], speaker: str = "george") -> tuple[np.ndarray, list[float]]:
    """Digits of one speaker with pauses of 0.15 s, at 16 kHz, and the end of each."""
    import soxr

    parts, ends, time = [np.zeros(4000, np.float32)], [], 4000
    for take, digit in enumerate(digits):
        samples, rate = soundfile.read(fsdd / f"{digit}_{speaker}_{take}.wav", dtype="float32")
        samples = soxr.resample(samples, rate, 16_000)
        parts += [samples * (0.5 / np.abs(samples).max()), np.zeros(2400, np.float32)]
        ends.append((time + len(samples)) / 16_000)
        time += len(samples) + 2400
    return np.concatenate(parts).astype(np.float32), ends


def test_words_end_where_their_clips_end(aligner, fsdd):
    digits = [3, 1, 4, 1, 5, 9]
    samples, ends = joined(fsdd, digits)
    found = aligner.align(samples, " ".join(NAMES[digit] for digit in digits), "en")
    assert isinstance(found, ForcedWords)
    assert [word.text.strip() for word in found.words] == [NAMES[digit] for digit in digits]
    errors = [abs(word.end - end) for word, end in zip(found.words, ends, strict=True)]
    assert np.median(errors) < 0.1
    assert found.score > -0.3
    wrong = aligner.align(samples, " ".join(NAMES[(digit + 3) % 10] for digit in digits), "en")
    assert isinstance(wrong, ForcedWords)
    assert wrong.score < found.score - 2


def test_a_recording_longer_than_the_window_is_aligned_by_windows(aligner, model, fsdd):
    digits = [int(digit) for digit in "3141592653589793238462643383279502884197"]
    samples, ends = joined(fsdd, digits)
    silence = np.zeros(model.window_samples, np.float32)  # a whole window without a word
    samples = np.concatenate([samples[: round(ends[19] * 16_000)], silence, samples[round(ends[19] * 16_000) :]])
    ends = [end + (place > 19) * model.window_samples / 16_000 for place, end in enumerate(ends)]
    assert len(samples) > 3 * model.window_samples
    found = aligner.align(samples, " ".join(NAMES[digit] for digit in digits), "en")
    assert isinstance(found, ForcedWords)
    assert [word.text.strip() for word in found.words] == [NAMES[digit] for digit in digits]
    errors = np.abs([word.end - end for word, end in zip(found.words, ends, strict=True)])
    assert np.median(errors) < 0.1
    assert np.quantile(errors, 0.9) < 0.4
    assert found.score > -0.5


def test_the_score_is_the_mean_log_probability_of_the_text(aligner, model, fsdd):
    import torch

    samples, _ = joined(fsdd, [7, 2])
    found = aligner.align(samples, "seven two", "en")
    assert isinstance(found, ForcedWords)
    transcript = linnet.load("digits", engine="torch").transcribe(samples, language="en", timestamps=False)
    assert transcript.text.strip() == "seven two"
    vocabulary = model.vocabulary
    from linnet.audio.mel import log_mel

    wave = np.pad(samples, (0, model.padded(len(samples)) - len(samples)))
    prefix = [vocabulary.start, vocabulary.languages["en"], vocabulary.tasks["transcribe"], vocabulary.no_timestamps]
    tokens = text_tokens(vocabulary.tokenizer, "seven two")
    with torch.no_grad():
        features = torch.from_numpy(log_mel(wave[None])).transpose(1, 2)
        logits = model.module(features, decoder_input_ids=torch.tensor([[*prefix, *tokens]])).logits[0]
    wanted = [float(logits[len(prefix) - 1 + i].log_softmax(-1)[token]) for i, token in enumerate(tokens)]
    assert found.score == pytest.approx(np.mean(wanted), abs=1e-3)


@pytest.mark.parametrize(
    ("seconds", "text", "says"),
    [(1.0, "", "without words"), (1.0, "one " * 400, "tokens hold"), (11.0, "one " * 400, "tokens hold")],
)
def test_what_cannot_be_placed_says_why(aligner, seconds, text, says):
    assert says in aligner.align(np.zeros(round(seconds * 16_000), np.float32), text, "en")


def test_a_corpus_is_counted_row_by_row(aligner, fsdd, tmp_path):
    digits = [3, 1, 4]
    samples, _ = joined(fsdd, digits)
    soundfile.write(tmp_path / "a.wav", samples, 16_000)
    good, text = str(tmp_path / "a.wav"), "three one four"
    rows = [
        Utterance(good, text=text, language="en", id="good"),
        Utterance(good, text="five five five five five", language="en", id="wrong"),
        Utterance(good, language="en", id="untold"),
        Utterance(good, text="", language="en", id="silent"),
        Utterance(str(tmp_path / "none.wav"), text=text, id="gone"),
    ]
    report = AlignmentReport()
    found = list(align_utterances(rows, aligner, report))
    assert [one.utterance.id for one in found] == ["good", "silent"]
    assert [word.word for word in found[0].words] == text.split()
    assert found[0].utterance.duration == pytest.approx(len(samples) / 16_000, abs=1e-3)
    assert (report.aligned, report.transcribed, report.left_out.total()) == (2, 0, 3)
    assert any("--transcribe" in line for line in report.lines())
    report = AlignmentReport()
    told = align_utterances(rows[2:3], aligner, report, transcribe=lambda given, language: f" {text} ")
    assert [one.utterance.text for one in told] == [text]
    assert report.transcribed == 1
    strict = AlignmentReport()
    assert not list(align_utterances(rows[:1], aligner, strict, limits=AlignmentLimits(loss=0.0)))
    assert json.dumps(strict.lines())
