"""Batched long-form: windows that do not depend on one another are recognized together and stitched by time.

Nothing that was said is to be lost at the edges: where a model says that a window's end cut a phrase, or passes over
speech, the window is heard again from there; where speech went on without a pause for longer than a window, the next
window waits to begin where the last whole phrase ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol

from linnet.audio.detectors import SHORTEST_REST
from linnet.audio.types import SAMPLE_RATE
from linnet.audio.vad import Region
from linnet.transcription.backend import Job, Request
from linnet.transcription.coverage import SHORTEST_SPEECH, speech
from linnet.transcription.ledger import Ledger
from linnet.transcription.packing import LONG_PAUSE, PAD
from linnet.transcription.prefetch import Prefetch
from linnet.transcription.retry import judge, passed_over
from linnet.transcription.transcript import Segment
from linnet.transcription.windows import Window, WindowPlan

LONGEST_TAIL = SAMPLE_RATE // 2  # samples of speech after a phrase's last timestamp that are still its own
VOTES = 8  # windows at a recording's start that decide on its language


@dataclass(frozen=True)
class WindowTranscript:
    """What a model made of one window; times in seconds of the recording."""

    segments: tuple[Segment, ...]
    resume: float  # decoding resumes from here; the window's end if it is complete
    fell_back: bool = False
    language: str | None = None
    probabilities: Mapping[str, float] | None = None  # of languages, where it was to tell
    thin: tuple[Segment, ...] = ()  # those of the segments with too few words for their speech: some were skipped
    skipping: tuple[Segment, ...] = ()  # those of them of which the times of their words tell so


class WindowRecognizer(Protocol):
    """A model's side of batched long-form."""

    def prepare(self, window: Window) -> Window:
        """Do beforehand, in another thread, what can be done."""
        ...

    def ask(self, window: Window, language: str | None, vote: Any) -> Request:
        """The request for a window; without a language the model is to tell it."""
        ...

    def read(self, window: Window, answer: Any) -> WindowTranscript:
        """Process the result of a window's request."""
        ...


class Languages:
    """One language for a recording, by the sum of the probabilities of its first windows with speech; or one each."""

    def __init__(self, given: str | None, *, each: bool) -> None:
        self.chosen = given
        self.voting = given is None and not each
        self._sums: dict[str, float] = {}
        self._voices = 0
        self._first: str | None = None  # of the windows with words
        self._wordless: str | None = None  # of those in which speech was found and no words

    def count(self, heard: WindowTranscript) -> None:
        """Add the language probabilities of a window; those of windows without words count only if none has words."""
        if heard.probabilities and heard.segments:
            self._voices += 1
            self._first = self._first or heard.language
            for code, probability in heard.probabilities.items():
                self._sums[code] = self._sums.get(code, 0.0) + probability
        elif heard.probabilities:
            self._wordless = self._wordless or heard.language

    def decide(self) -> None:
        """Choose, where there was speech at all."""
        if self.voting and self._sums:
            self.chosen, self.voting = self.best, False

    @property
    def best(self) -> str | None:
        """The given language, else the one detected in most windows."""
        if self.chosen or not self._sums:
            return self.chosen or self._wordless
        return self._first if self._voices == 1 else max(self._sums, key=self._sums.__getitem__)

    @property
    def probabilities(self) -> dict[str, float] | None:
        """The mean over the windows that voted; they sum to 1. None where none did."""
        return {code: total / self._voices for code, total in self._sums.items()} if self._voices else None


def batched(plan: WindowPlan, listener: WindowRecognizer, languages: Languages, *, limit: int, ahead: int) -> Job:
    """Recognize a recording, up to `ahead` windows at once; `limit` samples are one window."""
    ledger, covered, ends = Ledger(), 0, 0
    pending: list[Window] = []
    with Prefetch(map(listener.prepare, plan), max(ahead // 2, 1)) as coming:
        while True:
            fresh = list(islice(coming, max(ahead - len(pending), 0)))
            for window in fresh:  # as planned they do not overlap
                covered, ends = covered + len(window.samples), window.end
            pending += fresh
            ready = _ready(pending)[: VOTES if languages.voting else None]
            if not ready:
                break
            done = pending[0].start / SAMPLE_RATE
            requests = [listener.ask(window, languages.chosen, languages) for window in ready]
            answers = yield [replace(request, position=done) for request in requests]
            heard = {window.start: listener.read(window, answer) for window, answer in zip(ready, answers, strict=True)}
            _vote(languages, list(heard.values()))
            pending = list(_settle(pending, heard, ledger, languages.chosen, limit))
    length = max(plan.length, ends)
    ledger.drop((length - covered) / SAMPLE_RATE)
    return ledger.outcome(length / SAMPLE_RATE, language=languages.best, probabilities=languages.probabilities)


def _ready(pending: Sequence[Window]) -> list[Window]:
    """Those that do not wait for the one before them."""
    before = [None, *pending]
    return [
        window
        for window, last in zip(pending, before, strict=False)
        if not (window.joined and last is not None and last.end == window.start)
    ]


def _vote(languages: Languages, heard: Sequence[WindowTranscript]) -> None:
    if languages.voting or languages.chosen is None:
        for one in heard:
            languages.count(one)
    languages.decide()


def _settle(
    pending: Sequence[Window], heard: Mapping[int, WindowTranscript], ledger: Ledger, language: str | None, limit: int
) -> Iterator[Window]:
    """Record results; returns the windows that are still to be decoded, in order.

    A window that was heard in another language than the one chosen since is heard again.
    """
    rest: Window | None = None  # of the window before, into which this one is joined
    for window, following in zip(pending, [*pending[1:], None], strict=True):
        one = heard.get(window.start)
        if rest is not None:
            yield from rest.followed_by(window, limit)
            rest = None
        elif one is None or (language is not None and one.probabilities and one.language != language):
            yield window
        else:
            kept, again = judge(window, one.segments, one.thin, one.skipping)
            ledger.add(kept, fell_back=one.fell_back)
            left = _rest(window, one)
            goes_on = following is not None and following.joined and following.start == window.end
            again += passed_over(window, one.segments, window.end if left is None else left.start)
            yield from sorted(again, key=lambda stretch: stretch.start)
            if goes_on:
                rest = left
            elif left is not None and speech(left.regions) >= SHORTEST_SPEECH:
                yield left


def _rest(window: Window, heard: WindowTranscript) -> Window | None:
    """The part of a window after its last whole phrase, without the silence that it begins with."""
    resume = max(round(heard.resume * SAMPLE_RATE), window.start + 1)
    if window.end - resume < SHORTEST_REST:
        return None
    left = window.part(resume, window.end)
    spoken = left.regions
    if len(spoken) > 1 and spoken[0].start == resume and _trails_off(*spoken[:2]):
        spoken = spoken[1:]
    start = max(resume, spoken[0].start - PAD) if spoken else resume
    return left.part(start, left.end)


def _trails_off(region: Region, following: Region) -> bool:
    """Whether a region is the end of the phrase before it: short, and followed by a pause."""
    return region.end - region.start <= LONGEST_TAIL and following.start - region.end >= LONG_PAUSE
