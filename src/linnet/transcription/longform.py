"""Batched long-form: independent windows are recognized together and joined by time.

No speech must be lost at the edges: if a window's end cuts a phrase, or the model skips speech, the window is decoded
again from there; if speech continues without a pause for longer than a window, the next window waits for this one and
begins where its last complete phrase ended.
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

LONGEST_TAIL = SAMPLE_RATE // 2  # samples of speech after a phrase's last timestamp that still belong to it
VOTES = 8  # windows at the start of a recording that determine its language


@dataclass(frozen=True)
class WindowTranscript:
    """The transcript of one window; times in seconds of the recording."""

    segments: tuple[Segment, ...]
    resume: float  # decoding resumes from here; the window's end if it is complete
    fell_back: bool = False
    language: str | None = None
    probabilities: Mapping[str, float] | None = None  # of languages, if they were detected
    thin: tuple[Segment, ...] = ()  # segments with too few words for their speech: some may have been skipped
    skipping: tuple[Segment, ...] = ()  # those of them whose word times confirm it


class WindowRecognizer(Protocol):
    """The part of batched long-form that depends on the model."""

    def prepare(self, window: Window) -> Window:
        """Prepare a window in another thread."""
        ...

    def ask(self, window: Window, language: str | None, vote: Any) -> Request:
        """The request for a window; without a language, it is detected."""
        ...

    def read(self, window: Window, answer: Any) -> WindowTranscript:
        """Process the result of a window's request."""
        ...


class Languages:
    """The language of a recording, by the summed probabilities of its first windows with speech; or one per window."""

    def __init__(self, given: str | None, *, each: bool) -> None:
        self.chosen = given
        self.voting = given is None and not each
        self._sums: dict[str, float] = {}
        self._voices = 0
        self._first: str | None = None  # of windows with words
        self._wordless: str | None = None  # of windows with speech but without words

    def count(self, result: WindowTranscript) -> None:
        """Add the language probabilities of a window; those of windows without words count only if none has words."""
        if result.probabilities and result.segments:
            self._voices += 1
            self._first = self._first or result.language
            for code, probability in result.probabilities.items():
                self._sums[code] = self._sums.get(code, 0.0) + probability
        elif result.probabilities:
            self._wordless = self._wordless or result.language

    def decide(self) -> None:
        """Choose the language, if there was speech."""
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
        """The mean over the windows that voted; they sum to 1. None without votes."""
        return {code: total / self._voices for code, total in self._sums.items()} if self._voices else None


def batched(plan: WindowPlan, recognizer: WindowRecognizer, languages: Languages, *, limit: int, ahead: int) -> Job:
    """Recognize a recording, up to `ahead` windows at once; `limit` samples are one window."""
    ledger, covered, ends = Ledger(), 0, 0
    pending: list[Window] = []
    with Prefetch(map(recognizer.prepare, plan), max(ahead // 2, 1)) as coming:
        while True:
            fresh = list(islice(coming, max(ahead - len(pending), 0)))
            for window in fresh:  # planned windows do not overlap
                covered, ends = covered + len(window.samples), window.end
            pending += fresh
            ready = _ready(pending)[: VOTES if languages.voting else None]
            if not ready:
                break
            done = pending[0].start / SAMPLE_RATE
            requests = [recognizer.ask(window, languages.chosen, languages) for window in ready]
            answers = yield [replace(request, position=done) for request in requests]
            results = {one.start: recognizer.read(one, answer) for one, answer in zip(ready, answers, strict=True)}
            _vote(languages, list(results.values()))
            pending = list(_settle(pending, results, ledger, languages.chosen, limit))
    length = max(plan.length, ends)
    ledger.drop((length - covered) / SAMPLE_RATE)
    return ledger.outcome(length / SAMPLE_RATE, language=languages.best, probabilities=languages.probabilities)


def _ready(pending: Sequence[Window]) -> list[Window]:
    """Windows that do not wait for the one before them."""
    before = [None, *pending]
    return [
        window
        for window, last in zip(pending, before, strict=False)
        if not (window.joined and last is not None and last.end == window.start)
    ]


def _vote(languages: Languages, results: Sequence[WindowTranscript]) -> None:
    if languages.voting or languages.chosen is None:
        for one in results:
            languages.count(one)
    languages.decide()


def _settle(
    pending: Sequence[Window], results: Mapping[int, WindowTranscript], ledger: Ledger, language: str | None, limit: int
) -> Iterator[Window]:
    """Record results; returns the windows that are still to be decoded, in order.

    A window decoded in another language than the one chosen since is decoded again.
    """
    rest: Window | None = None  # of the window before, to which this one is joined
    for window, following in zip(pending, [*pending[1:], None], strict=True):
        one = results.get(window.start)
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


def _rest(window: Window, result: WindowTranscript) -> Window | None:
    """The part of a window after its last complete phrase, without leading silence."""
    resume = max(round(result.resume * SAMPLE_RATE), window.start + 1)
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
