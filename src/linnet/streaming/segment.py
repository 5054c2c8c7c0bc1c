"""One stretch of speech while it is recognized: its audio and its tokens in the model's window, in the stream's time.

Times are seconds of the stream; a model's own begin at the segment's `origin`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from linnet.alignment.words import TimedWord
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.streaming.policies import Heard, Policy, Verdict
from linnet.streaming.protocol import Hypothesis, Query, StreamingModel

CONTEXT = 4.0  # seconds before the newest audio that are not let go
LEAST_LET_GO = 2.0  # seconds: less is not worth an encoding of its own


@dataclass(frozen=True)
class Tail:
    """What was heard behind the final words, in the stream's time, and how much of it will hardly change."""

    words: tuple[TimedWord, ...] = ()
    stable: int = 0

    @property
    def text(self) -> tuple[str, str]:
        """The stable text and the rest."""
        texts = [word.text for word in self.words]
        return "".join(texts[: self.stable]), "".join(texts[self.stable :])


class Segment:
    """The state of one stretch of speech."""

    def __init__(self, index: int, model: StreamingModel, policy: Policy, memory: Any, origin: float) -> None:
        self.index, self.origin = index, origin
        self.looked = origin  # the audio's end at the last look
        self.tail = Tail()
        self.heard: Hypothesis | None = None
        self.credible = False  # whether words may be final
        self.warned = False  # of a loop
        self.text = ""  # final
        self.total, self.count = 0.0, 0  # log-probability of final tokens
        self._model, self._policy, self._memory = model, policy, memory
        self._committed: list[int] = []  # tokens of the window that are final
        self._words: list[tuple[float, int]] = []  # of final words in the window: when they end, how many tokens
        self._now = origin
        self.forgets = True

    def follow(self, index: int, policy: Policy) -> Segment:
        """The next segment in the same window, which knows the sound and the words of this one."""
        after = Segment(index, self._model, policy, self._memory, self.origin)
        after._committed, after._words, after._now = self._committed, self._words, self._now
        after.looked = self._now
        return after

    @property
    def now(self) -> float:
        """Up to where audio was heard."""
        return self._now

    @property
    def room(self) -> float:
        """Seconds of audio that still fit."""
        return self._model.room(self._memory)

    @property
    def window(self) -> float:
        """Seconds of audio in the model's window."""
        return self._now - self.origin

    @property
    def committed(self) -> tuple[int, ...]:
        """Final tokens in the model's window."""
        return tuple(self._committed)

    @property
    def shown(self) -> str:
        """All text, final or not."""
        return self.text + "".join(self.tail.text)

    def hear(self, samples: Samples) -> None:
        """Add audio."""
        self._model.hear(self._memory, samples)
        self._now += len(samples) / SAMPLE_RATE

    def query(self, *, final: bool) -> Query:
        """What is asked of the model now."""
        self.looked = self._now
        return Query(self._memory, tuple(self._committed), final)

    def take(self, heard: Hypothesis, silence: float) -> Verdict:
        """Take the answer; returns what the policy says of its words, which now are the tail."""
        self.heard = heard
        words = tuple(replace(word, start=self.origin + word.start, end=self.origin + word.end) for word in heard.words)
        now = self.looked if heard.until is None else min(self.origin + heard.until, self.looked)
        verdict = self._policy.judge(Heard(words, heard.ended, now, max(silence - (self.looked - now), 0.0)))
        self.tail = Tail(words, verdict.stable)
        return verdict

    def avg_logprob(self) -> float:
        """Of a token, over the final ones and the tail."""
        heard = self.heard
        total = self.total + (sum(heard.token_logprobs) if heard else 0.0)
        count = self.count + (len(heard.token_logprobs) if heard else 0)
        return total / count if count else 0.0

    def commit(self, count: int) -> tuple[TimedWord, ...]:
        """Make the first words of the tail final; returns them."""
        heard = self.heard
        if heard is None or not count:
            return ()
        done, rest = self.tail.words[:count], self.tail.words[count:]
        end = done[-1].indices[-1] + 1
        reached = 0
        for word in done:
            self._words.append((word.end, word.indices[-1] + 1 - reached))
            reached = word.indices[-1] + 1
        self._committed += heard.tokens[:end]
        self.total += sum(heard.token_logprobs[:end])
        self.count += end
        self.heard = replace(heard, tokens=heard.tokens[end:], token_logprobs=heard.token_logprobs[end:], words=())
        moved = tuple(replace(word, indices=tuple(place - end for place in word.indices)) for word in rest)
        self.tail = Tail(moved, max(self.tail.stable - count, 0))
        self.text += "".join(word.text for word in done)
        return done

    def drop_tail(self, words: Sequence[TimedWord] = ()) -> None:
        """Take these words for the tail's, all of which are in it."""
        self.tail = Tail(tuple(words), min(self.tail.stable, len(words)))

    def let_go(self) -> None:
        """Drop audio whose words are final, all but the last seconds, where the model can."""
        at, tokens = 0, 0
        for place, (end, _) in enumerate(self._words, start=1):
            if end <= self._now - CONTEXT:
                at = place
        if not at or not self.forgets:
            return
        cut = self._words[at - 1][0]
        if cut - self.origin < LEAST_LET_GO:
            return
        tokens = sum(count for _, count in self._words[:at])
        memory = self._model.forget(self._memory, cut - self.origin, tuple(self._committed[:tokens]))
        if memory is None:
            self.forgets = False
            return
        self._memory, self.origin = memory, cut
        del self._committed[:tokens], self._words[:at]
