"""What should be written at each time, against a slow twin; random blocks and points keep their promises."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from linnet.audio.types import SAMPLE_RATE
from linnet.training.batch import IGNORED
from linnet.training.causal.batches import Shape, causal_tensors, window_tensors
from linnet.training.causal.options import CausalOptions
from linnet.training.causal.points import random_blocks, random_points, recording_ends
from linnet.training.causal.targets import CausalExample, count_ended, decoder_row, from_middle

END = 9
TIMES = st.lists(st.floats(0, 5), max_size=12)


def slow_row(prefix: list[int], tokens: list[int], ends: list[float], time: float) -> tuple[list[int], list[int]]:
    """Token by token: read on while every word so far has ended; the first one that has not is answered by the end."""
    given, labels = list(prefix), [IGNORED] * (len(prefix) - 1)
    for token, end in zip(tokens, ends, strict=True):
        if end > time + 1e-9:
            break
        labels.append(token)
        given.append(token)
    return given, [*labels, END]


@given(ends=TIMES, time=st.floats(0, 5), prefix=st.lists(st.integers(10, 20), min_size=1, max_size=4))
def test_rows_against_a_slow_twin(ends, time, prefix):
    tokens = list(range(100, 100 + len(ends)))
    row = decoder_row(prefix, tokens[: count_ended(ends, time)], END)
    assert row == slow_row(prefix, tokens, ends, time)
    assert len(row[0]) == len(row[1])


@given(seed=st.integers(0, 500), frames=st.integers(1, 300))
def test_blocks_cover_a_recording_and_points_lie_on_their_ends(seed, frames):
    rng, options = np.random.default_rng(seed), CausalOptions(first_block=30, shortest_block=5, longest_block=50)
    blocks = random_blocks(rng, frames, options)
    assert 1 <= blocks[0] <= 30
    assert all(5 <= block <= 50 for block in blocks[1:])
    ends = recording_ends(frames, blocks, frames + 7)
    assert ends[:frames].max() == frames
    assert (ends[frames:] == frames + 7).all()
    points = random_points(rng, ends[:frames], 4)
    assert points == sorted(set(points))
    assert points[-1] == frames
    assert len(points) == min(4, len(set(ends[:frames].tolist())))
    assert set(points) <= set(ends[:frames].tolist())


def spoken(seconds: float, ends: tuple[float, ...]) -> CausalExample:
    samples = np.random.default_rng(0).standard_normal(round(seconds * SAMPLE_RATE)).astype(np.float32)
    return CausalExample(samples, (1, 2), tuple(range(100, 100 + len(ends))), ends)


def test_a_batch_holds_the_words_that_have_ended_at_each_point():
    options = CausalOptions(margin=0.1, jitter=0.0, points=50, tail_pad=25, shortest_block=5, longest_block=5)
    shape = Shape(mels=80, window=10 * SAMPLE_RATE, places=40, end=END)
    examples = [spoken(1.5, (0.4, 0.9, 1.3)), spoken(0.6, ())]
    tensors = causal_tensors(examples, options, shape, np.random.default_rng(1))
    assert tensors["features"].shape == (2, 202, 80)  # with a frame behind the longest
    assert tensors["ends"].shape == (2, 101)
    for row, limit in enumerate(tensors["limits"].tolist()):
        number = int(tensors["recordings"][row])
        said = sum(end + 0.1 <= 0.02 * limit + 1e-9 for end in examples[number].ends)
        labels = [value for value in tensors["labels"][row].tolist() if value != IGNORED]
        assert labels == [*examples[number].tokens[:said], END]
        assert tensors["inputs"][row, : 2 + said].tolist() == [1, 2, *examples[number].tokens[:said]]
    last = tensors["limits"][tensors["recordings"] == 0].max()
    assert last == 100  # the tail of silence: every word has ended by then


def test_jitter_moves_a_word_by_at_most_that():
    shape = Shape(mels=80, window=10 * SAMPLE_RATE, places=40, end=END)
    options = CausalOptions(margin=0.1, jitter=0.04, points=99, shortest_block=1, longest_block=1)
    for seed in range(10):
        tensors = causal_tensors([spoken(1.0, (0.5,))], options, shape, np.random.default_rng(seed))
        said = (tensors["labels"] == 100).any(-1)
        first = float(tensors["limits"][said].min()) * 0.02
        assert 0.56 <= first <= 0.66 + 1e-6
        assert not said[tensors["limits"] * 0.02 < 0.56 - 1e-6].any()


def test_rows_that_do_not_fit_the_decoder_are_left_out():
    shape = Shape(mels=80, window=10 * SAMPLE_RATE, places=4, end=END)
    tensors = causal_tensors([spoken(2.0, (0.3, 0.6, 1.5))], CausalOptions(points=60), shape, np.random.default_rng(0))
    assert tensors["inputs"].shape[1] <= 4
    assert window_tensors([spoken(2.0, (0.3,))], shape)["labels"].tolist() == [[IGNORED, 100, END]]


@given(seed=st.integers(0, 200))
def test_a_start_in_the_middle_loses_no_word_and_no_time(seed):
    starts, ends = (0.1, 0.5, 0.5, 1.2), (0.4, 0.9, 0.9, 1.4)
    one = spoken(1.6, ends)
    made = from_middle(one, starts, 7, np.random.default_rng(seed), most=2)
    kept = len(made.tokens)
    cut = one.seconds - made.seconds
    assert made.tokens == one.tokens[-kept:]
    np.testing.assert_allclose(np.array(made.ends) + cut, ends[-kept:], atol=1e-4)
    assert kept in (1, 3)  # never between two tokens of one word
    assert max(ends[:-kept]) <= cut + 1e-4 <= starts[-kept] + 2e-4
    previous = one.tokens[:-kept]
    prompt = made.prefix[1:-2]
    assert made.prefix[0] == 7
    assert made.prefix[-2:] == one.prefix
    assert 1 <= len(prompt) <= 2
    assert previous[-len(prompt) :] == prompt


def test_words_that_run_together_have_no_middle():
    one = spoken(1.0, (0.5, 0.9))
    assert from_middle(one, (0.1, 0.45), 7, np.random.default_rng(0)) is one
