"""Word times of CTC models: posteriors made by hand, a slow forced alignment, and random checkpoints."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from linnet.alignment.ctc import ctc_words
from linnet.audio.types import SAMPLE_RATE, Audio
from linnet.errors import OptionError
from linnet.models.resolve import resolve
from linnet.transcription.generic import load_generic
from linnet.transcription.recognizer import Recognizer
from tests.support.slow_ctc import slow_alignment
from tests.support.tiny_speech import save_all

BLANK, SPACE = 0, 1
LETTERS = "_ abc"


def spell(tokens: Sequence[int]) -> str:
    return "".join(LETTERS[token] for token, _ in itertools.groupby(tokens) if token != BLANK).strip()


def path(text: str) -> list[int]:
    return [LETTERS.index(letter) for letter in text]


def test_a_path_written_by_hand() -> None:
    tokens = path("__aab_b  _ccc_a__")
    scores = [float(np.log(0.5))] * 2 + [0.0] * (len(tokens) - 2)
    words = ctc_words(tokens, scores, {BLANK, SPACE}, spell, seconds=1.7)
    assert [(word.text, word.start, word.end) for word in words] == [("abb", 0.2, 0.7), ("ca", 1.0, 1.5)]
    assert [word.probability for word in words] == [1.0, 1.0]
    assert not any(word.interpolated for word in words)
    assert ctc_words(path("____  "), [0.0] * 6, {BLANK, SPACE}, spell, seconds=1.0) == ()


def test_probability_is_the_mean_over_a_words_frames() -> None:
    tokens = path("a_b c")
    scores = np.log([0.5, 0.1, 1.0, 0.1, 0.25]).tolist()
    words = ctc_words(tokens, scores, {BLANK, SPACE}, spell, seconds=0.5)
    assert [word.probability for word in words] == pytest.approx([0.75, 0.25])


@pytest.mark.parametrize("seed", range(20))
def test_the_greedy_path_is_the_forced_alignment_of_its_text(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    frames = 40
    log_probabilities = (3 * torch.randn(frames, len(LETTERS), generator=generator)).double().log_softmax(-1)
    scores, tokens = log_probabilities.max(-1)
    labels = [token for token, _ in itertools.groupby(tokens.tolist()) if token != BLANK]
    aligned = slow_alignment(log_probabilities.numpy(), labels, BLANK)
    want: list[tuple[int, int]] = []
    fresh = True
    for label, (first, end) in zip(labels, aligned, strict=True):
        if label == SPACE:
            fresh = True
            continue
        want = [*want, (first, end)] if fresh else [*want[:-1], (want[-1][0], end)]
        fresh = False
    words = ctc_words(tokens.tolist(), scores.tolist(), {BLANK, SPACE}, spell, seconds=frames)
    assert [(word.start, word.end) for word in words] == want
    assert " ".join(word.text for word in words) == " ".join(spell(tokens.tolist()).split())


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return save_all(tmp_path_factory.mktemp("models"))


def noise(seconds: float) -> Audio:
    samples = np.random.default_rng(0).standard_normal(round(seconds * SAMPLE_RATE)).astype(np.float32) * 0.1
    return Audio(samples, name="noise")


@pytest.mark.parametrize("name", ["wav2vec2-group", "wav2vec2-layer", "parakeet"])
def test_words_of_random_models_spell_the_text_and_lie_within(folders: dict[str, Path], name: str) -> None:
    ref = resolve(str(folders[name]))
    backend = load_generic(ref, device="cpu", dtype=torch.float32)
    recognizer = Recognizer(backend, ref, device="cpu", dtype="float32")
    plain = recognizer.transcribe(noise(2.3), vad=False)
    timed = recognizer.transcribe(noise(2.3), vad=False, word_timestamps=True)
    assert timed.text == plain.text
    assert not plain.words
    for segment in timed.segments:
        assert " ".join(word.word for word in segment.words) == " ".join(segment.text.split())
        times = [time for word in segment.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert segment.start <= times[0]
        assert times[-1] <= segment.end <= 2.3
        assert all(word.probability is not None and 0.0 < word.probability <= 1.0 for word in segment.words)
    assert timed.words


def test_a_sequence_to_sequence_model_has_no_word_times(folders: dict[str, Path]) -> None:
    ref = resolve(str(folders["moonshine"]))
    backend = load_generic(ref, device="cpu", dtype=torch.float32)
    recognizer = Recognizer(backend, ref, device="cpu", dtype="float32")
    with pytest.raises(OptionError, match="only Whisper-family and CTC models give word times"):
        recognizer.transcribe(noise(1.0), word_timestamps=True)
