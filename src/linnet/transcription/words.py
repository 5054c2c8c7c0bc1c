"""Assign the words of a window to its segments and to the recording's time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from linnet.alignment.words import TimedWord
from linnet.transcription.segments import Piece
from linnet.transcription.transcript import Segment, Word


def words_of_pieces(
    pieces: Sequence[Piece], tokens: Sequence[int], words: Sequence[TimedWord], *, timestamp_begin: int
) -> list[list[TimedWord]]:
    """The words of each piece of a window; `words` are those of all tokens of the window.

    Pieces hold the window's text tokens in order, from the first on; words of tokens outside of pieces (a phrase cut by
    the window's end) are omitted.
    """
    owner: dict[int, int] = {}
    text = (place for place, token in enumerate(tokens) if token < timestamp_begin)
    for index, piece in enumerate(pieces):
        owner |= dict.fromkeys(islice(text, _spoken(piece, timestamp_begin)), index)
    found: list[list[TimedWord]] = [[] for _ in pieces]
    for word in words:
        if word.indices[0] in owner:
            found[owner[word.indices[0]]].append(word)
    return found


def _spoken(piece: Piece, timestamp_begin: int) -> int:
    return sum(token < timestamp_begin for token in piece.tokens)


def with_words(segment: Segment, words: Sequence[TimedWord], *, offset: float, earliest: float = 0.0) -> Segment:
    """The segment with words in the recording's time, which starts `offset` seconds before the window.

    Nothing begins before `earliest` (the end of the segment before). The segment extends from its first word to its
    last, since word times are finer than timestamps.
    """
    placed: list[Word] = []
    reached = earliest
    for word in words:
        if not word.text.strip():
            continue
        start = max(round(offset + word.start, 3), reached)
        reached = max(round(offset + word.end, 3), start)
        placed.append(Word(word.text.strip(), start, reached, word.probability, word.interpolated))
    if not placed:
        return segment
    return replace(segment, start=placed[0].start, end=placed[-1].end, words=tuple(placed))
