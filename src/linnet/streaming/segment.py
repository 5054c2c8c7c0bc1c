"""One segment of speech during recognition: its audio and tokens in the model's window.

Times are seconds of the stream; the model's own times start at the segment's `origin`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from linnet.alignment.words import TimedWord
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.streaming.policies import Decision, Observation, Policy, comparable
from linnet.streaming.protocol import Hypothesis, Query, StreamingModel

CONTEXT = 4.0  # seconds before the newest audio that are always kept
MOST_AGAIN = 3  # words that may be heard on both sides of a cut
AGAIN = 0.3  # seconds from a cut within which they lie
LEAST_LET_GO = 2.0  # seconds: dropping less is not worthwhile


@dataclass(frozen=True)
class Tail:
    """The words after the final ones, in stream time, and how many of them are stable."""

    words: tuple[TimedWord, ...] = ()
    stable: int = 0

    @property
    def text(self) -> tuple[str, str]:
        """The stable text and the volatile text."""
        texts = [word.text for word in self.words]
        return "".join(texts[: self.stable]), "".join(texts[self.stable :])


class Segment:
    """The state of one segment of speech."""

    def __init__(
        self,
        index: int,
        model: StreamingModel,
        policy: Policy,
        memory: Any,
        origin: float,
        *,
        echo: tuple[str, ...] = (),
    ) -> None:
        """`echo`: the last words before the cut where it begins, which are left out where they are heard again."""
        self.index, self.origin = index, origin
        self.decoded_until = origin  # end of the audio that the last decode used
        self.tail = Tail()
        self.hypothesis: Hypothesis | None = None
        self.credible = False  # whether its words may become final
        self.warned = False  # of a loop
        self.text = ""  # final
        self.final_until = origin  # end of the last final word
        self.total, self.count = 0.0, 0  # summed log-probability and number of final tokens
        self._model, self._policy, self._memory = model, policy, memory
        self._committed: list[int] = []  # final tokens in the window
        self._words: list[tuple[TimedWord, int]] = []  # final words in the window, and their numbers of tokens
        self._echo = echo
        self._now = origin
        self._heard = origin  # end of the audio that was encoded, without the tail of a final query, at the last decode
        self.forgets = True

    def follow(self, index: int, policy: Policy) -> Segment:
        """Create the next segment in the same window, with the audio and words of this one as context."""
        after = Segment(index, self._model, policy, self._memory, self.origin)
        after._committed, after._words, after._now = self._committed, self._words, self._now
        after.decoded_until, after.final_until = self._now, self.final_until
        after._heard = self._now
        return after

    @property
    def now(self) -> float:
        """End of the audio received."""
        return self._now

    @property
    def room(self) -> float:
        """Seconds of audio that still fit; none if the text is full."""
        return 0.0 if len(self._committed) >= self._model.most_tokens else self._model.room(self._memory)

    @property
    def window(self) -> float:
        """Seconds of audio in the model's window."""
        return self._now - self.origin

    @property
    def news(self) -> float:
        """Seconds of audio encoded since the last decode."""
        return self._encoded - self._heard

    @property
    def _encoded(self) -> float:
        return self.origin + self._model.encoded(self._memory)

    @property
    def committed(self) -> tuple[int, ...]:
        """Final tokens in the model's window."""
        return tuple(self._committed)

    @property
    def shown(self) -> str:
        """All text, final and tail."""
        return self.text + "".join(self.tail.text)

    def add_audio(self, samples: Samples) -> None:
        """Append audio."""
        self._model.add_audio(self._memory, samples)
        self._now += len(samples) / SAMPLE_RATE

    def query(self, *, final: bool) -> Query:
        """Build the query for the next decode."""
        self._heard = self._encoded
        self.decoded_until = self._now if final else self._heard
        return Query(self._memory, tuple(self._committed), final)

    def take(self, hypothesis: Hypothesis, silence: float) -> Decision:
        """Make the words of a hypothesis the tail, and return the policy's decision about them."""
        self.hypothesis = hypothesis
        words = self._without_echo(
            replace(word, start=self.origin + word.start, end=self.origin + word.end) for word in hypothesis.words
        )
        now = self._now if hypothesis.until is None else min(self.origin + hypothesis.until, self._now)
        decision = self._policy.decide(Observation(words, hypothesis.ended, now, max(silence - (self._now - now), 0.0)))
        self.tail = Tail(words, decision.stable)
        return decision

    def avg_logprob(self) -> float:
        """Mean log-probability of final tokens and tail."""
        hypothesis = self.hypothesis
        total = self.total + (sum(hypothesis.token_logprobs) if hypothesis else 0.0)
        count = self.count + (len(hypothesis.token_logprobs) if hypothesis else 0)
        return total / count if count else 0.0

    def commit(self, count: int) -> tuple[TimedWord, ...]:
        """Commit the first `count` words of the tail and return those with a text."""
        hypothesis = self.hypothesis
        if hypothesis is None or not count:
            return ()
        done, rest = self.tail.words[:count], self.tail.words[count:]
        end = done[-1].indices[-1] + 1
        reached = 0
        for word in done:
            self._words.append((word, word.indices[-1] + 1 - reached))
            reached = word.indices[-1] + 1
        self.final_until = max(self.final_until, done[-1].end)
        self._committed += hypothesis.tokens[:end]
        self.total += sum(hypothesis.token_logprobs[:end])
        self.count += end
        self.hypothesis = replace(
            hypothesis, tokens=hypothesis.tokens[end:], token_logprobs=hypothesis.token_logprobs[end:], words=()
        )
        moved = tuple(replace(word, indices=tuple(place - end for place in word.indices)) for word in rest)
        self.tail = Tail(moved, max(self.tail.stable - count, 0))
        self.text += "".join(word.text for word in done)
        return tuple(word for word in done if word.text)

    def last_words(self, cut: float) -> tuple[str, ...]:
        """The last final words, as they are compared, as far as they end just before a cut."""
        said = [word for word, _ in self._words if word.text][-MOST_AGAIN:]
        return tuple(comparable(word.text) for word in said if word.end > cut - AGAIN)

    def _without_echo(self, words: Iterable[TimedWord]) -> tuple[TimedWord, ...]:
        """The words, those without a text that ended the previous segment and are heard again behind the cut.

        Times at the end of a window are early at times: a word then seems to lie before a cut that it lies behind.
        """
        words = tuple(words)
        if self._committed or not words or words[0].start > self.origin + AGAIN:
            return words
        said, echo = tuple(comparable(word.text) for word in words), self._echo
        again = max((count for count in range(1, len(echo) + 1) if said[:count] == echo[-count:]), default=0)
        return (*(replace(word, text="") for word in words[:again]), *words[again:])

    def drop_tail(self, words: Sequence[TimedWord] = ()) -> None:
        """Reduce the tail to these of its words."""
        self.tail = Tail(tuple(words), min(self.tail.stable, len(words)))

    def let_go(self) -> None:
        """Drop audio whose words are final, except for the last seconds, if the model supports it."""
        at, tokens = 0, 0
        for place, (word, _) in enumerate(self._words, start=1):
            if word.end <= self._now - CONTEXT:
                at = place
        if not at or not self.forgets:
            return
        cut = self._words[at - 1][0].end
        if cut - self.origin < LEAST_LET_GO:
            return
        tokens = sum(count for _, count in self._words[:at])
        memory = self._model.forget(self._memory, cut - self.origin, tuple(self._committed[:tokens]))
        if memory is None:
            self.forgets = False
            return
        self._memory, self.origin = memory, cut
        del self._committed[:tokens], self._words[:at]
