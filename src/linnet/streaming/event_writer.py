"""Builds the numbered, timed events of a stream so that they satisfy the contract in `events`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from linnet.alignment.words import TimedWord
from linnet.streaming.events import Event, Final, Partial, Reason
from linnet.text.words import without_spaces
from linnet.transcription.transcript import Word

KNOWN = 10.0  # seconds of words in one language after which it is fixed for the stream
SENTENCE, MARKS = ".!?。！？।", ".!?。！？।,;:、，；："


class EventWriter:
    """Queues events until they are fetched, and tracks what has been emitted."""

    def __init__(self) -> None:
        self.words = 0  # final
        self.marked = False  # whether the model writes punctuation
        self._events: list[Event] = []
        self._seq = 0
        self._partial: tuple[int, str, str] = (0, "", "")
        self._reached = 0.0  # end of the last final word
        self._apart = False  # whether the next final text needs a space before it
        self._languages: dict[str, float] = defaultdict(float)  # seconds of words in each

    def fetch(self) -> list[Event]:
        """Return the events since the last call."""
        events, self._events = self._events, []
        return events

    def emit(self, kind: type[Event], time: float, **fields: Any) -> None:
        """Queue an event."""
        self._events.append(kind(seq=self._seq, time=time, **fields))
        self._seq += 1

    def final(
        self, time: float, segment: int, words: Sequence[TimedWord], language: str | None, reason: Reason, *, last: bool
    ) -> None:
        """Emit final words; their times never precede those of earlier words."""
        placed = tuple(self._place(word) for word in words)
        text = "".join(word.text for word in words)
        if text and self._apart and not text[0].isspace() and not without_spaces(text[0]):
            text = " " + text  # a model wrote none at the start of a segment
        self._apart = last if text else self._apart or last
        self.marked = self.marked or any(char in MARKS for char in text)
        self.words += len(words)
        if language:
            self._languages[language] += sum(word.end - word.start for word in words)
        self.emit(Final, time, segment=segment, text=text, words=placed, reason=reason, last=last)

    def _place(self, word: TimedWord) -> Word:
        start = max(round(word.start, 3), self._reached)
        self._reached = max(round(word.end, 3), start)
        return Word(word.text.strip(), start, self._reached, word.probability, word.interpolated)

    def partial(self, time: float, segment: int, words: Sequence[TimedWord], stable: int, lag: float) -> None:
        """Emit the words that are not final yet, if they differ from the last partial."""
        texts = [word.text for word in words]
        state = (segment, "".join(texts[:stable]), "".join(texts[stable:]))
        if state == self._partial or not (state[1] + state[2] or self._partial[1] + self._partial[2]):
            return
        self._partial = state
        shown = tuple(
            Word(word.text.strip(), round(word.start, 3), round(word.end, 3), word.probability, word.interpolated)
            for word in words
            if word.text
        )
        self.emit(Partial, time, segment=segment, stable=state[1], volatile=state[2], words=shown, lag=round(lag, 3))

    def language(self) -> str | None:
        """The majority language of the words so far, once there are enough of them."""
        if not self._languages:
            return None
        code = max(self._languages, key=self._languages.__getitem__)
        return code if self._languages[code] >= KNOWN else None
