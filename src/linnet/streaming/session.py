"""One stream: audio in, events out. No threads, no waiting; a clock only to tell how long the work took.

`push` does what is due at once. Whoever serves several sessions (`pool`) takes the steps apart instead: `take` audio,
`advance` to the next query, let a model `answer` the queries of all, `accept` the answer, fetch `events`.
What the events say depends on the audio alone, not on how it was cut into chunks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from linnet.audio.types import SAMPLE_RATE
from linnet.errors import OptionError
from linnet.streaming.activity import OFF, SECONDS, Activity
from linnet.streaming.events import Bye, Error, Event, Flushed, Ready, Reason, Stats, Vad
from linnet.streaming.events import Warning as Said
from linnet.streaming.guards import LEAST_SPEECH, cut_loop, is_credible
from linnet.streaming.intake import Intake
from linnet.streaming.options import StreamOptions
from linnet.streaming.policies import PAUSED, build_policy
from linnet.streaming.protocol import Hypothesis, Query, StreamingModel
from linnet.streaming.samples import checked
from linnet.streaming.segment import Segment
from linnet.streaming.telling import MARKS, SENTENCE, Teller

PRE_ROLL = 0.5  # seconds before speech was found that are heard with it
LONGEST = 20.0  # seconds of a segment that a model cannot shorten, after which any short pause ends it
LEAST_ROOM = 2.0  # seconds that must fit into the model's window, or the segment is cut
BEHIND, CAUGHT_UP = 1.0, 0.3  # seconds of waiting audio above which looks become rarer, and below which all is well
FAR = 2.0  # seconds after a segment within which the next one goes on in its window
RAREST = 3.0  # seconds between looks, however far behind


@dataclass(frozen=True)
class _Asked:
    """The query that an answer is awaited for: `reason` where all words become final with it, `cut` where they end."""

    segment: Segment
    silence: float
    reason: Reason | None = None
    cut: float | None = None


class StreamSession:
    """The state of one stream. `clock` gives seconds, for the time that the work takes; `activity` finds speech."""

    def __init__(
        self,
        model: StreamingModel,
        options: StreamOptions | None = None,
        *,
        clock: Callable[[], float] = time.perf_counter,
        activity: Activity | None = None,
    ) -> None:
        """Raises `OptionError` for a language or a prompt that the model cannot take."""
        self.options = options or StreamOptions()
        self.model = model
        self.behind = 0.0  # seconds of audio that wait, as far as known: looks become rarer then
        self.closed = False
        self._clock = clock
        self._prompt = model.prompt(self.options.prompt) if self.options.prompt else ()
        model.begin(language=self.options.language, prompt=self._prompt)  # refuses what it cannot take, now
        self._intake, self._teller = Intake(activity), Teller()
        self._segment: Segment | None = None
        self._last: Segment | None = None  # one that has ended, and in whose window the next may go on
        self._segments = 0
        self._floor = 0.0  # before it no segment begins: what is there has its words
        self._asked: _Asked | None = None
        self._ordered: Reason | None = None
        self._speaking = False  # as said
        self._said: set[str] = set()  # warnings that are said once
        self._step = self.options.step
        self._decodes, self._compute = 0, 0.0
        self._told = 0.0  # when statistics were last sent

    # --- for one stream

    def start(self, notices: tuple[str, ...] = ()) -> list[Event]:
        """The first event."""
        self.begin(notices)
        return self.events()

    def push(self, samples: Any, *, behind: float = 0.0) -> list[Event]:
        """Take mono audio at 16 kHz [N], floats within -1 to 1 or int16; `behind`: seconds that wait outside.

        Raises `OptionError` for anything else, and after the end.
        """
        self.behind = behind
        self.take(samples)
        return self._run()

    def flush(self) -> list[Event]:
        """Make the words of all audio so far final; the stream goes on."""
        self.order("flush")
        return self._run()

    def settle(self) -> list[Event]:
        """The same for a source that has gone silent, without a `Flushed`."""
        self.order("endpoint")
        return self._run()

    def finish(self) -> list[Event]:
        """End the stream; nothing may follow. Ends with `Stats` and `Bye`."""
        self.order("stop")
        return self._run()

    def fail(self, code: str, message: str) -> list[Event]:
        """End the stream with an error; what was final stays so."""
        self.end(code, message)
        return self.events()

    def _run(self) -> list[Event]:
        begun = self._clock()
        while (query := self.advance()) is not None:
            (heard,) = self.model.answer([query])
            self.accept(heard)
        worked = self._clock() - begun
        if worked < 0.0:
            self.warn("clock", "the clock was set back: the seconds of work are not right any more")
        self.charge(worked)
        return self.events()

    # --- for several together

    def begin(self, notices: tuple[str, ...] = ()) -> None:
        """Put the first event among the events."""
        self._say(
            Ready,
            model=self.model.name,
            engine=self.model.engine_name,
            policy=self.options.policy,
            language=self.options.language,
            notices=notices,
        )

    def take(self, samples: Any) -> None:
        """Take audio without doing anything about it. See `push`."""
        if self.closed or self._ordered == "stop":
            raise OptionError("this stream has ended: open another one")
        taken, damaged = checked(samples)
        self.repaired(damaged)
        self._intake.add(taken)

    def order(self, what: Reason) -> None:
        """Ask for a `flush` or a `stop`, which come when all audio before is heard, or for an `endpoint`.

        That is a flush without an answer of its own, for a source that has gone silent in the middle of speech.
        """
        if self.closed or self._ordered:
            raise OptionError("this stream has ended: open another one")
        self._ordered = what

    def advance(self) -> Query | None:
        """Hear what waits up to the next query; None when all is heard, and what was ordered is done."""
        if self.closed or self._asked is not None:
            return None
        while True:
            query = self._due()
            if query is not None:
                return query
            if not self._next_frame():
                break
        return self._obey() if self._ordered else None

    def accept(self, heard: Hypothesis) -> None:
        """Take the answer to the query that `advance` gave."""
        if self._asked is None:
            raise ValueError("nothing was asked")
        asked, self._asked = self._asked, None
        segment = asked.segment
        self._decodes += 1
        cut = cut_loop(segment.committed, heard)
        if cut is not None:
            self.warn(f"loop {segment.index}", "the model repeats itself; the repeats are left out")
        heard = cut or heard
        verdict = segment.take(heard, asked.silence)
        speech = self._intake.speech.sure * SECONDS
        segment.credible = segment.credible or is_credible(heard, segment.avg_logprob(), speech)
        if not segment.credible:
            segment.drop_tail()
        if asked.reason is not None:
            self._end_segment(asked)
        else:
            if segment.credible:
                self._finalize(segment, verdict.final, "stable")
            self._show(segment)
            if segment.window > self.options.window:
                segment.let_go()
        self._pace()

    def charge(self, seconds: float) -> None:
        """Add to the seconds of work."""
        self._compute += max(seconds, 0.0)

    def end(self, code: str, message: str) -> None:
        """End the stream with an error, which is left for `events` with all that was said before."""
        if not self.closed:
            self._say(Error, code=code, message=message)
            self._close()

    def repaired(self, count: int) -> None:
        """Say once that so many samples were no numbers."""
        if count:
            message = f"{count} samples are no numbers (NaN or infinite): silence is heard in their place"
            self.warn("samples", message)

    def warn(self, what: str, message: str) -> None:
        """Put a warning among the events, unless it is there already; the first word of `what` is its code."""
        if what not in self._said:
            self._said.add(what)
            self._say(Said, code=what.split(maxsplit=1)[0], message=message)

    def events(self) -> list[Event]:
        """The events since the last call."""
        return self._teller.fetch()

    @property
    def waiting(self) -> float:
        """Seconds of audio that were taken and not heard yet."""
        return self._intake.waiting

    # --- hearing

    def _next_frame(self) -> bool:
        intake = self._intake
        frame = intake.hear(last=self._ordered == "stop")
        if frame is None:
            return False
        if self._segment is not None:
            self._segment.hear(frame)
        elif intake.speech.speaking and intake.speech.sure * SECONDS >= LEAST_SPEECH:
            self._open(max(intake.speech.onset * SECONDS - PRE_ROLL, self._floor))
        self._tell_speech()
        if intake.now - self._told >= self.options.stats_every:
            self._tell_stats()
        return True

    def _open(self, start: float, before: tuple[int, ...] = ()) -> None:
        """Begin a segment at a time of which the audio is still held, `before` being the tokens said until then."""
        policy, last = build_policy(self.options), self._last
        if last is not None and start - last.now < FAR and last.room >= FAR + 2.0 * LEAST_ROOM:
            self._segment = last.follow(self._segments, policy)
            _, samples = self._intake.since(last.now)
        else:
            language = self.options.language or self._teller.language()
            memory = self.model.begin(language=language, prompt=(*self._prompt, *before))
            origin, samples = self._intake.since(start)
            self._segment = Segment(self._segments, self.model, policy, memory, origin)
        self._last = None
        self._segments += 1
        if len(samples):
            self._segment.hear(samples)

    def _tell_speech(self) -> None:
        speech = self._intake.speech
        speaking = self._segment is not None and speech.silence < PAUSED
        if speaking != self._speaking:
            self._speaking = speaking
            at = speech.onset if speaking else speech.end
            self._say(Vad, speaking=speaking, at=round(max(at * SECONDS, self._floor if speaking else 0.0), 3))

    # --- when to look

    def _due(self) -> Query | None:
        segment = self._segment
        if segment is None:
            return None
        speech, now = self._intake.speech, self._intake.now
        silence = speech.silence
        if silence >= PAUSED:
            if segment.looked < speech.end * SECONDS + PAUSED:  # the first look after speech paused
                return self._ask(segment, paused=True)
            if silence >= self._patience(segment):
                return self._at_endpoint(segment)
        elif now - segment.looked >= self._step:
            return self._ask(segment)
        long = not segment.forgets and segment.window >= LONGEST
        if segment.room < LEAST_ROOM or (long and self._intake.probability < OFF):
            return self._ask(segment, "cap", self._intake.cut(segment.window))
        return None

    def _ask(
        self, segment: Segment, reason: Reason | None = None, cut: float | None = None, *, paused: bool = False
    ) -> Query:
        """`paused`: all that was said is to be heard, although the segment may go on."""
        self._asked = _Asked(segment, self._intake.speech.silence, reason, cut)
        return segment.query(final=paused or reason is not None)

    def _at_endpoint(self, segment: Segment) -> Query | None:
        """One more look where words are not final yet; else the segment just ends."""
        if segment.tail.words:
            return self._ask(segment, "endpoint")
        self._end_segment(_Asked(segment, self._intake.speech.silence, "endpoint"))
        return None

    def _patience(self, segment: Segment) -> float:
        """Seconds of silence that end this segment."""
        rules, text = self.options.endpointing, segment.shown.rstrip()
        if not text:
            return rules.without_text
        if not self._teller.marked and text[-1] not in MARKS:
            return rules.pause
        return rules.after_sentence if text[-1] in SENTENCE else rules.after_phrase

    # --- what becomes of answers

    def _finalize(self, segment: Segment, count: int, reason: Reason, *, last: bool = False) -> None:
        words = segment.commit(count)
        if words or last:
            language = segment.heard.language if segment.heard else None
            self._teller.final(self._time, segment.index, words, language, reason, last=last)

    def _show(self, segment: Segment) -> None:
        lag = max(self.waiting, self.behind)
        self._teller.partial(self._time, segment.index, segment.tail.words, segment.tail.stable, lag)

    def _end_segment(self, asked: _Asked) -> None:
        """All words are final, up to the cut where the speech goes on behind it."""
        segment, reason, intake = asked.segment, asked.reason or "stop", self._intake
        cut = intake.now if asked.cut is None else asked.cut
        segment.drop_tail([word for word in segment.tail.words if (word.start + word.end) / 2 < cut])
        said = bool(segment.text or segment.tail.words)
        if said:
            self._finalize(segment, len(segment.tail.words), reason, last=True)
        self._show(segment)
        self._segment = None
        self._floor = intake.speech.end * SECONDS if reason == "endpoint" and not self._ordered else cut
        if reason != "cap" and said and self.model.carries:
            self._last = segment
        if reason == "cap":
            self._open(cut, segment.committed if said else ())
        self._tell_speech()
        if reason != "cap":
            intake.speech.restart()

    def _obey(self) -> Query | None:
        """All audio is heard: do what was ordered."""
        segment, what = self._segment, self._ordered
        if segment is not None:
            if segment.looked < self._intake.now or segment.tail.words:
                return self._ask(segment, what)
            self._end_segment(_Asked(segment, self._intake.speech.silence, what))
        self._ordered = None
        if what == "stop":
            self._close()
        elif what == "flush":
            self._say(Flushed)
        return None

    # --- how it keeps up

    def _pace(self) -> None:
        """Look more rarely while audio waits."""
        if self.behind > BEHIND:
            self._step = min(2.0 * self._step, max(RAREST, self.options.step))
            late = f"{self.behind:.1f} s of audio wait: words come later, and are looked at more rarely"
            self.warn("lag", late)
        elif self.behind < CAUGHT_UP:
            self._step = self.options.step
            self._said.discard("lag")

    def _tell_stats(self) -> None:
        self._told = self._intake.now
        lag, compute = round(max(self.waiting, self.behind), 3), round(self._compute, 3)
        self._say(Stats, decodes=self._decodes, compute=compute, lag=lag, finals=self._teller.words)

    def _close(self) -> None:
        self._tell_stats()
        self._teller.say(Bye, self._intake.given / SAMPLE_RATE, words=self._teller.words)
        self.closed = True
        self._segment, self._last, self._asked = None, None, None
        self._intake.clear()

    @property
    def _time(self) -> float:
        return round(self._intake.position / SAMPLE_RATE, 4)

    def _say(self, kind: type[Event], **fields: Any) -> None:
        self._teller.say(kind, self._time, **fields)
