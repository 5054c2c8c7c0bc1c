"""Timestamp tokens to pieces: by hand, and against Transformers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.whisper.generation_whisper import WhisperGenerationMixin

from linnet.transcription.segments import Piece, cut_pieces

BEGIN, PRECISION = 100, 0.02


def at(seconds: float) -> int:
    return BEGIN + round(seconds / PRECISION)


def cut(*tokens: int, duration: float = 10.0) -> tuple[list[Piece], float]:
    return cut_pieces(tokens, timestamp_begin=BEGIN, precision=PRECISION, duration=duration)


def test_closed_pieces_use_the_whole_window() -> None:
    pieces, advance = cut(at(0.4), 1, 2, at(2.0), at(3.0), 3, at(3.4))
    assert pieces == [Piece(0.4, 2.0, (1, 2)), Piece(3.0, 3.4, (3,))]
    assert advance == 10.0


def test_a_piece_cut_by_the_end_is_left_to_the_next_window() -> None:
    pieces, advance = cut(at(0.4), 1, at(9.0), at(9.6))
    assert (pieces, advance) == ([Piece(0.4, 9.0, (1,))], 9.0)
    pieces, advance = cut(at(0.4), 1, at(9.0), at(9.0), 5, 6)
    assert (pieces, advance) == ([Piece(0.4, 9.0, (1,))], 9.0)


def test_an_opening_time_alone_late_in_the_window_starts_the_next_one() -> None:
    assert cut(at(9.5)) == ([], 9.5)
    assert cut(at(0.0)) == ([], 10.0)
    assert cut(at(0.1)) == ([], 10.0)  # else silence would be walked through in tiny steps


def test_text_without_times_spans_the_window() -> None:
    assert cut(1, 2, duration=3.0) == ([Piece(0.0, 3.0, (1, 2))], 3.0)
    assert cut() == ([], 10.0)


def test_times_after_the_recording_are_held_to_its_end() -> None:
    pieces, advance = cut(at(0.2), 1, at(9.0), duration=2.5)
    assert (pieces, advance) == ([Piece(0.2, 2.5, (1,))], 2.5)


token = st.one_of(st.integers(0, 20), st.integers(BEGIN, BEGIN + 500))


@given(st.lists(token, max_size=30), st.floats(0.1, 10.0))
def test_any_tokens_move_on_and_give_ordered_pieces(tokens: list[int], duration: float) -> None:
    pieces, advance = cut(*tokens, duration=duration)
    assert 0.0 < advance <= duration
    edges = [edge for piece in pieces for edge in (piece.start, piece.end)]
    assert edges == sorted(edges)
    assert all(0.0 <= edge <= duration for edge in edges)
    kept = [token for piece in pieces for token in piece.tokens]
    words = [token for token in tokens if token < BEGIN]
    assert kept == words[: len(kept)]  # nothing reordered or invented
    times = [(token - BEGIN) * PRECISION for token in tokens if token >= BEGIN]
    if advance == duration and max(times, default=0.0) < duration:
        assert kept == words  # nothing lost


@st.composite
def windows(draw: st.DrawFn) -> list[int]:
    """Tokens as a model writes them: times that do not fall, words between them, at times no last closing time."""
    tokens, clock = [], 0
    for _ in range(draw(st.integers(1, 5))):
        start = clock + draw(st.integers(0, 30))
        clock = start + draw(st.integers(1, 60))
        tokens += [BEGIN + start, *draw(st.lists(st.integers(0, 20), min_size=1, max_size=4)), BEGIN + clock]
    ending = draw(st.sampled_from(["closed", "cut", "unclosed"]))
    if ending == "cut":
        tokens.append(BEGIN + clock + draw(st.integers(0, 20)))
    if ending == "unclosed":
        tokens.pop()
    return tokens


@given(windows())
def test_a_window_matches_transformers(tokens: list[int]) -> None:
    theirs, frames = WhisperGenerationMixin._retrieve_segment(
        seek_sequence=torch.tensor(tokens),
        seek_outputs=[torch.tensor(tokens)],
        time_offset=torch.zeros(1, dtype=torch.float64),
        timestamp_begin=BEGIN,
        seek_num_frames=torch.tensor([1000]),
        time_precision=PRECISION,
        time_precision_features=0.01,
        input_stride=2,
        prev_idx=0,
        idx=0,
        return_token_timestamps=False,
        decoder_input_ids=torch.zeros(1, 4),
    )
    pieces, advance = cut(*tokens)
    expected = [tuple(token for token in part["tokens"].tolist() if token < BEGIN) for part in theirs]
    assert [piece.tokens for piece in pieces] == expected
    assert advance == pytest.approx(int(frames) / 100)
    if len(theirs) > 1:  # of a single piece Transformers says that it starts at 0
        assert [piece.start for piece in pieces] == pytest.approx([float(part["start"]) for part in theirs])
        assert [piece.end for piece in pieces] == pytest.approx([float(part["end"]) for part in theirs])
