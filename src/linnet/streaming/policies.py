"""Commit policies: when a word of successive hypotheses of the same growing audio becomes final."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol

from linnet.alignment.words import TimedWord
from linnet.streaming.activity import PAUSED
from linnet.streaming.options import CommitTiming, StreamOptions
from linnet.text.words import bears_sound

NEW_AUDIO = 0.2  # seconds of new audio for two hypotheses to count as independent


@dataclass(frozen=True)
class Observation:
    """One hypothesis of the words that are not final, at `now` seconds of the segment.

    `ended`: the model emitted the end token; `silence`: seconds since speech ended.
    """

    words: Sequence[TimedWord]
    ended: bool
    now: float
    silence: float


@dataclass(frozen=True)
class Decision:
    """How many words are final now, and how many, including those, are stable."""

    final: int
    stable: int


class Policy(Protocol):
    """Commit policy of one segment."""

    def decide(self, observation: Observation) -> Decision:
        """Process the next hypothesis of the words that are not final yet."""
        ...


def comparable(text: str) -> str:
    """The form in which words of two hypotheses are compared: letters and digits, case-folded.

    >>> comparable(" Can't,")
    'cant'
    """
    return "".join(char for char in text.casefold() if bears_sound(char))


class _Memory:
    """The latest hypotheses, without final words."""

    def __init__(self, length: int) -> None:
        self._held: deque[tuple[float, list[str]]] = deque(maxlen=length)

    def add(self, observation: Observation) -> None:
        """Add a hypothesis; it replaces the previous one if hardly any audio came in between."""
        words = [comparable(word.text) for word in observation.words]
        if self._held and observation.now - self._held[-1][0] < NEW_AUDIO - 1e-6:
            self._held[-1] = (self._held[-1][0], words)
        else:
            self._held.append((observation.now, words))

    def common(self, count: int) -> int:
        """Length of the common prefix of the last `count` hypotheses; 0 if there are fewer."""
        if len(self._held) < count:
            return 0
        latest = [words for _, words in self._held][-count:]
        alike = takewhile(lambda column: len(set(column)) == 1, zip(*latest, strict=False))
        return sum(1 for _ in alike)

    def drop(self, words: int) -> None:
        """Remove the first `words` words, which became final."""
        for _, held in self._held:
            del held[:words]


class Commit:
    """A word is final if it is complete, old enough, and either confident or the same in two hypotheses.

    Old enough is `delay`, plus up to `patience` in proportion to the improbability of the word, since later context
    resolves it. A confident word before a pause needs no delay.
    """

    def __init__(self, timing: CommitTiming) -> None:
        self._timing, self._memory = timing, _Memory(2)

    def decide(self, observation: Observation) -> Decision:
        """See `Policy`."""
        self._memory.add(observation)
        agreed = self._memory.common(2)
        ends = self._timing.ends_after_words and observation.ended
        complete = len(observation.words) if ends else _complete(observation)
        stable = 0
        for place, word in enumerate(observation.words[:complete]):
            sure = word.probability is not None and word.probability >= self._timing.threshold
            if not (sure or place < agreed):
                break
            stable += 1
        final = sum(1 for _ in takewhile(lambda word: self._lies_back(word, observation), observation.words[:stable]))
        self._memory.drop(final)
        return Decision(final, stable)

    def _lies_back(self, word: TimedWord, observation: Observation) -> bool:
        sure = word.probability is not None and word.probability >= self._timing.threshold
        if sure and _paused(observation):
            return True
        doubt = 0.0 if sure or word.probability is None else 1.0 - word.probability
        return word.end <= observation.now - self._timing.delay - doubt * self._timing.patience


def _paused(observation: Observation) -> bool:
    return observation.ended and observation.silence >= PAUSED


def _complete(observation: Observation) -> int:
    """Number of words not cut off by the end of the audio: all after a pause, else all but the last."""
    return len(observation.words) if _paused(observation) else max(len(observation.words) - 1, 0)


class Agreement:
    """The common prefix of the last `count` hypotheses is final (Liu et al. 2020, LocalAgreement-n)."""

    def __init__(self, count: int) -> None:
        self._count, self._memory = count, _Memory(count)

    def decide(self, observation: Observation) -> Decision:
        """See `Policy`."""
        self._memory.add(observation)
        final = self._memory.common(self._count)
        self._memory.drop(final)
        return Decision(final, final)


class Hold:
    """All words but the last `count` are final immediately."""

    def __init__(self, count: int) -> None:
        self._count = count

    def decide(self, observation: Observation) -> Decision:
        """See `Policy`."""
        final = max(len(observation.words) - self._count, 0)
        return Decision(final, final)


class EmitAll:
    """Nothing is final before the segment ends: everything is shown immediately and may be revised."""

    def decide(self, observation: Observation) -> Decision:
        """See `Policy`."""
        return Decision(0, _complete(observation))


def build_policy(options: StreamOptions, timing: CommitTiming) -> Policy:
    """Build the policy that the options name, for one segment."""
    if options.policy == "commit":
        return Commit(timing)
    if options.policy == "emit-all":
        return EmitAll()
    return Hold(options.count) if options.policy.startswith("hold") else Agreement(options.count)
