"""When a word is final: what each policy makes of one hypothesis after another of the same growing speech."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol

from linnet.alignment.words import TimedWord
from linnet.streaming.options import StreamOptions
from linnet.text.words import bears_sound

NEW_AUDIO = 0.2  # seconds between two hypotheses that count as two
PAUSED = 0.2  # seconds of silence after which the last word is no longer taken to be cut


@dataclass(frozen=True)
class Heard:
    """One hypothesis of the words that are not final, at `now` seconds of the segment.

    `ended`: the model wrote its end; `silence`: how long nobody has spoken.
    """

    words: Sequence[TimedWord]
    ended: bool
    now: float
    silence: float


@dataclass(frozen=True)
class Verdict:
    """How many words are final now, and how many, those among them, will hardly change."""

    final: int
    stable: int


class Policy(Protocol):
    """Decides for one segment."""

    def judge(self, heard: Heard) -> Verdict:
        """Take the next hypothesis of what is not final yet."""
        ...


def spoken(text: str) -> str:
    """What of a word must be alike in two hypotheses: its letters and digits, without case.

    >>> spoken(" Can't,")
    'cant'
    """
    return "".join(char for char in text.casefold() if bears_sound(char))


class _Memory:
    """The latest hypotheses, without the words that have become final."""

    def __init__(self, length: int) -> None:
        self._held: deque[tuple[float, list[str]]] = deque(maxlen=length)

    def add(self, heard: Heard) -> None:
        """Take one; it replaces the one before where hardly any audio came between them."""
        words = [spoken(word.text) for word in heard.words]
        if self._held and heard.now - self._held[-1][0] < NEW_AUDIO - 1e-6:
            self._held[-1] = (self._held[-1][0], words)
        else:
            self._held.append((heard.now, words))

    def common(self, count: int) -> int:
        """Words that the last `count` begin with alike; 0 where there are fewer."""
        if len(self._held) < count:
            return 0
        latest = [words for _, words in self._held][-count:]
        alike = takewhile(lambda column: len(set(column)) == 1, zip(*latest, strict=False))
        return sum(1 for _ in alike)

    def drop(self, words: int) -> None:
        """These first words are final."""
        for _, held in self._held:
            del held[:words]


class Commit:
    """A word is final when it is complete, lies far enough back, and is sure or was heard alike twice.

    Far enough is `delay`, and up to `patience` more the less probable the word is: what follows tells what it was.
    A sure word before a pause needs no delay: nothing follows.
    """

    def __init__(self, delay: float, patience: float, threshold: float) -> None:
        self._delay, self._patience, self._threshold = delay, patience, threshold
        self._memory = _Memory(2)

    def judge(self, heard: Heard) -> Verdict:
        """See `Policy`."""
        self._memory.add(heard)
        agreed = self._memory.common(2)
        complete = _complete(heard)
        stable = 0
        for place, word in enumerate(heard.words[:complete]):
            sure = word.probability is not None and word.probability >= self._threshold
            if not (sure or place < agreed):
                break
            stable += 1
        final = sum(1 for _ in takewhile(lambda word: self._lies_back(word, heard), heard.words[:stable]))
        self._memory.drop(final)
        return Verdict(final, stable)

    def _lies_back(self, word: TimedWord, heard: Heard) -> bool:
        sure = word.probability is not None and word.probability >= self._threshold
        if sure and _paused(heard):
            return True
        doubt = 0.0 if sure or word.probability is None else 1.0 - word.probability
        return word.end <= heard.now - self._delay - doubt * self._patience


def _paused(heard: Heard) -> bool:
    return heard.ended and heard.silence >= PAUSED


def _complete(heard: Heard) -> int:
    """Words that are not cut by the end of the audio: all after a pause, else all but the last."""
    return len(heard.words) if _paused(heard) else max(len(heard.words) - 1, 0)


class Agreement:
    """The words that the last `count` hypotheses begin with alike are final (Liu et al. 2020, LocalAgreement-n)."""

    def __init__(self, count: int) -> None:
        self._count, self._memory = count, _Memory(count)

    def judge(self, heard: Heard) -> Verdict:
        """See `Policy`."""
        self._memory.add(heard)
        final = self._memory.common(self._count)
        self._memory.drop(final)
        return Verdict(final, final)


class Hold:
    """All words but the last `count` are final at once."""

    def __init__(self, count: int) -> None:
        self._count = count

    def judge(self, heard: Heard) -> Verdict:
        """See `Policy`."""
        final = max(len(heard.words) - self._count, 0)
        return Verdict(final, final)


class EmitAll:
    """Nothing is final before the segment's end: all is shown at once, and may be revised."""

    def judge(self, heard: Heard) -> Verdict:
        """See `Policy`."""
        return Verdict(0, _complete(heard))


def build_policy(options: StreamOptions) -> Policy:
    """The policy that the options name, for one segment."""
    if options.policy == "commit":
        return Commit(options.delay, options.patience, options.threshold)
    if options.policy == "emit-all":
        return EmitAll()
    return Hold(options.count) if options.policy.startswith("hold") else Agreement(options.count)
