"""Convert the timestamp tokens of one window to segments, and find the start of the next window.

Time line of a window whose end cuts a phrase (tokens below, seconds above)::

    0     0.40            2.10   3.00      9.10   9.62    10.0
    |      <|0.40|> one two <|2.10|><|3.00|> ... <|9.10|><|9.62|>  <- cut: the next window starts at 9.10
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Piece:
    """Text tokens between two timestamps, in seconds from the window's start."""

    start: float
    end: float
    tokens: tuple[int, ...]


def cut_pieces(
    tokens: Sequence[int], *, timestamp_begin: int, precision: float, duration: float
) -> tuple[list[Piece], float]:
    """Split decoded tokens at their timestamps; returns the pieces and the seconds to advance.

    A pair of timestamps closes one piece and opens the next. An open piece is cut by the window's end: it is left to
    the next window, which starts at the end of the last closed piece. Otherwise the whole window (`duration` seconds)
    is done. Radford et al. 2022, section 3.8. The advance is always more than 0.
    """
    times = [(token - timestamp_begin) * precision if token >= timestamp_begin else None for token in tokens]
    pieces: list[Piece] = []
    begin, resume = 0, None
    for index in range(1, len(tokens)):
        if (closing := times[index - 1]) is not None and times[index] is not None:
            _add(pieces, tokens[begin:index], times[begin:index], duration)
            begin, resume = index, closing
    closed = len(times) - begin > 1 and times[-1] is not None
    if not pieces and len(tokens) == 1 and times[0] is not None and times[0] >= duration / 2:
        resume = times[0]  # silence, then a phrase that the window's end cuts
    if not closed and resume is not None and resume > 0.0:
        return pieces, min(resume, duration)
    _add(pieces, tokens[begin:], times[begin:], duration)
    return pieces, duration


def _add(pieces: list[Piece], tokens: Sequence[int], times: Sequence[float | None], duration: float) -> None:
    text = tuple(token for token, time in zip(tokens, times, strict=True) if time is None)
    if not text:
        return
    earliest = pieces[-1].end if pieces else 0.0
    start = earliest if times[0] is None else times[0]
    end = duration if times[-1] is None else times[-1]
    start = min(max(start, earliest), duration)
    pieces.append(Piece(start, min(max(end, start), duration), text))
