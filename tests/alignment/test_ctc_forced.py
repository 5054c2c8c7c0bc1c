"""Known texts placed by a CTC model: the path beside a slow one and beside all paths, and random checkpoints."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from linnet.alignment.ctc_forced import CtcAligner, forced_path
from linnet.alignment.forced import ForcedWords
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.models.resolve import resolve
from linnet.models.speech import SpeechModel, load_speech_model
from tests.support.slow_ctc import slow_alignment
from tests.support.tiny_speech import save_all

BLANK = 0
KINDS = ("wav2vec2-group", "wav2vec2-layer", "parakeet")


def emissions(frames: int, tokens: int, seed: int) -> np.ndarray:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(frames, tokens, generator=generator)).double().log_softmax(-1).numpy()


def collapsed(path: Sequence[int]) -> list[int]:
    return [token for token, _ in itertools.groupby(path) if token != BLANK]


def needed(labels: Sequence[int]) -> int:
    """Frames: one for each label, and a blank between two equal ones."""
    return len(labels) + sum(one == other for one, other in itertools.pairwise(labels))


@given(st.lists(st.integers(1, 3), min_size=1, max_size=8), st.integers(0, 12), st.integers(0, 10_000))
def test_the_path_is_that_of_a_slow_alignment(labels: list[int], more: int, seed: int) -> None:
    probabilities = emissions(needed(labels) + more, 4, seed)
    found = forced_path(probabilities, labels, BLANK)
    assert found is not None
    spans, total = found
    assert spans == slow_alignment(probabilities, labels, BLANK)
    path = np.full(len(probabilities), BLANK)
    for label, (first, end) in zip(labels, spans, strict=True):
        path[first:end] = label
    assert collapsed(path.tolist()) == labels
    assert total == pytest.approx(probabilities[np.arange(len(path)), path].sum(), abs=1e-9)


@given(st.lists(st.integers(1, 2), min_size=1, max_size=3), st.integers(0, 10_000))
def test_no_other_path_of_the_text_is_likelier(labels: list[int], seed: int) -> None:
    probabilities = emissions(6, 3, seed)
    found = forced_path(probabilities, labels, BLANK)
    paths = (path for path in itertools.product(range(3), repeat=6) if collapsed(path) == labels)
    assert found is not None
    assert found[1] == pytest.approx(max(probabilities[np.arange(6), path].sum() for path in paths), abs=1e-9)


@given(st.lists(st.integers(1, 3), min_size=2, max_size=8), st.integers(0, 10_000))
def test_too_few_frames_have_no_path(labels: list[int], seed: int) -> None:
    assert forced_path(emissions(needed(labels) - 1, 4, seed), labels, BLANK) is None


@pytest.fixture(scope="module")
def speeches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SpeechModel]:
    folders: dict[str, Path] = save_all(tmp_path_factory.mktemp("models"))
    return {name: load_speech_model(resolve(str(folders[name])), device="cpu", dtype=torch.float32) for name in KINDS}


def noise(seconds: float) -> Samples:
    return np.random.default_rng(0).standard_normal(round(seconds * SAMPLE_RATE)).astype(np.float32) * 0.1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("wav2vec2-group", "Bad, cab 42 fed!"),
        ("wav2vec2-layer", "Bad, cab 42 fed!"),
        ("parakeet", "B a 42 f"),  # the tokenizer of this test knows single letters alone
    ],
)
def test_words_lie_in_order_within_the_sound(speeches: dict[str, SpeechModel], name: str, text: str) -> None:
    found = CtcAligner(speeches[name]).align(noise(2.3), text, "en")
    assert isinstance(found, ForcedWords)
    assert [word.text for word in found.words] == text.split()
    times = [time for word in found.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert times[0] >= 0.0
    assert times[-1] <= 2.3
    assert [word.interpolated for word in found.words] == [False, False, True, False]
    assert found.unplaced == 0.25
    assert (found.words[2].start, found.words[2].end) == (found.words[1].end, found.words[3].start)
    assert found.score < 0.0


@pytest.mark.parametrize("name", KINDS)
def test_what_the_model_hears_itself_scores_best(speeches: dict[str, SpeechModel], name: str) -> None:
    """Its most probable path is the path of its text, unless that has tokens that no text has."""
    speech, sound = speeches[name], noise(1.1)
    aligner = CtcAligner(speech)
    probabilities, _ = aligner.emissions(sound)
    tokens = [
        one for one, _ in itertools.groupby(probabilities.argmax(1).tolist()) if one != speech.model.config.pad_token_id
    ]
    found = forced_path(probabilities, tokens, speech.model.config.pad_token_id)
    assert found is not None
    assert found[1] == pytest.approx(probabilities.max(1).sum(), abs=1e-9)
    other = aligner.align(sound, "a", None)
    assert isinstance(other, ForcedWords)
    assert other.score < -0.1


def test_windows_of_a_long_recording_make_one_row_of_frames(speeches: dict[str, SpeechModel]) -> None:
    speech, sound = speeches["wav2vec2-layer"], noise(9.7)
    whole, times = CtcAligner(speech).emissions(sound)
    parts, cut_times = CtcAligner(speech, window=3.0).emissions(sound)
    assert abs(len(parts) - len(whole)) <= 0.02 * len(whole)
    assert cut_times[-1] == times[-1] == 9.7
    step = times[1] - times[0]
    assert np.diff(cut_times).min() > 0.5 * step
    assert np.diff(cut_times).max() < 2.0 * step
    np.testing.assert_allclose(np.exp(parts).sum(1), 1.0, atol=1e-9)


@pytest.mark.parametrize(
    ("seconds", "text", "says"),
    [(1.0, " ", "without words"), (1.0, "42 7", "tokens can spell"), (0.5, "a b c " * 100, "more words")],
)
def test_what_cannot_be_placed_says_why(speeches: dict[str, SpeechModel], seconds: float, text: str, says: str) -> None:
    assert says in str(CtcAligner(speeches["parakeet"]).align(noise(seconds), text, "en"))
