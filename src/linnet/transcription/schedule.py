"""Run jobs of one or several recordings together, with shared batches of windows.

A job (see `transcription.backend`) is a generator that yields windows to recognize and receives the results.
"""

from __future__ import annotations

import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from linnet.audio.source import AudioSource, is_source, open_audio
from linnet.audio.types import Audio
from linnet.closing import Closing
from linnet.errors import AudioError, LinnetError, ModelError, OptionError
from linnet.transcription.backend import Backend, Job, Outcome, Request
from linnet.transcription.feed import Feed
from linnet.transcription.journal import SHORTEST, Journal
from linnet.transcription.options import TranscriptionOptions
from linnet.transcription.transcript import Transcript
from linnet.urls import public_name

BATCH_SIZE = 8  # default windows per batch: most of the gain at a bounded memory for encoder results
_REPORT = "and report it as a defect of Linnet"
_LEAST_AHEAD = 8  # windows that a job may hold even for small batches


@dataclass(frozen=True)
class Recording:
    """A recording to open when it is its turn, with its own options of `audio.open_audio`.

    `journal` creates the journal of its windows if it is long.
    """

    sound: Any
    channel: str = "mix"
    track: int | None = None
    journal: Callable[[], Journal] | None = None
    sample_rate: int | None = None  # Hz, of arrays

    def open(self) -> AudioSource:
        """The recording as an open source. Raises `AudioError`, `OptionError`."""
        if is_source(self.sound):
            return self.sound
        return open_audio(self.sound, channel=self.channel, sample_rate=self.sample_rate, track=self.track)

    def name(self, index: int, source: AudioSource | None = None) -> str:
        """Its name for messages; the position for unnamed inputs (arrays, bytes)."""
        if source is not None and (source is self.sound or isinstance(self.sound, str | os.PathLike | Audio)):
            return source.name
        if isinstance(self.sound, str | os.PathLike):
            return public_name(os.fspath(self.sound))
        return f"{'sound' if source is None else source.name} {index}"


@dataclass(frozen=True)
class Progress:
    """The progress of one recording: seconds of audio done, and in total if known."""

    index: int
    source: str
    position: float
    duration: float | None


@dataclass(frozen=True)
class Result:
    """The result of one recording: a transcript, or the error that stopped it."""

    index: int  # its position among the inputs
    source: Any  # as given
    name: str
    duration: float = 0.0  # seconds of audio
    seconds: float = 0.0  # of computation; a batch's time is shared equally among its windows
    outcome: Outcome | None = None
    transcript: Transcript | None = None
    error: LinnetError | None = None
    notices: tuple[str, ...] = ()


@dataclass
class _Running:
    index: int
    given: Any
    name: str
    source: AudioSource
    job: Job
    journal: Journal | None = None
    requests: Sequence[Request] = ()  # unanswered requests
    answers: list[Any] = field(default_factory=list)
    outcome: Outcome | None = None
    error: LinnetError | None = None
    seconds: float = 0.0
    notices: tuple[str, ...] = ()

    def resume(self, answers: Any) -> None:
        """Send results (None to begin) and keep the next requests, the outcome or the error."""
        begun = time.perf_counter()
        self.requests = ()
        try:
            self.requests = self.job.send(answers)
        except StopIteration as stop:
            self.outcome = stop.value
        except Exception as error:  # noqa: BLE001 - whatever it is, the other recordings go on
            self.error = _failure(self.source.name, error)
        self.answers = [None] * len(self.requests)
        self.seconds += time.perf_counter() - begun

    def fail(self, error: LinnetError) -> None:
        self.requests, self.error = (), error

    def close(self) -> None:
        self.job.close()
        self.source.close()
        if self.journal is not None:
            self.journal.close()

    def result(self) -> Result:
        said = self.outcome.notices if self.outcome is not None else ()
        if self.journal is not None and self.journal.broken:
            said = (*said, f"its journal could not be written ({self.journal.broken}).")
        return Result(
            index=self.index,
            source=self.given,
            name=self.name,
            duration=self.source.duration or 0.0,
            seconds=self.seconds,
            outcome=self.outcome,
            error=self.error,
            notices=(*self.source.notices, *self.notices, *said),
        )


class _PendingRequest(NamedTuple):
    """One request and its recording."""

    one: _Running
    place: int
    request: Request


class Scheduler(Closing):
    """Transcribes several recordings on one model with shared batches of `batch_size` windows.

    `submit` begins a recording; each `step` runs all requested windows and returns the results of finished recordings,
    in no fixed order. If a batch does not fit into memory, it and all later ones are halved. Results do not depend on
    batching. Use it from one thread, in a `with` block or until `close`.
    """

    def __init__(
        self,
        backend: Backend,
        batch_size: int,
        *,
        template: Recording | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._backend, self._batch_size = backend, batch_size
        self._template, self._on_progress = template or Recording(None), on_progress
        self._batches = _Batches(backend, batch_size)
        self._running: dict[int, _Running] = {}  # by index
        self._ended: list[Result] = []
        self._submitted = 0

    @property
    def room(self) -> int:
        """The number of windows missing in a full batch; 0 or less if another recording would have to wait."""
        return self._batch_size - sum(max(len(one.requests), 1) for one in self._running.values())

    @property
    def busy(self) -> bool:
        """Whether any recording is in progress."""
        return bool(self._running)

    def submit(self, source: Any, options: TranscriptionOptions) -> int:
        """Begin a recording, which may be a `Recording`; returns its index, from 0, which identifies its `Result`.

        A recording that cannot be opened has a result with the error immediately. Raises `OptionError` for options that
        the model does not support.
        """
        index, begun = self._submitted, time.perf_counter()
        self._submitted += 1
        recording = source if isinstance(source, Recording) else replace(self._template, sound=source)
        try:
            opened = recording.open()
        except Exception as error:  # noqa: BLE001 - whatever it is, the other recordings go on
            name, took = recording.name(index), time.perf_counter() - begun
            self._ended.append(Result(index, source, name=name, error=_failure(name, error), seconds=took))
            return index
        took = time.perf_counter() - begun  # loading the model is not computation for this recording
        try:
            job = self._backend.job(opened, options, ahead=self._batches.ahead)
        except BaseException:
            opened.close()
            raise
        one = _Running(index, source, recording.name(index, opened), opened, job, seconds=took)
        self._running[index] = one
        if recording.journal is not None and (opened.duration or SHORTEST) >= SHORTEST:
            one.journal = recording.journal()
        one.resume(None)
        return index

    def step(self) -> list[Result]:
        """Run all requested windows and continue their recordings; returns the results of finished ones."""
        self._batches.answer(self._running.values())
        for one in list(self._running.values()):
            if one.index not in self._running:
                continue  # canceled by `on_progress`
            if one.error is None and one.requests:
                one.resume(one.answers)
            self._report(one)
        for one in [one for one in self._running.values() if not one.requests]:
            del self._running[one.index]
            one.close()
            self._ended.append(one.result())
        return self.ended()

    def ended(self) -> list[Result]:
        """Results that were not returned yet, without running anything."""
        given, self._ended = self._ended, []
        return given

    def cancel(self, index: int) -> None:
        """Cancel a recording: it is closed without a result. A finished one is not affected."""
        if (one := self._running.pop(index, None)) is not None:
            one.close()

    def close(self) -> None:
        """Cancel all recordings in progress."""
        for index in list(self._running):
            self.cancel(index)

    def _report(self, one: _Running) -> None:
        if self._on_progress is not None:
            done = one.requests[0].position if one.requests else one.source.duration or 0.0
            self._on_progress(Progress(one.index, one.name, done, one.source.duration))


def run_jobs(
    backend: Backend,
    sources: Iterable[Any],
    options: TranscriptionOptions,
    batch_size: int,
    *,
    template: Recording | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Iterator[Result]:
    """Recognize recordings with batches of `batch_size` windows; yields each as it is done, in no fixed order.

    A recording begins when the ones before it leave room in a batch. A slow generator of sources does not delay running
    recordings (see `feed.Feed`); an error in it ends the sources and is raised after the running ones are done. Sources
    other than a `Recording` are opened with the options of `template`.
    """
    with (
        Scheduler(backend, batch_size, template=template, on_progress=on_progress) as scheduler,
        Feed(sources, _discard) as feed,
    ):
        while True:
            while scheduler.room > 0 and (item := feed.take(wait=not scheduler.busy)) is not None:
                scheduler.submit(*item, options)
                yield from scheduler.ended()
            if not scheduler.busy:
                feed.check()
                return
            feed.ask(scheduler.room)
            yield from scheduler.step()


def _discard(given: Any) -> None:
    """Close an open source that will not be submitted."""
    sound = given.sound if isinstance(given, Recording) else given
    if is_source(sound):
        sound.close()


def in_order(results: Iterable[Result]) -> Iterator[Result]:
    """Yield results in the order of their inputs, each as soon as those before it are done."""
    early: dict[int, Result] = {}
    wanted = 0
    for result in results:
        early[result.index] = result
        while wanted in early:
            yield early.pop(wanted)
            wanted += 1


def _failure(name: str, error: Exception, *, of_model: bool = False) -> LinnetError:
    """The error for a recording's result, caused by the audio or `of_model`; other recordings continue."""
    if isinstance(error, LinnetError):
        return error
    what = f"{type(error).__name__}: {error}"
    failure: LinnetError
    if of_model:
        failure = ModelError(f"{name}: the model failed on it ({what}); try another --engine, {_REPORT}")
    else:
        way_out = "exclude it or convert it, as in  ffmpeg -i INPUT out.flac"
        failure = AudioError(f"{name}: cannot be transcribed ({what}); {way_out}, {_REPORT}")
    failure.__cause__ = error  # for --verbose
    return failure


class _Batches:
    """Runs windows of one group in batches of similar length; if a batch exceeds the memory, all later ones are
    halved."""

    def __init__(self, backend: Backend, size: int) -> None:
        self._backend, self._size = backend, size
        self._told: tuple[_Running, int] | None = None  # the recording with the notice, and the failed size
        self.ahead = max(2 * size, _LEAST_AHEAD)

    def answer(self, running: Iterable[_Running]) -> None:
        """Answer all open requests, from the recording's journal if it has the result."""
        groups: dict[Hashable, list[_PendingRequest]] = defaultdict(list)
        for one in running:
            if one.journal is not None:
                one.answers = [one.journal.recall(request, self._backend.answer) for request in one.requests]
            for place, (request, answer) in enumerate(zip(one.requests, one.answers, strict=True)):
                if answer is None:
                    groups[request.group].append(_PendingRequest(one, place, request))
        for group in groups.values():
            self.run(sorted(group, key=lambda asked: -len(asked.request.samples)))

    def run(self, group: Sequence[_PendingRequest]) -> None:
        """Answer these requests, the longest first, so that the largest memory is needed first."""
        left = list(group)
        while left := [asked for asked in left if asked.one.error is None]:
            batch = left[: self._size]
            try:
                self._answer(batch)
            except OptionError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever a model raises, other recordings go on
                if _is_memory(error):
                    self._shrink(batch)
                    continue
                self._fail(batch, error)
            left = left[len(batch) :]

    def _fail(self, batch: Sequence[_PendingRequest], error: Exception) -> None:
        """Fail the recordings of a batch; if the failing one is unknown, each is tried separately first."""
        if len(batch) > 1 and not isinstance(error, LinnetError):
            for asked in batch:
                self.run([asked])
            return
        for asked in batch:
            asked.one.fail(_failure(asked.one.name, error, of_model=True))

    def _answer(self, batch: Sequence[_PendingRequest]) -> None:
        begun = time.perf_counter()
        answers = self._backend.run([asked.request for asked in batch])
        share = (time.perf_counter() - begun) / len(batch)
        for asked, answer in zip(batch, answers, strict=True):
            asked.one.answers[asked.place] = answer
            asked.one.seconds += share
            if asked.one.journal is not None:
                asked.one.journal.keep(asked.request, answer)

    def _shrink(self, batch: Sequence[_PendingRequest]) -> None:
        """Halve the batch size, or fail a recording if not even one of its windows fits."""
        if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()
        one = batch[0].one
        if len(batch) == 1:
            one.fail(ModelError("out of memory with a single window: choose a smaller model or fewer beams"))
            return
        self._told, first = self._told or (one, len(batch)), self._told is None
        one, wanted = self._told
        self._size = len(batch) // 2
        kept = one.notices if first else one.notices[:-1]
        one.notices = (
            *kept,
            f"out of memory with {wanted} windows per batch; continued with {self._size} (set by --batch-size).",
        )


def _is_memory(error: Exception) -> bool:
    """Whether an error is out of memory, on a GPU or a CPU, in torch or OpenVINO."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # the name in PyTorch
        return True
    said = str(error).lower() if isinstance(error, RuntimeError) else ""
    return any(words in said for words in ("out of memory", "can't allocate", "not enough memory", "bad_alloc"))
