"""One stream: audio in, events out. No threads, no waiting; a clock only to tell how long the work took.

`push` does what is due at once. Whoever serves several sessions (`pool`) takes the steps apart instead: `take` audio,
`advance` to the next query, let a model `answer` the queries of all, `accept` the answer, fetch `events`.
What the events say depends on the audio alone, not on how it was cut into chunks.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from linnet.alignment.words import TimedWord
from linnet.audio.silero import FRAME
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.errors import OptionError
from linnet.streaming.activity import OFF, SECONDS, LiveActivity, SpeechTracker
from linnet.streaming.events import Bye, Error, Event, Final, Flushed, Partial, Ready, Reason, Stats, Vad
from linnet.streaming.events import Warning as Said
from linnet.streaming.guards import LEAST_SPEECH, cut_loop, is_credible
from linnet.streaming.options import StreamOptions
from linnet.streaming.policies import PAUSED, build_policy
from linnet.streaming.protocol import Hypothesis, Query, StreamingModel
from linnet.streaming.samples import checked
from linnet.streaming.segment import Segment
from linnet.text.words import without_spaces
from linnet.transcription.transcript import Word

PRE_ROLL = 0.5  # seconds before speech was found that are heard with it
_HELD = 160  # frames of the newest audio: 5 s, for the pre-roll and for a cut that lies back
LONGEST = 20.0  # seconds of a segment that a model cannot shorten, after which any short pause ends it
LEAST_ROOM = 2.0  # seconds that must fit into the model's window, or the segment is cut
CUT_WITHIN = 4.0  # seconds before the newest audio in which the cut is made
BEHIND, CAUGHT_UP = 1.0, 0.3  # seconds of waiting audio above which looks become rarer, and below which all is well
RAREST = 3.0  # seconds between looks, however far behind
KNOWN = 10.0  # seconds of words of one language after which the stream has it
_SENTENCE, _MARKS = ".!?。！？।", ".!?。！？।,;:、，；："


@dataclass(frozen=True)
class _Asked:
    """The query that an answer is awaited for: `reason` where all words become final with it, `cut` where they end."""

    segment: Segment
    silence: float
    reason: Reason | None = None
    cut: float | None = None


class StreamSession:
    """The state of one stream. `clock` gives seconds, for the time that the work takes."""

    def __init__(
        self,
        model: StreamingModel,
        options: StreamOptions | None = None,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Raises `OptionError` for a language or a prompt that the model cannot take."""
        self.options = options or StreamOptions()
        self.model = model
        self._clock = clock
        self._prompt = model.prompt(self.options.prompt) if self.options.prompt else ()
        model.begin(language=self.options.language, prompt=self._prompt)  # refuses what it cannot take, now
        self._activity, self._tracker = LiveActivity(), SpeechTracker()
        self._waiting: list[Samples] = []  # whole audio that is not heard yet
        self._held: deque[Samples] = deque(maxlen=_HELD)  # the newest frames that were
        self._quiet: deque[float] = deque(maxlen=round(CUT_WITHIN / SECONDS))  # their probabilities of speech
        self._samples = 0  # given
        self._floor = 0.0  # before it no segment begins: what is there has its words
        self._segment: Segment | None = None
        self._segments = 0
        self._speaking = False  # as said
        self._asked: _Asked | None = None
        self._ordered: Reason | None = None  # flush or stop
        self._events: list[Event] = []
        self._seq = 0
        self._partial = ""
        self._step = self.options.step
        self._behind = 0.0
        self._late = False  # as said
        self._damaged = False
        self._words, self._decodes, self._compute = 0, 0, 0.0
        self._reached = 0.0  # the end of the last final word
        self._ends_open = False  # whether the next final word needs a space before it
        self._languages: dict[str, float] = defaultdict(float)  # seconds of words in each
        self._marked = False  # whether the model writes punctuation
        self._told = 0.0  # when statistics were last sent
        self.closed = False

    # --- for one stream

    def start(self, notices: tuple[str, ...] = ()) -> list[Event]:
        """The first event."""
        self._say(
            Ready,
            model=self.model.name,
            engine=self.model.engine_name,
            policy=self.options.policy,
            language=self.options.language,
            notices=notices,
        )
        return self.events()

    def push(self, samples: Any, *, behind: float = 0.0) -> list[Event]:
        """Take mono audio at 16 kHz [N], floats within -1 to 1 or int16; `behind`: seconds that wait outside.

        Raises `OptionError` for anything else, and after the end.
        """
        self.take(samples, behind=behind)
        return self._run()

    def flush(self) -> list[Event]:
        """Make the words of all audio so far final; the stream goes on."""
        self.order("flush")
        return self._run()

    def finish(self) -> list[Event]:
        """End the stream; nothing may follow. Ends with `Stats` and `Bye`."""
        self.order("stop")
        return self._run()

    def fail(self, code: str, message: str) -> list[Event]:
        """End the stream with an error; what was final stays so."""
        if not self.closed:
            self._say(Error, code=code, message=message)
            self._close()
        return self.events()

    def warn(self, code: str, message: str) -> None:
        """Put a warning among the events."""
        self._say(Said, code=code, message=message)

    def _run(self) -> list[Event]:
        begun = self._clock()
        while (query := self.advance()) is not None:
            (heard,) = self.model.answer([query])
            self.accept(heard)
        self.charge(self._clock() - begun)
        return self.events()

    # --- for several together

    def take(self, samples: Any, *, behind: float = 0.0) -> None:
        """Take audio without doing anything about it. See `push`."""
        if self.closed or self._ordered == "stop":
            raise OptionError("this stream has ended: open another one")
        taken, damaged = checked(samples)
        if damaged and not self._damaged:
            self._damaged = True
            self.warn("samples", f"{damaged} samples are no numbers (NaN or infinite): silence is heard in their place")
        self._waiting.append(taken)
        self._samples += len(taken)
        self._behind = behind

    def order(self, what: Reason) -> None:
        """Ask for a `flush` or a `stop`, which come when all audio before is heard."""
        if self.closed or self._ordered:
            raise OptionError("this stream has ended: open another one")
        self._ordered = what

    def advance(self) -> Query | None:
        """Hear what waits up to the next query; None when all is heard, and what was ordered is done."""
        if self.closed:
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
        if cut is not None and not segment.warned:
            segment.warned = True
            self.warn("loop", "the model repeats itself; the repeats are left out")
        verdict = segment.take(cut or heard, asked.silence)
        speech = self._tracker.sure * SECONDS
        segment.credible = segment.credible or is_credible(segment.heard or heard, segment.avg_logprob(), speech)
        if not segment.credible:
            segment.drop_tail()
        if asked.reason is not None:
            self._end_segment(asked)
        else:
            count = verdict.final if segment.credible else 0
            self._finalize(segment, count, "stable")
            self._show(segment)
            if segment.window > self.options.window:
                segment.let_go()
        self._pace()

    def charge(self, seconds: float) -> None:
        """Add to the seconds of work."""
        self._compute += seconds

    def events(self) -> list[Event]:
        """The events since the last call."""
        events, self._events = self._events, []
        return events

    @property
    def waiting(self) -> float:
        """Seconds of audio that were taken and not heard yet."""
        return (self._samples - self._position) / SAMPLE_RATE

    @property
    def _position(self) -> int:
        return min(self._tracker.frames * FRAME, self._samples)

    @property
    def _now(self) -> float:
        return self._tracker.frames * SECONDS

    # --- hearing

    def _next_frame(self) -> bool:
        frame = self._frame()
        if frame is None:
            return False
        probability = self._activity.push(frame)
        self._tracker.push(probability)
        self._held.append(frame)
        self._quiet.append(probability)
        if self._segment is not None:
            self._segment.hear(frame)
        elif self._tracker.speaking and self._tracker.sure * SECONDS >= LEAST_SPEECH:
            self._open(max(self._tracker.onset * SECONDS - PRE_ROLL, self._floor))
        self._tell_speech()
        if self._now - self._told >= self.options.stats_every:
            self._tell_stats()
        return True

    def _frame(self) -> Samples | None:
        """The next 512 samples; at the end of the stream the rest of them, with silence behind."""
        count = sum(map(len, self._waiting))
        if count < FRAME and (self._ordered != "stop" or not count):
            return None
        whole = self._waiting[0] if len(self._waiting) == 1 else np.concatenate(self._waiting)
        self._waiting = [whole[FRAME:]] if count > FRAME else []
        return whole[:FRAME] if count >= FRAME else np.pad(whole, (0, FRAME - count))

    def _open(self, start: float, prompt: tuple[int, ...] = ()) -> None:
        """Begin a segment at a time of which the audio is still held."""
        frames = list(self._held)
        first = max(self._tracker.frames - len(frames), round(start / SECONDS))
        memory = self.model.begin(language=self._language(), prompt=(*self._prompt, *prompt))
        self._segment = Segment(self._segments, self.model, build_policy(self.options), memory, first * SECONDS)
        self._segments += 1
        kept = frames[len(frames) - (self._tracker.frames - first) :]
        if kept:
            self._segment.hear(np.concatenate(kept))

    def _language(self) -> str | None:
        """The language given, or the one that most of the stream so far is in, once that is known."""
        if self.options.language or not self._languages:
            return self.options.language
        code = max(self._languages, key=self._languages.__getitem__)
        return code if self._languages[code] >= KNOWN else None

    def _tell_speech(self) -> None:
        speaking = self._segment is not None and self._tracker.silence < PAUSED
        if speaking != self._speaking:
            self._speaking = speaking
            at = (
                self._tracker.onset * SECONDS if speaking and not self._tracker.silence else self._tracker.end * SECONDS
            )
            self._say(Vad, speaking=speaking, at=round(at, 3))

    # --- when to look

    def _due(self) -> Query | None:
        segment = self._segment
        if segment is None or self._asked is not None:
            return None
        silence = self._tracker.silence
        if silence >= PAUSED:
            if segment.looked < self._tracker.end * SECONDS + PAUSED:  # the first look after speech paused
                return self._ask(segment)
            if silence >= self._patience(segment):
                return self._at_endpoint(segment)
        elif self._now - segment.looked >= self._step:
            return self._ask(segment)
        if segment.room < LEAST_ROOM or (self._is_long(segment) and self._quiet[-1] < OFF):
            return self._ask(segment, "cap", self._cut(segment))
        return None

    def _ask(self, segment: Segment, reason: Reason | None = None, cut: float | None = None) -> Query:
        self._asked = _Asked(segment, self._tracker.silence, reason, cut)
        return segment.query(final=reason is not None)

    def _at_endpoint(self, segment: Segment) -> Query | None:
        """One more look where words are not final yet; else the segment just ends."""
        if segment.tail.words or (segment.credible and not segment.text):
            return self._ask(segment, "endpoint")
        self._end_segment(_Asked(segment, self._tracker.silence, "endpoint"))
        return None

    def _patience(self, segment: Segment) -> float:
        """Seconds of silence that end this segment."""
        rules, text = self.options.endpointing, segment.shown.rstrip()
        if not text:
            return rules.without_text
        if not self._marked and text[-1] not in _MARKS:
            return rules.pause
        return rules.after_sentence if text[-1] in _SENTENCE else rules.after_phrase

    def _is_long(self, segment: Segment) -> bool:
        return not segment.forgets and segment.window >= LONGEST

    def _cut(self, segment: Segment) -> float:
        """Where a segment that is too long ends: after the frame of the last seconds that is least like speech."""
        quiet = list(self._quiet)[-max(1, min(len(self._quiet), round((segment.window - 1.0) / SECONDS))) :]
        least = min(quiet)
        back = next(back for back, probability in enumerate(reversed(quiet)) if probability == least)
        return (self._tracker.frames - back) * SECONDS

    # --- what becomes of answers

    def _finalize(self, segment: Segment, count: int, reason: Reason, *, last: bool = False) -> None:
        words = segment.commit(count)
        if words or last:
            placed = tuple(self._place(word) for word in words)
            text = "".join(word.text for word in words)
            if text and self._ends_open and not text[0].isspace() and not without_spaces(text[0]):
                text = " " + text  # a model wrote none at the start of a segment
            if text:
                self._ends_open = last
                self._marked = self._marked or any(char in _MARKS for char in text)
            self._words += len(words)
            self._say(Final, segment=segment.index, text=text, words=placed, reason=reason, last=last)
        if words and segment.heard is not None and segment.heard.language:
            self._languages[segment.heard.language] += sum(word.end - word.start for word in words)

    def _place(self, word: TimedWord) -> Word:
        """A final word in the stream's time, after the one before it."""
        start = max(round(word.start, 3), self._reached)
        self._reached = max(round(word.end, 3), start)
        return Word(word.text.strip(), start, self._reached, word.probability, word.interpolated)

    def _show(self, segment: Segment) -> None:
        """Say what is not final, where that has changed."""
        stable, volatile = segment.tail.text
        key = f"{segment.index}\0{stable}\0{volatile}"
        if key == self._partial or (not stable + volatile and not self._partial.rpartition("\0")[2]):
            return
        self._partial = key
        words = tuple(
            Word(word.text.strip(), round(word.start, 3), round(word.end, 3), word.probability, word.interpolated)
            for word in segment.tail.words
        )
        lag = round(self.waiting + self._behind, 3)
        self._say(Partial, segment=segment.index, stable=stable, volatile=volatile, words=words, lag=lag)

    def _end_segment(self, asked: _Asked) -> None:
        """All words are final, up to the cut where the speech goes on behind it."""
        segment, reason = asked.segment, asked.reason or "stop"
        cut = asked.cut if asked.cut is not None else self._now
        words = [word for word in segment.tail.words if asked.cut is None or (word.start + word.end) / 2 < cut]
        segment.drop_tail(words)
        said = bool(segment.text or words)
        self._partial = ""
        if said:
            self._finalize(segment, len(words), reason, last=True)
        self._floor = cut if reason != "endpoint" else self._tracker.end * SECONDS
        self._segment = None
        if reason == "cap":
            self._open(cut, segment.committed if said else ())
        elif reason == "endpoint":
            self._tracker.restart()
        else:
            self._tracker.restart()
            self._tracker.speaking = False
        self._tell_speech()

    def _obey(self) -> Query | None:
        """All audio is heard: do what was ordered."""
        segment, what = self._segment, self._ordered
        if segment is not None:
            if segment.looked < self._now or segment.tail.words:
                return self._ask(segment, what)
            self._end_segment(_Asked(segment, self._tracker.silence, what))
        self._ordered = None
        if what == "stop":
            self._close()
        else:
            self._say(Flushed)
        return None

    # --- how it keeps up

    def _pace(self) -> None:
        """Look more rarely while audio waits."""
        if self._behind > BEHIND:
            self._step = min(2.0 * self._step, max(RAREST, self.options.step))
            if not self._late:
                self._late = True
                self.warn("lag", f"{self._behind:.1f} s of audio wait: words come later, and are looked at more rarely")
        elif self._behind < CAUGHT_UP:
            self._step, self._late = self.options.step, False

    def _tell_stats(self) -> None:
        self._told = self._now
        lag = round(self.waiting + self._behind, 3)
        compute = round(self._compute, 3)
        self._say(Stats, decodes=self._decodes, compute=compute, lag=lag, finals=self._words)

    def _close(self) -> None:
        self._tell_stats()
        self._say(Bye, words=self._words)
        self._events[-1] = replace(self._events[-1], time=self._samples / SAMPLE_RATE)
        self.closed = True
        self._segment, self._asked = None, None
        self._held.clear()
        self._waiting.clear()

    def _say(self, kind: type[Event], **fields: Any) -> None:
        self._events.append(kind(seq=self._seq, time=round(self._position / SAMPLE_RATE, 4), **fields))
        self._seq += 1
