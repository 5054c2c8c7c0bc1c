"""Timestamp tokens to pieces: by hand, and against a slow twin of the reference procedure."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

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
    if advance == duration:
        assert kept == words  # nothing lost


@given(st.lists(st.tuples(st.floats(0, 4.9), st.floats(0.02, 4.9)), min_size=1, max_size=5))
def test_a_well_formed_window_matches_the_reference_procedure(spans: list[tuple[float, float]]) -> None:
    tokens: list[int] = []
    clock = 0.0
    for gap, length in spans:
        start = clock + gap / 10
        clock = min(start + length / 5, 10.0)
        tokens += [at(start), 7, at(max(clock, start + PRECISION))]
    pieces, advance = cut(*tokens)
    pairs = [i for i in range(1, len(tokens)) if tokens[i] >= BEGIN and tokens[i - 1] >= BEGIN]
    bounds = [0, *pairs, len(tokens)]
    slow = [tokens[a:b] for a, b in pairwise(bounds)]
    assert advance == 10.0
    assert [piece.start for piece in pieces] == [(part[0] - BEGIN) * PRECISION for part in slow]
