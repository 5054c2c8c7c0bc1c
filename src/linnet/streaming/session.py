"""One stream: audio in, events out. No threads and no waiting; the clock only measures computation.

`push` processes audio immediately. A server of several sessions (`pool`) uses the single steps instead: `take` audio,
`advance` to the next query, let a model `answer` the queries of all, `accept` the hypothesis, fetch `events`.
Events depend on the audio alone, not on how it is chunked.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from linnet.audio.types import SAMPLE_RATE
from linnet.errors import LinnetError, OptionError
from linnet.streaming.activity import OFF, PAUSED, SECONDS, Activity
from linnet.streaming.event_writer import MARKS, SENTENCE, EventWriter
from linnet.streaming.events import Bye, Error, Event, Flushed, Ready, Reason, Stats, Vad
from linnet.streaming.events import Warning as StreamWarning
from linnet.streaming.guards import LEAST_SPEECH, cut_loop, is_credible
from linnet.streaming.intake import Intake
from linnet.streaming.options import StreamOptions
from linnet.streaming.policies import build_policy
from linnet.streaming.protocol import Hypothesis, Query, StreamingModel
from linnet.streaming.samples import checked
from linnet.streaming.segment import Segment

PRE_ROLL = 0.5  # seconds before the detected onset that belong to the segment
LONGEST = 20.0  # seconds of a segment that the model cannot shorten; then any short pause ends it
SHORTEST_WINDOW = 1.0  # seconds of a segment before which it is not cut
LEAST_ROOM = 2.0  # seconds that must still fit into the model's window, else the segment is cut
BEHIND, CAUGHT_UP = 1.0, 0.3  # seconds of waiting audio: decode less often above, normally below
FAR = 2.0  # seconds after a segment within which the next one continues its window
RAREST = 3.0  # longest step in seconds, however far behind


def failure(error: Exception) -> tuple[str, str]:
    """The code and message of the `Error` event for an exception."""
    if isinstance(error, LinnetError):
        return "model", str(error)
    return "internal", f"{type(error).__name__}: {error}"


@dataclass(frozen=True)
class _PendingQuery:
    """The query whose answer is pending; `reason`: all words become final with it, up to `cut`."""

    segment: Segment
    silence: float
    reason: Reason | None = None
    cut: float | None = None


class StreamSession:
    """The state of one stream. `clock` returns seconds, to measure computation; `activity` detects speech."""

    def __init__(
        self,
        model: StreamingModel,
        options: StreamOptions | None = None,
        *,
        clock: Callable[[], float] = time.perf_counter,
        activity: Activity | None = None,
    ) -> None:
        """Raises `OptionError` for a language or a prompt that the model does not support."""
        self.options = options or StreamOptions()
        self.timing = self.options.timing(model.timing)
        self.model = model
        self.behind = 0.0  # seconds of audio waiting, as far as known: the step grows with it
        self.closed = False
        self._clock = clock
        self._prompt = model.prompt(self.options.prompt) if self.options.prompt else ()
        model.begin(language=self.options.language, prompt=self._prompt)  # raises for unsupported options now
        self._intake, self._writer = Intake(activity), EventWriter()
        self._segment: Segment | None = None
        self._last: Segment | None = None  # the previous one, whose window the next may continue
        self._segments = 0
        self._floor = 0.0  # no segment starts before it: that audio is transcribed
        self._pending: _PendingQuery | None = None
        self._orders: deque[Reason] = deque()
        self._speaking = False  # as last reported
        self._warned: set[str] = set()  # warnings already emitted
        self._step = self.timing.step
        self._decodes, self._compute = 0, 0.0
        self._stats_sent = 0.0  # time of the last `Stats`

    # --- for one stream

    def start(self, notices: tuple[str, ...] = ()) -> list[Event]:
        """Return the first event."""
        self.begin(notices)
        return self.events()

    def push(self, samples: Any, *, behind: float = 0.0) -> list[Event]:
        """Process mono audio at 16 kHz [N], floats within -1 to 1 or int16; `behind`: seconds waiting elsewhere.

        Raises `OptionError` for anything else, and after the end of the stream.
        """
        self.behind = behind
        self.take(samples)
        return self._run()

    def flush(self) -> list[Event]:
        """Finalize the words of all audio so far; the stream continues."""
        self.order("flush")
        return self._run()

    def settle(self) -> list[Event]:
        """Finalize likewise for a source that stalls, without emitting `Flushed`."""
        self.order("endpoint")
        return self._run()

    def finish(self) -> list[Event]:
        """End the stream; the last events are `Stats` and `Bye`."""
        self.order("stop")
        return self._run()

    def fail(self, code: str, message: str) -> list[Event]:
        """End the stream with an error; earlier finals stay valid."""
        self.end(code, message)
        return self.events()

    def _run(self) -> list[Event]:
        begun = self._clock()
        while (query := self.advance()) is not None:
            (hypothesis,) = self.model.answer([query])
            self.accept(hypothesis)
        worked = self._clock() - begun
        if worked < 0.0:
            self.warn("clock", "the clock went backwards: the reported seconds of computation are wrong")
        self.charge(worked)
        return self.events()

    # --- for several together

    def begin(self, notices: tuple[str, ...] = ()) -> None:
        """Emit `Ready`."""
        self._emit(
            Ready,
            model=self.model.name,
            engine=self.model.engine_name,
            policy=self.options.policy,
            language=self.options.language,
            notices=notices,
        )
        if self.options.prompt and not self._prompt:
            self.warn("prompt", f"{self.model.name} takes no prompt: it is ignored")

    def take(self, samples: Any) -> None:
        """Receive audio without processing it. See `push`."""
        if self.closed or "stop" in self._orders:
            raise OptionError("this stream has ended: open another one")
        taken, damaged = checked(samples)
        self.repaired(damaged)
        self._intake.add(taken)

    def order(self, what: Reason) -> None:
        """Request a `flush` or a `stop`, carried out in turn once all audio is processed, or an `endpoint`.

        An `endpoint` is a flush without a `Flushed`, for a source that stalls in the middle of speech.
        """
        if self.closed or "stop" in self._orders:
            raise OptionError("this stream has ended: open another one")
        self._orders.append(what)

    def advance(self) -> Query | None:
        """Process audio up to the next query; None once all audio is processed and all requests are carried out."""
        if self.closed or self._pending is not None:
            return None
        while not self.closed:
            query = self._due()
            if query is None and not self._next_frame():
                if not self._orders:
                    return None
                query = self._carry_out()
            if query is not None:
                return query
        return None

    def accept(self, hypothesis: Hypothesis) -> None:
        """Process the hypothesis for the query that `advance` returned."""
        if self._pending is None:
            raise ValueError("no query is pending")
        pending, self._pending = self._pending, None
        segment = pending.segment
        self._decodes += 1
        cut = cut_loop(segment.committed, hypothesis)
        if cut is not None:
            self.warn(f"loop {segment.index}", "the model repeats itself; repetitions are dropped")
        hypothesis = cut or hypothesis
        decision = segment.take(hypothesis, pending.silence)
        speech = self._intake.speech.sure * SECONDS
        segment.credible = segment.credible or is_credible(hypothesis, segment.avg_logprob(), speech)
        if not segment.credible:
            segment.drop_tail()
        if pending.reason is not None:
            self._end_segment(pending)
        else:
            if segment.credible:
                self._finalize(segment, decision.final, "stable")
            self._show(segment)
            if segment.window > self.options.window:
                segment.let_go()
        self._pace()

    def charge(self, seconds: float) -> None:
        """Add seconds of computation."""
        self._compute += max(seconds, 0.0)

    def end(self, code: str, message: str) -> None:
        """End the stream with an error, which `events` returns after all earlier events."""
        if not self.closed:
            self._emit(Error, code=code, message=message)
            self._close()

    def repaired(self, count: int) -> None:
        """Warn once that `count` samples were NaN or infinite."""
        if count:
            message = f"{count} samples are NaN or infinite: replaced by silence"
            self.warn("samples", message)

    def warn(self, what: str, message: str) -> None:
        """Emit a warning unless it was emitted before; the first word of `what` is its code."""
        if what not in self._warned:
            self._warned.add(what)
            self._emit(StreamWarning, code=what.split(maxsplit=1)[0], message=message)

    def events(self) -> list[Event]:
        """Return the events since the last call."""
        return self._writer.fetch()

    @property
    def waiting(self) -> float:
        """Seconds of audio received and not processed yet."""
        return self._intake.waiting

    # --- processing audio

    def _next_frame(self) -> bool:
        intake = self._intake
        frame = intake.next_frame(last=self._ordered == "stop")
        if frame is None:
            return False
        if self._segment is not None:
            self._segment.add_audio(frame)
        elif intake.speech.speaking and intake.speech.sure * SECONDS >= LEAST_SPEECH:
            self._open(max(intake.speech.onset * SECONDS - PRE_ROLL, self._floor))
        self._report_speech()
        if intake.now - self._stats_sent >= self.options.stats_every:
            self._report_stats()
        return True

    def _open(self, start: float, before: tuple[int, ...] = (), *, echo: tuple[str, ...] = ()) -> None:
        """Start a segment at `start`, whose audio is still kept.

        `before` holds the preceding tokens, `echo` the words just before a cut, which may be heard again behind it.
        """
        policy, last = build_policy(self.options, self.timing), self._last
        if last is not None and start - last.now < FAR and last.room >= FAR + 2.0 * LEAST_ROOM:
            self._segment = last.follow(self._segments, policy)
            _, samples = self._intake.since(last.now)
        else:
            language = self.options.language or self._writer.language()
            memory = self.model.begin(language=language, prompt=(*self._prompt, *before))
            origin, samples = self._intake.since(start)
            self._segment = Segment(self._segments, self.model, policy, memory, origin, echo=echo)
        self._last = None
        self._segments += 1
        if len(samples):
            self._segment.add_audio(samples)

    def _report_speech(self) -> None:
        speech = self._intake.speech
        speaking = self._segment is not None and speech.silence < PAUSED
        if speaking != self._speaking:
            self._speaking = speaking
            at = speech.resumed if speaking else speech.end
            self._emit(Vad, speaking=speaking, at=round(max(at * SECONDS, self._floor if speaking else 0.0), 3))

    # --- when to decode

    def _due(self) -> Query | None:
        segment = self._segment
        if segment is None:
            return None
        speech = self._intake.speech
        silence = speech.silence
        if silence >= PAUSED:
            if segment.decoded_until < speech.end * SECONDS + PAUSED:  # the first decode after speech paused
                return self._ask(segment, paused=True)
            if silence >= self._patience(segment):
                return self._at_endpoint(segment)
        elif segment.news >= self._step - 1e-6:
            return self._ask(segment)
        long = not segment.forgets and segment.window >= LONGEST
        if segment.room < LEAST_ROOM or (long and self._intake.probability < OFF):
            after = max(segment.origin + SHORTEST_WINDOW, segment.final_until)  # else final words come twice
            return self._ask(segment, "cap", self._intake.cut(after))
        return None

    def _ask(
        self, segment: Segment, reason: Reason | None = None, cut: float | None = None, *, paused: bool = False
    ) -> Query:
        """`paused`: every word is needed, although the segment may continue."""
        self._pending = _PendingQuery(segment, self._intake.speech.silence, reason, cut)
        return segment.query(final=paused or reason is not None)

    def _at_endpoint(self, segment: Segment) -> Query | None:
        """Decode once more if words are not final yet; otherwise end the segment."""
        if segment.tail.words:
            return self._ask(segment, "endpoint")
        self._end_segment(_PendingQuery(segment, self._intake.speech.silence, "endpoint"))
        return None

    def _patience(self, segment: Segment) -> float:
        """Seconds of silence that end this segment."""
        rules, text = self.options.endpointing, segment.shown.rstrip()
        if not text:
            return rules.without_text
        if not self._writer.marked and text[-1] not in MARKS:
            return rules.pause
        return rules.after_sentence if text[-1] in SENTENCE else rules.after_phrase

    # --- processing hypotheses

    def _finalize(self, segment: Segment, count: int, reason: Reason, *, last: bool = False) -> None:
        words = segment.commit(count)
        if words or last:
            language = segment.hypothesis.language if segment.hypothesis else None
            self._writer.final(self._time, segment.index, words, language, reason, last=last)

    def _show(self, segment: Segment) -> None:
        lag = max(self.waiting, self.behind)
        self._writer.partial(self._time, segment.index, segment.tail.words, segment.tail.stable, lag)

    def _end_segment(self, pending: _PendingQuery) -> None:
        """Finalize all words, up to the cut if speech continues after it."""
        segment, reason, intake = pending.segment, pending.reason or "stop", self._intake
        cut = intake.now if pending.cut is None else pending.cut
        segment.drop_tail([word for word in segment.tail.words if (word.start + word.end) / 2 < cut])
        any_text = bool(segment.shown)
        if any_text:
            self._finalize(segment, len(segment.tail.words), reason, last=True)
        self._show(segment)
        self._segment = None
        self._floor = intake.speech.end * SECONDS if reason == "endpoint" and not self._ordered else cut
        if reason != "cap" and any_text and self.model.carries:
            self._last = segment
        if reason == "cap":
            self._open(cut, segment.committed if any_text else (), echo=segment.last_words(cut))
        self._report_speech()
        if reason != "cap":
            intake.speech.restart()

    def _carry_out(self) -> Query | None:
        """Carry out the next request, now that all audio is processed, or return the query that it needs first."""
        segment, what = self._segment, self._orders[0]
        if segment is not None:
            if segment.decoded_until < self._intake.now - 1e-6 or segment.tail.words:
                return self._ask(segment, what)
            self._end_segment(_PendingQuery(segment, self._intake.speech.silence, what))
        self._orders.popleft()
        if what == "stop":
            self._close()
        elif what == "flush":
            self._emit(Flushed)
        return None

    # --- keeping up

    def _pace(self) -> None:
        """Decode less often while audio is waiting."""
        if self.behind > BEHIND:
            self._step = min(2.0 * self._step, max(RAREST, self.timing.step))
            message = f"{self.behind:.1f} s of audio are waiting: words are delayed, and decoding is less frequent"
            self.warn("lag", message)
        elif self.behind < CAUGHT_UP:
            self._step = self.timing.step
            self._warned.discard("lag")

    def _report_stats(self) -> None:
        self._stats_sent = self._intake.now
        lag, compute = round(max(self.waiting, self.behind), 3), round(self._compute, 3)
        self._emit(Stats, decodes=self._decodes, compute=compute, lag=lag, finals=self._writer.words)

    def _close(self) -> None:
        self._report_stats()
        self._writer.emit(Bye, self._intake.given / SAMPLE_RATE, words=self._writer.words)
        self.closed = True
        self._segment, self._last, self._pending = None, None, None
        self._intake.clear()

    @property
    def _ordered(self) -> Reason | None:
        """The request to carry out next."""
        return self._orders[0] if self._orders else None

    @property
    def _time(self) -> float:
        return round(self._intake.position / SAMPLE_RATE, 4)

    def _emit(self, kind: type[Event], **fields: Any) -> None:
        self._writer.emit(kind, self._time, **fields)
