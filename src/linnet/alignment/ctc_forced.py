"""When the words of a known text were said, by a CTC model: the most probable path that spells the text.

Shapes: T output frames, V tokens of the vocabulary, L tokens of the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linnet.alignment.ctc import word_spans
from linnet.alignment.forced import ForcedWords
from linnet.alignment.words import TimedWord, interpolate
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.models.loading import quiet
from linnet.models.speech import SpeechModel, padded

Floats = NDArray[np.float64]

CONTEXT = 2 * SAMPLE_RATE  # samples heard on either side of a window and left out, where a recording has several
MOST_CELLS = 1 << 29  # bytes, of frames by states: about 20 minutes of speech


def forced_path(
    log_probabilities: NDArray[Any], tokens: Sequence[int], blank: int
) -> tuple[list[tuple[int, int]], float] | None:
    """The (first, end) frames of each token on the most probable path that spells them, and its log-probability.

    `log_probabilities` [T, V]. The path is that of Viterbi's algorithm over the tokens with blanks before, between and
    after them; a blank may be skipped, except between two equal tokens (Graves et al. 2006, "Connectionist temporal
    classification", section 4). None if there are too few frames.

    >>> forced_path(np.log([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]), [1], blank=0)[0]
    [(1, 3)]
    """
    states = np.full(2 * len(tokens) + 1, blank)
    states[1::2] = tokens
    skips = np.zeros(len(states), np.bool_)
    skips[3::2] = states[3::2] != states[1:-2:2]
    origins = np.zeros((len(log_probabilities), len(states)), np.uint8)  # how many states before
    best = np.full((3, len(states)), -np.inf)  # by origin: the same state, the one before, the one before that
    best[0, :2] = log_probabilities[0, states[:2]]
    for frame in range(1, len(log_probabilities)):
        best[1, 1:] = best[0, :-1]
        best[2, 2:] = np.where(skips[2:], best[0, :-2], -np.inf)
        origins[frame] = best.argmax(0)
        best[0] = best.max(0) + log_probabilities[frame, states]
    last = len(states) - 1 - int(len(states) > 1 and best[0, -2] > best[0, -1])
    total = float(best[0, last])
    if total == -np.inf:
        return None
    path = np.empty(len(log_probabilities), np.int64)
    for frame in range(len(path) - 1, -1, -1):
        path[frame] = last
        last -= int(origins[frame, last])
    own = np.arange(len(tokens)) * 2 + 1
    first, end = np.searchsorted(path, own), np.searchsorted(path, own, side="right")
    return list(zip(first.tolist(), end.tolist(), strict=True)), total


class CtcAligner:
    """Aligns known texts with recordings, by a CTC model of Transformers.

    A recording longer than the model's window is encoded in windows that overlap, and aligned as a whole. Models with
    peaky posteriors emit a word in less time than it lasts; their spans are too short.
    """

    def __init__(self, speech: SpeechModel, *, window: float | None = None) -> None:
        """`window`: seconds that are encoded at once; default: those of the model's family."""
        self._speech = speech
        seconds = window or speech.family.window_seconds(speech.model.config.to_dict())
        self._window = int(seconds * SAMPLE_RATE)

    def align(self, samples: Samples, text: str, language: str | None) -> ForcedWords | str:
        """The words of a text, or the reason why they cannot be placed.

        `score` is the log-probability of the path minus that of the most probable path of any text, per token, so that
        words missing from the text lower it as wrong ones do. `unplaced` is the share of words for which the model has
        no token, such as numbers in digits; they are placed between their neighbors.
        """
        del language
        spelling = self._spell(text)
        if not spelling.words:
            return "without words"
        if not spelling.tokens:
            return "without words that the model's tokens can spell"
        log_probabilities, times = self.emissions(samples)
        if len(log_probabilities) * (2 * len(spelling.tokens) + 1) > MOST_CELLS:
            return "too long to be aligned in one piece"
        found = forced_path(log_probabilities, spelling.tokens, self._speech.model.config.pad_token_id)
        if found is None:
            return "more words than its sound has frames"
        spans, total = found
        words = _placed(spelling, spans, log_probabilities, times)
        score = (total - float(log_probabilities.max(1).sum())) / len(spelling.tokens)
        return ForcedWords(words, score, sum(word.interpolated for word in words) / len(words))

    def _spell(self, text: str) -> _Spelling:
        """The words of a text and their tokens, in the case of letters that the model knows best."""
        tokenizer = self._speech.tokenizer
        words = [text[first:last] for first, last in word_spans(text)]
        cases = [words, [word.upper() for word in words], [word.lower() for word in words]]
        spelled = [[_tokens(tokenizer, word) for word in case] for case in cases]
        best = max(spelled, key=lambda case: sum(len(own) for own in case))  # the first of equals: as it is written
        delimiter = getattr(tokenizer, "word_delimiter_token_id", None)
        spelling = _Spelling(words, [], [])
        for own in best:
            if own and spelling.tokens and delimiter is not None:
                spelling.tokens.append(delimiter)
            first = len(spelling.tokens)
            spelling.tokens.extend(own)
            spelling.places.append(range(first, len(spelling.tokens)))
        return spelling

    def emissions(self, samples: Samples) -> tuple[Floats, Floats]:
        """The log-probabilities [T, V] of a recording, and the times [T + 1] in seconds between which frames lie."""
        samples = padded(samples)
        context = min(CONTEXT, self._window // 4)
        inner = self._window - 2 * context  # of a window among several
        cuts = [0, *range(context + inner, len(samples) - context, inner), len(samples)]
        cuts = [0, len(samples)] if len(samples) <= self._window else cuts
        parts: list[Floats] = []
        begins: list[Floats] = []
        for first, last in pairwise(cuts):
            start = max(0, first - context)
            heard = samples[start : last + context]
            frames = self._log_probabilities(heard)
            times = (start + len(heard) * np.arange(len(frames)) / len(frames)) / SAMPLE_RATE
            mine = (times * SAMPLE_RATE >= first) & (times * SAMPLE_RATE < last)
            parts.append(frames[mine])
            begins.append(times[mine])
        return np.concatenate(parts), np.append(np.concatenate(begins), len(samples) / SAMPLE_RATE)

    def _log_probabilities(self, samples: Samples) -> Floats:
        """Those of one window, [T, V]."""
        import torch

        speech = self._speech
        with torch.inference_mode(), quiet():
            features = {
                name: value.to(speech.device, speech.dtype if value.is_floating_point() else None)
                for name, value in speech.family.features(speech.processor, [samples]).items()
            }
            logits = speech.family.encode(speech.model, features)[0]
            found: Floats = logits.double().log_softmax(-1).cpu().numpy()
        return found


@dataclass(frozen=True)
class _Spelling:
    """Words, the tokens that spell them, and the places of each word's tokens, none for a word that has none."""

    words: list[str]
    tokens: list[int]
    places: list[range]


def _tokens(tokenizer: Any, word: str) -> list[int]:
    """The tokens of one word, without those of characters that the model does not know."""
    found: list[int] = tokenizer(word.replace("’", "'"), add_special_tokens=False)["input_ids"]
    special = set(tokenizer.all_special_ids)
    return [token for token in found if token not in special]


def _placed(
    spelling: _Spelling, spans: list[tuple[int, int]], log_probabilities: Floats, times: Floats
) -> tuple[TimedWord, ...]:
    """The words with their times; those without tokens share the time between their neighbors."""
    words: list[TimedWord] = []
    waiting: list[str] = []
    for text, places in zip(spelling.words, spelling.places, strict=True):
        if not places:
            waiting.append(text)
            continue
        start, end = float(times[spans[places[0]][0]]), float(times[spans[places[-1]][1]])
        scores = [log_probabilities[slice(*spans[at]), spelling.tokens[at]] for at in places]
        chance = float(np.exp(np.concatenate(scores)).mean())
        words += _between(waiting, words, start)
        words.append(TimedWord(text, round(start, 3), round(end, 3), chance, False, tuple(places)))
        waiting = []
    return (*words, *_between(waiting, words, float(times[-1])))


def _between(texts: list[str], words: list[TimedWord], until: float) -> list[TimedWord]:
    """Words without tokens, which follow `words` and share the time until the next one evenly."""
    shares = interpolate([1.0] * len(texts), words[-1].end if words else 0.0, until)
    return [
        TimedWord(text, round(start, 3), round(end, 3), None, True, ())
        for text, (start, end) in zip(texts, shares, strict=True)
    ]
