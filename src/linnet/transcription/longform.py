"""Batched long-form: windows that do not depend on one another are recognised together and stitched by time.

Nothing that was said is to be lost at the edges: where a model says that a window's end cut a phrase, or passes over
speech, the window is heard again from there; where speech went on without a pause for longer than a window, the next
window waits to begin where the last whole phrase ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol

from linnet.audio.types import SAMPLE_RATE
from linnet.transcription.backend import Job, Request
from linnet.transcription.coverage import SHORTEST_SPEECH, SLACK, amount, speech, uncovered
from linnet.transcription.ledger import Ledger
from linnet.transcription.packing import PAD
from linnet.transcription.prefetch import Prefetch
from linnet.transcription.transcript import Segment
from linnet.transcription.windows import SHORTEST_REST, Window, WindowPlan

VOTES = 8  # windows at a recording's start that decide on its language


@dataclass(frozen=True)
class Heard:
    """What a model made of one window; times in seconds of the recording."""

    segments: tuple[Segment, ...]
    resume: float  # the window must be heard again from here; its end where all of it is done
    fell_back: bool = False
    language: str | None = None
    probabilities: Mapping[str, float] | None = None  # of languages, where it was to tell
    thin: tuple[Segment, ...] = ()  # those of the segments with too few words for their speech: some were skipped


class Listener(Protocol):
    """A model's side of batched long-form."""

    def prepare(self, window: Window) -> Window:
        """Do beforehand, in another thread, what can be done."""
        ...

    def ask(self, window: Window, language: str | None, vote: Any) -> Request:
        """The request for a window; without a language the model is to tell it."""
        ...

    def read(self, window: Window, answer: Any) -> Heard:
        """What the answer to a window's request says."""
        ...


class Languages:
    """One language for a recording, by the sum of the probabilities of its first windows with speech; or one each."""

    def __init__(self, given: str | None, *, each: bool) -> None:
        self.chosen = given
        self.voting = given is None and not each
        self._sums: dict[str, float] = {}
        self._voices = 0

    def count(self, heard: Heard) -> None:
        """Take the probabilities of a window with speech."""
        if heard.probabilities and heard.segments:
            self._voices += 1
            for code, probability in heard.probabilities.items():
                self._sums[code] = self._sums.get(code, 0.0) + probability

    def decide(self) -> None:
        """Choose, where there was speech at all."""
        if self.voting and self._sums:
            self.chosen, self.voting = self.best, False

    @property
    def best(self) -> str | None:
        """The language given, chosen or, where each window has its own, of the most."""
        return self.chosen or (max(self._sums, key=self._sums.__getitem__) if self._sums else None)

    @property
    def probabilities(self) -> dict[str, float] | None:
        """The mean over the windows that voted; they sum to 1. None where none did."""
        return {code: total / self._voices for code, total in self._sums.items()} if self._voices else None


def batched(plan: WindowPlan, listener: Listener, languages: Languages, *, limit: int, ahead: int) -> Job:
    """Recognise a recording, up to `ahead` windows at once; `limit` samples are one window."""
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


def _vote(languages: Languages, heard: Sequence[Heard]) -> None:
    if languages.voting or languages.chosen is None:
        for one in heard:
            languages.count(one)
    languages.decide()


def _settle(
    pending: Sequence[Window], heard: Mapping[int, Heard], ledger: Ledger, language: str | None, limit: int
) -> Iterator[Window]:
    """Book what was heard; the windows that are still to be heard, in order.

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
            kept, again = _check(window, one)
            ledger.add(kept, fell_back=one.fell_back)
            left = _rest(window, one)
            goes_on = following is not None and following.joined and following.start == window.end
            again += _passed_over(window, one, window.end if left is None else left.start)
            yield from sorted(again, key=lambda stretch: stretch.start)
            if goes_on:
                rest = left
            elif left is not None and speech(left.regions) >= SHORTEST_SPEECH:
                yield left


def _rest(window: Window, heard: Heard) -> Window | None:
    """The part of a window after its last whole phrase."""
    resume = max(round(heard.resume * SAMPLE_RATE), window.start + 1)
    return window.part(resume, window.end) if window.end - resume >= SHORTEST_REST else None


def _check(window: Window, heard: Heard) -> tuple[list[Segment], list[Window]]:
    """The segments of a window that stand, and what to hear again: segments with too few words for their speech.

    Of a stretch heard for the second time the hearing with more words stands. Where that, too, has too few, it is
    marked as doubtful.
    """
    if not window.again:
        kept = [one for one in heard.segments if one not in heard.thin]
        return kept, [_second_hearing(window, one, heard.segments) for one in heard.thin]
    if window.instead and _amount(heard.segments) <= _amount(window.instead):
        return [replace(one, doubtful=True) for one in window.instead], []
    return [replace(one, doubtful=one.doubtful or one in heard.thin) for one in heard.segments], []


def _amount(segments: Sequence[Segment]) -> float:
    return sum(amount(one.text) for one in segments)


def _second_hearing(window: Window, segment: Segment, segments: Sequence[Segment]) -> Window:
    """The stretch of one segment, up to the next one at most, with the speech that it begins or ends in."""
    after = min((one.start for one in segments if one.start >= segment.end), default=window.end / SAMPLE_RATE)
    start, end = round(segment.start * SAMPLE_RATE), round(segment.end * SAMPLE_RATE)
    end = min(max(end, start + SHORTEST_SPEECH) + PAD, round(after * SAMPLE_RATE), window.end)
    start = min(max(start, window.start), window.end - 1)
    return replace(window.part(start, max(end, start + 1)), again=True, instead=(segment,))


def _passed_over(window: Window, heard: Heard, end: int) -> Iterator[Window]:
    """Stretches before sample `end` with speech and no segment, in a window of which the model wrote down other speech.

    Each reaches from the segment before it to the one after it, at most a pad beyond its speech.
    """
    if window.again or not heard.segments:
        return
    said = [(round(one.start * SAMPLE_RATE), round(one.end * SAMPLE_RATE)) for one in heard.segments]
    for missed in uncovered(window.regions, heard.segments, window.start, end):
        lower = max((stop for _, stop in said if stop <= missed[0].start + SLACK), default=window.start)
        upper = min((start for start, _ in said if start >= missed[-1].end - SLACK), default=end)
        start, stop = max(missed[0].start - PAD, lower), min(missed[-1].end + PAD, upper, end)
        if stop - start >= SHORTEST_SPEECH:
            yield replace(window.part(start, stop), again=True)
