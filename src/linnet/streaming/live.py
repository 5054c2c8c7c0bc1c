"""`async for event in stream(recognizer, chunks)`: a session in its own thread, with bounded queues on both sides.

::

    chunks -> _feed (task) -> Inbox, at most 5 s of audio -> session (thread) -> Outbox -> the consumer

A source that cannot wait (`live=True`: a microphone, a socket) and gets more than 5 s ahead ends the stream with an
error; any other source is held back. Only the newest unfetched partial is kept.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.errors import LinnetError, OptionError
from linnet.settings import POSITIVE, did_you_mean, require
from linnet.streaming.events import Event
from linnet.streaming.models import streaming_model
from linnet.streaming.options import StreamOptions
from linnet.streaming.outbox import Outbox
from linnet.streaming.protocol import StreamingModel
from linnet.streaming.samples import Resampler, check_rate
from linnet.streaming.session import StreamSession, failure
from linnet.transcription.recognizer import Recognizer

Chunks = AsyncIterable[Any] | Iterable[Any]
BITE = SAMPLE_RATE // 2  # samples processed at once
AT_ONCE = 1.0  # seconds of audio that a source that can wait may be ahead
MOST_CHUNKS = 50_000  # maximum number waiting, however short
CLOSING = 1.0  # seconds to wait for a running source when the consumer has left
SLOW = 100  # dropped partials after which the consumer is warned


@dataclass(frozen=True)
class Source:
    """How chunks arrive: their rate in Hz; a `live` source cannot be held back.

    For a live source, at most `most_waiting` seconds of audio may wait; after `pause` seconds without a chunk the words
    so far become final, after `idle` seconds the stream ends.
    """

    sample_rate: int = SAMPLE_RATE
    live: bool = False
    most_waiting: float = 5.0
    pause: float = 2.0
    idle: float = 60.0

    def __post_init__(self) -> None:
        check_rate(self.sample_rate)
        require(self, POSITIVE, "most_waiting", "pause", "idle")


async def stream(
    model: Recognizer | StreamingModel,
    chunks: Chunks,
    *,
    source: Source | None = None,
    sample_rate: int = SAMPLE_RATE,
    live: bool = False,
    options: StreamOptions | None = None,
    **single: Any,
) -> AsyncGenerator[Event, None]:
    """Yield the events of a stream, the last of which is `Bye`.

    `chunks` are mono samples of any length at `sample_rate` Hz, floats within -1 to 1 or int16, from a generator, a
    list or an asynchronous generator; None among them is a flush. Options are those of `StreamOptions`, together or by
    name. Failures after the start, including those of the source, are `Error` events. Raises `OptionError` for
    invalid options before the first event.
    """
    _check_source(chunks)
    session = StreamSession(_model(model, options, single), choose_options(options, single))
    run = _Run(session, source or Source(sample_rate, live))
    async with aclosing(run.events(chunks)) as events:  # so that leaving it ends the threads immediately
        async for event in events:
            yield event


def _check_source(chunks: Any) -> None:
    """Raise `OptionError` for a source that yields no chunks of samples: a file name, one array, raw bytes."""
    if isinstance(chunks, str | os.PathLike):
        raise OptionError(
            f"a stream takes chunks of samples, not the file {os.fspath(chunks)!r}: "
            "pass [linnet.audio.load(path).samples]"
        )
    if isinstance(chunks, bytes | bytearray | memoryview):
        raise OptionError("a stream takes chunks of samples, not bytes: pass [np.frombuffer(data, np.int16)]")
    if getattr(chunks, "ndim", None) in (0, 1):
        raise OptionError("a stream takes chunks of samples, not one array of them: pass a list, [samples]")
    if not isinstance(chunks, AsyncIterable | Iterable):
        raise OptionError(
            f"a stream takes chunks of samples from a list or a generator, not from {type(chunks).__name__}"
        )


def _model(model: Recognizer | StreamingModel, options: StreamOptions | None, single: dict[str, Any]) -> StreamingModel:
    beam_size = single.get("beam_size", options.beam_size if options else 1)
    if isinstance(model, Recognizer):
        return streaming_model(model, beam_size=beam_size)
    if beam_size != 1:
        raise OptionError("a streaming model has a beam size of its own: pass it to streaming_model instead")
    return model


def choose_options(options: StreamOptions | None, single: dict[str, Any]) -> StreamOptions:
    """Merge options: single ones override `options`. Raises `OptionError` for an unknown name."""
    from dataclasses import fields, replace

    known = [field.name for field in fields(StreamOptions)]
    if wrong := next((name for name in single if name not in known), None):
        hint = did_you_mean(wrong, {name: name for name in known}) or f"; the options are {', '.join(known)}"
        raise OptionError(f"unknown option {wrong!r}{hint}")
    return replace(options or StreamOptions(), **single)


_LEFT = ("left", "the consumer has left")


class _Run:
    """One stream: the state shared by the feeding task, the session's thread and the consumer."""

    def __init__(self, session: StreamSession, source: Source) -> None:
        self._session, self._source = session, source
        self._resampler = Resampler(source.sample_rate)
        self._changed = threading.Condition()  # of the inbox
        self._inbox: deque[Samples | None] = deque()  # None: a flush
        self._ahead = 0  # samples in it
        self._damaged = 0  # samples that were NaN or infinite, not yet reported
        self._over = False  # no more chunks
        self._failure: tuple[str, str] | None = None
        self._last = time.monotonic()  # when the last chunk arrived
        self._outbox = Outbox()

    async def events(self, chunks: Chunks) -> AsyncGenerator[Event, None]:
        """All events; closes the source and ends the threads however it is left."""
        self._outbox.attach(asyncio.get_running_loop())
        worker = threading.Thread(target=self._work, name="linnet stream", daemon=True)
        feeder = asyncio.ensure_future(self._feed(chunks))
        worker.start()
        try:
            while (event := await self._outbox.next()) is not None:
                yield event
        finally:
            self._end(_LEFT)
            feeder.cancel()
            await asyncio.gather(feeder, return_exceptions=True)
            await asyncio.to_thread(worker.join)

    # --- the source's side

    async def _feed(self, chunks: Chunks) -> None:
        """Read all chunks: an asynchronous source in the loop, any other in its own thread."""
        if isinstance(chunks, AsyncIterable):
            with self._source_errors():
                await self._feed_async(aiter(chunks))
            return
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def pull() -> None:
            self._pull(chunks)
            with suppress(RuntimeError):  # the loop is closed: nobody is waiting
                loop.call_soon_threadsafe(done.set)

        reader = threading.Thread(target=pull, name="linnet stream source", daemon=True)
        reader.start()
        try:
            await done.wait()
        finally:  # a blocked source cannot be stopped; its thread is a daemon and ends with its next chunk
            with suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), CLOSING)
                reader.join()  # it has only to return

    async def _feed_async(self, coming: AsyncIterator[Any]) -> None:
        try:
            async for chunk in coming:
                samples = self._checked(chunk)
                while not self._has_room:
                    await asyncio.sleep(0.01)
                if not self._put(samples):
                    return
            self._finish_input()
        finally:
            if isinstance(coming, AsyncGenerator):
                await coming.aclose()

    def _pull(self, chunks: Iterable[Any]) -> None:
        with self._source_errors():
            iterator = iter(chunks)
            try:
                for chunk in iterator:
                    samples = self._checked(chunk)
                    with self._changed:
                        self._changed.wait_for(lambda: self._has_room)
                    if not self._put(samples):
                        break
                else:
                    self._finish_input()
            finally:
                if isinstance(iterator, Generator):
                    iterator.close()

    @contextmanager
    def _source_errors(self) -> Iterator[None]:
        """Turn whatever the source raises, including a cancellation, into the end of this stream only."""
        try:
            yield
        except LinnetError as error:
            self._end(("samples" if isinstance(error, OptionError) else "source", str(error)))
        except BaseException as error:  # noqa: BLE001
            what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            self._end(("source", f"the source failed ({what})"))

    def _checked(self, chunk: Any) -> Samples | None:
        """The samples of a chunk at 16 kHz; None for a flush."""
        if chunk is None:
            return None
        samples, damaged = self._resampler.push(chunk)
        self._damaged += damaged
        return samples

    @property
    def _has_room(self) -> bool:
        """Whether the next chunk can be queued; a live source never waits."""
        return self._source.live or self._over or (self._waiting <= AT_ONCE and len(self._inbox) < MOST_CHUNKS)

    def _put(self, samples: Samples | None) -> bool:
        """Queue a chunk; False if the stream is over."""
        with self._changed:
            if self._over:
                return False
            self._inbox.append(samples)
            self._ahead += 0 if samples is None else len(samples)
            self._last = time.monotonic()
            self._changed.notify_all()
        if self._source.live and self._waiting > self._source.most_waiting:
            seconds = self._waiting
            self._end(
                (
                    "overload",
                    f"{seconds:.1f} s of audio are waiting: this machine is too slow for the model; "
                    "choose a smaller model or a larger step",
                )
            )
            return False
        return True

    def _finish_input(self) -> None:
        rest = self._resampler.finish()
        with self._changed:
            self._inbox.append(rest)
            self._ahead += len(rest)
        self._end(None)

    @property
    def _at_once(self) -> bool:
        """Whether to end without processing the waiting audio."""
        return self._failure is not None and self._failure[0] in ("overload", "left")

    @property
    def _waiting(self) -> float:
        return self._ahead / SAMPLE_RATE

    def _end(self, failure: tuple[str, str] | None) -> None:
        with self._changed:
            if not self._over:
                self._over, self._failure = True, failure
            self._changed.notify_all()

    # --- the session's thread

    def _work(self) -> None:
        session = self._session
        try:
            self._outbox.put(session.start())
            while not session.closed:
                self._outbox.put(self._turn())
                if self._outbox.dropped > SLOW:
                    session.warn("queue", "events are fetched too slowly: only the newest partial is kept")
                while self._outbox.full and not self._at_once:  # holds back a source that can wait
                    time.sleep(0.05)
        except Exception as error:  # noqa: BLE001 - any failure must reach the consumer
            self._outbox.put(session.fail(*failure(error)))
        finally:
            self._end(None)
            self._outbox.close()

    def _turn(self) -> list[Event]:
        """Wait for audio, a flush or the end, and process it."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: bool(self._inbox) or self._over, timeout=self._source.pause)
            has_audio = bool(self._inbox) and not self._at_once
            bite = self._bite() if has_audio else None
        if not arrived:
            return self._silent()
        if not has_audio:
            return self._finish()
        if self._damaged:
            self._session.repaired(self._damaged)
            self._damaged = 0
        if bite is None:
            return self._session.flush()
        return self._session.push(bite, behind=self._waiting if self._source.live else 0.0)

    def _bite(self) -> Samples | None:
        """Up to half a second of queued audio, or None for a flush."""
        if self._inbox[0] is None:
            return self._inbox.popleft()
        parts: list[Samples] = []
        count = 0
        while self._inbox and (first := self._inbox[0]) is not None and count < BITE:
            parts.append(first[: BITE - count])
            count += len(parts[-1])
            if len(first) > len(parts[-1]):
                self._inbox[0] = first[len(parts[-1]) :]
            else:
                self._inbox.popleft()
        self._ahead -= count
        self._changed.notify_all()  # there is room for the source now
        return np.concatenate(parts)

    def _finish(self) -> list[Event]:
        if self._failure is None:
            return self._session.finish()
        finals = [] if self._at_once else self._session.settle()
        return [*finals, *self._session.fail(*self._failure)]

    def _silent(self) -> list[Event]:
        """Handle a pause in which no chunk arrived."""
        if not self._source.live:
            return []
        since = time.monotonic() - self._last
        if since >= self._source.idle:
            return self._session.fail("idle", f"no audio arrived for {since:.0f} s: the source has stalled")
        return self._session.settle()
