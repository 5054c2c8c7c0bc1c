"""Running jobs of several recordings side by side, their windows in common batches.

A job (see `transcription.backend`) is a generator: it yields the window it wants recognised and is sent the result.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from linnet.audio.source import AudioSource, open_audio
from linnet.decoding.options import DecodingOptions
from linnet.errors import LinnetError, ModelError, OptionError
from linnet.transcription.backend import Backend, Job, Outcome, Request
from linnet.transcription.transcript import Transcript


@dataclass(frozen=True)
class Progress:
    """How far one recording is: seconds of audio done, of how many where that is known."""

    index: int
    source: str
    position: float
    duration: float | None


@dataclass(frozen=True)
class Result:
    """One recording that is done: a transcript, or the error that stopped it."""

    index: int  # its place among the inputs
    source: Any  # as it was given
    name: str
    duration: float = 0.0  # seconds of audio
    seconds: float = 0.0  # of work; a batch's time is shared equally among its windows
    outcome: Outcome | None = None
    transcript: Transcript | None = None
    error: LinnetError | None = None
    notices: tuple[str, ...] = ()


@dataclass
class _Running:
    index: int
    given: Any
    source: AudioSource
    job: Job
    request: Request | None = None  # what it waits for
    outcome: Outcome | None = None
    error: LinnetError | None = None
    seconds: float = 0.0

    def resume(self, answer: Any) -> None:
        """Send an answer (None to begin) and keep the next request, the outcome or the error."""
        begun = time.perf_counter()
        self.request = None
        try:
            self.request = self.job.send(answer)
        except StopIteration as stop:
            self.outcome = stop.value
        except LinnetError as error:
            self.error = error
        self.seconds += time.perf_counter() - begun

    def fail(self, error: LinnetError) -> None:
        self.request, self.error = None, error

    def close(self) -> None:
        self.job.close()
        self.source.close()

    def result(self) -> Result:
        return Result(
            index=self.index,
            source=self.given,
            name=self.source.name,
            duration=self.source.duration or 0.0,
            seconds=self.seconds,
            outcome=self.outcome,
            error=self.error,
            notices=self.source.notices,
        )


def run_jobs(
    backend: Backend,
    sources: Iterable[Any],
    options: DecodingOptions,
    batch_size: int,
    *,
    channel: str = "mix",
    on_progress: Callable[[Progress], None] | None = None,
) -> Iterator[Result]:
    """Recognise recordings, up to `batch_size` of them side by side; yields each as it is done, in no fixed order."""
    waiting = enumerate(sources)
    running: list[_Running] = []
    try:
        while True:
            while len(running) < batch_size and (item := next(waiting, None)) is not None:
                started = _start(backend, *item, options=options, channel=channel)
                if isinstance(started, Result):
                    yield started
                else:
                    running.append(started)
            if not running:
                return
            for group in _groups(running):
                _run_group(backend, group)
                _report(group, on_progress)
            done = [one for one in running if one.request is None]
            running = [one for one in running if one.request is not None]
            for one in done:
                one.close()
                yield one.result()
    finally:
        for one in running:
            one.close()


def _start(backend: Backend, index: int, given: Any, *, options: DecodingOptions, channel: str) -> _Running | Result:
    begun = time.perf_counter()
    try:
        source = given if hasattr(given, "window") else open_audio(given, channel=channel)
    except LinnetError as error:
        return Result(index, given, name=str(given), error=error, seconds=time.perf_counter() - begun)
    try:
        one = _Running(index, given, source, backend.job(source, options))
    except OptionError:
        source.close()
        raise
    one.seconds = time.perf_counter() - begun
    one.resume(None)
    return one


def _groups(running: Sequence[_Running]) -> list[list[_Running]]:
    groups: dict[Hashable, list[_Running]] = defaultdict(list)
    for one in running:
        if one.request is not None:
            groups[one.request.group].append(one)
    return list(groups.values())


def _run_group(backend: Backend, group: Sequence[_Running]) -> None:
    import torch

    begun = time.perf_counter()
    try:
        answers = backend.run([one.request for one in group if one.request is not None])
    except OptionError:
        raise
    except LinnetError as error:
        for one in group:
            one.fail(error)
        return
    except torch.OutOfMemoryError:
        for one in group:
            one.fail(
                ModelError(f"out of memory with {len(group)} windows at once: choose a smaller batch size or model")
            )
        return
    share = (time.perf_counter() - begun) / len(group)
    for one, answer in zip(group, answers, strict=True):
        one.seconds += share
        one.resume(answer)


def _report(group: Sequence[_Running], on_progress: Callable[[Progress], None] | None) -> None:
    if on_progress is None:
        return
    for one in group:
        end = one.source.duration or 0.0
        position = one.request.position if one.request is not None else end
        on_progress(Progress(one.index, one.source.name, position, one.source.duration))
