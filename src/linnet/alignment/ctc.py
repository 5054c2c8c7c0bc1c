"""Word times of CTC models, from the frames of their tokens.

Shapes: T output frames.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from itertools import groupby, pairwise

from linnet.alignment.words import TimedWord
from linnet.text.words import break_unspaced

Text = Callable[[Sequence[int]], str]


def ctc_words(
    tokens: Sequence[int], log_probabilities: Sequence[float], silent: set[int | None], text: Text, *, seconds: float
) -> tuple[TimedWord, ...]:
    """The words of a greedy CTC path of T frames over `seconds`, each from its first token to its last.

    `tokens` [T] are the most probable per frame, `silent` those without text (blank, word delimiter); `text` decodes
    the beginning of such a path. The most probable path (Graves et al. 2006, "Connectionist temporal classification",
    best path decoding) is also the most probable of those that spell its text, so it is a forced alignment of that text
    and no further search is needed. Models with peaky posteriors emit a word in less time than it lasts; their spans
    are too short. A word's probability is the mean over its frames.
    """
    runs: list[tuple[int, int]] = []  # runs of frames with one spoken token
    at = 0
    for token, frames in groupby(tokens):
        begin, at = at, at + len(list(frames))
        if token not in silent:
            runs.append((begin, at))
    lengths = [len(text(tokens[:end]).lstrip()) for _, end in runs]
    whole = text(tokens).strip()
    words: list[TimedWord] = []
    for first, last in word_spans(whole):
        own = [
            run
            for run, (before, after) in zip(runs, pairwise([0, *lengths]), strict=True)
            if first < after and before < last
        ]
        if not own:
            continue
        scores = [math.exp(log_probabilities[frame]) for begin, end in own for frame in range(begin, end)]
        frame = seconds / len(tokens)
        start, end = round(own[0][0] * frame, 3), round(own[-1][1] * frame, 3)
        words.append(TimedWord(whole[first:last], start, end, sum(scores) / len(scores), False, ()))
    return tuple(words)


def word_spans(whole: str) -> list[tuple[int, int]]:
    """The (start, end) indices of the words of a text; in scripts without spaces those of characters."""
    spans = []
    for match in re.finditer(r"\S+", whole):
        at = match.start()
        for piece in break_unspaced(match[0]):
            spans.append((at, at + len(piece)))
            at += len(piece)
    return spans
