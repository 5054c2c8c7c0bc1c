"""Score millions of texts: normalize, align words and characters, sum up; in chunks, over processes."""

from __future__ import annotations

import multiprocessing
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from linnet.errors import OptionError
from linnet.scoring.scores import Score, Silence, WordErrors, edits, find_protocol
from linnet.text.normalizers import Normalizers

Rows = npt.NDArray[np.int32]  # [utterances, 4]: length of the reference, substitutions, deletions, insertions

CHUNK = 4000  # texts per task of a process
_AHEAD = 3  # chunks queued per process


class Pair(NamedTuple):
    """Raw reference and hypothesis, and the spoken language."""

    reference: str
    hypothesis: str
    language: str | None = None


@dataclass(frozen=True)
class CorpusScore:
    """The score of a corpus, and the counts of each utterance, in order."""

    score: Score
    words: Rows
    characters: Rows


@dataclass(frozen=True)
class Scorer:
    """Normalizes and aligns texts.

    protocol: `plain` or `open-asr` (`linnet.scoring.scores`). workers: processes; with more than one, a script needs
    `if __name__ == "__main__":`, since each process imports it again.

    >>> scored = Scorer(normalizers=Normalizers("unicode")).score([Pair("A b, c.", "a b d"), Pair("", "oh")])
    >>> scored.score.wer, scored.score.silence.hallucination_rate, scored.words.tolist()
    (0.6666666666666666, 1.0, [[3, 1, 0, 0], [0, 0, 0, 1]])
    """

    protocol: str = "plain"
    normalizers: Normalizers = field(default_factory=Normalizers)
    workers: int = 1

    def __post_init__(self) -> None:
        find_protocol(self.protocol)
        if self.workers < 1:
            raise OptionError(f"workers {self.workers} is not possible: use 1 or more")

    def score(self, pairs: Iterable[Pair]) -> CorpusScore:
        """Score all texts; they are read on demand, and only counts are kept.

        With an empty reference, every word of the hypothesis is an insertion. Raises `MissingExtra` if the protocol's
        library is not installed.
        """
        protocol = find_protocol(self.protocol)
        protocol.align()  # a missing library is reported before a process is started
        used: Counter[str] = Counter()
        words, characters = [np.zeros((0, 4), np.int32)], [np.zeros((0, 4), np.int32)]
        for chunk in self._chunks(_batches(pairs)):
            used.update(chunk.normalizers)
            words.append(chunk.counts[:, :4])
            characters.append(chunk.counts[:, 4:])
        by_word, by_character = np.concatenate(words), np.concatenate(characters)
        score = Score(
            protocol=self.protocol,
            scorer=protocol.scorer,
            normalizers=dict(sorted(used.items())),
            utterances=len(by_word),
            words=_sum(by_word),
            characters=_sum(by_character),
            silence=_silence(by_word),
        )
        return CorpusScore(score, by_word, by_character)

    def _chunks(self, batches: Iterator[list[Pair]]) -> Iterator[_Chunk]:
        if self.workers == 1:
            work = _Work(self.protocol, self.normalizers)
            yield from map(work, batches)
            return
        fresh = Normalizers(self.normalizers.choice, self.normalizers.spelling)
        context = multiprocessing.get_context("spawn")  # forking a process with threads may hang
        with ProcessPoolExecutor(self.workers, context, _begin, (self.protocol, fresh)) as pool:
            waiting: deque[Future[_Chunk]] = deque()
            for batch in batches:
                waiting.append(pool.submit(_go_on, batch))
                if len(waiting) > self.workers * _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()


class _Chunk(NamedTuple):
    counts: npt.NDArray[np.int32]  # [utterances, 8]: of words, then of characters
    normalizers: dict[str, int]


class _Work:
    """Scores chunks, keeping the caches of the normalizers."""

    def __init__(self, protocol: str, normalizers: Normalizers) -> None:
        self._align = find_protocol(protocol).align()
        self._normalizers = normalizers
        self._functions: dict[str | None, Callable[[str], str]] = {}

    def __call__(self, pairs: list[Pair]) -> _Chunk:
        counts = np.array([self._counts(*pair) for pair in pairs], np.int32).reshape(-1, 8)
        used: Counter[str] = Counter()
        for language, number in Counter(pair[2] for pair in pairs).items():
            used[self._normalizers.id(language)] += number
        return _Chunk(counts, dict(used))

    def _counts(self, reference: str, hypothesis: str, language: str | None) -> tuple[int, ...]:
        normalize = self._functions.get(language)
        if normalize is None:
            normalize = self._functions[language] = self._normalizers.function(language)
        plain = normalize(reference)
        other = plain if hypothesis == reference else normalize(hypothesis)
        words = plain.split()
        if plain == other:
            return (len(words), 0, 0, 0, len(plain), 0, 0, 0)
        return (len(words), *self._align(words, other.split()), len(plain), *edits(plain, other))


_work: _Work | None = None  # of a process started by `Scorer`


def _begin(protocol: str, normalizers: Normalizers) -> None:
    global _work  # noqa: PLW0603  (the only way to hand a pool's process something once)
    _work = _Work(protocol, normalizers)


def _go_on(pairs: list[Pair]) -> _Chunk:
    if _work is None:
        raise RuntimeError("the process was not initialized")
    return _work(pairs)


def _batches(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    left = iter(pairs)
    while batch := list(islice(left, CHUNK)):
        yield batch


def _sum(counts: Rows) -> WordErrors:
    return WordErrors(*(int(number) for number in counts.sum(axis=0, dtype=np.int64)))


def _silence(words: Rows) -> Silence:
    invented = words[words[:, 0] == 0, 3]
    return Silence(len(invented), int((invented > 0).sum()), int(invented.sum()))
