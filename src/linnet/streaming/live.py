"""`async for event in stream(recognizer, chunks)`: a stream in a thread of its own, with bounded queues on both sides.

::

    chunks -> _feed (task) -> Inbox, at most 5 s of audio -> session (thread) -> Outbox -> the consumer

A source that does not wait (`live=True`: a microphone, a socket) and gets more than 5 s ahead ends the stream with an
error; any other source is held back. Of partials that the consumer has not fetched only the newest is kept.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.errors import LinnetError, OptionError
from linnet.settings import NOT_NEGATIVE, POSITIVE, did_you_mean, require
from linnet.streaming.events import Event, Partial
from linnet.streaming.models import streaming_model
from linnet.streaming.options import StreamOptions
from linnet.streaming.protocol import StreamingModel
from linnet.streaming.samples import Resampler
from linnet.streaming.session import StreamSession
from linnet.transcription.recognizer import Recognizer

Chunks = AsyncIterable[Any] | Iterable[Any]
BITE = SAMPLE_RATE // 2  # samples that are heard at once
AT_ONCE = 1.0  # seconds of audio that a source which waits may be ahead
CLOSING = 1.0  # seconds that a source may take for its last chunk when nobody wants it
SLOW = 100  # partials that were dropped before the consumer is told that it is slow
MOST_EVENTS = 10_000  # that wait for it: hours of speech


@dataclass(frozen=True)
class Source:
    """How chunks come: their rate in Hz; `live` ones cannot be held back.

    Of a live source, `most_waiting` seconds of audio may wait; after `pause` seconds without a chunk the words so far
    are final, after `idle` the stream ends.
    """

    sample_rate: int = SAMPLE_RATE
    live: bool = False
    most_waiting: float = 5.0
    pause: float = 2.0
    idle: float = 60.0

    def __post_init__(self) -> None:
        require(self, POSITIVE, "most_waiting", "pause", "idle")
        require(self, NOT_NEGATIVE, "sample_rate")


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
    """The events of a stream, the last of which is `Bye`.

    `chunks` are mono samples of any length at `sample_rate` Hz, floats within -1 to 1 or int16, from a generator, a
    list or an asynchronous generator; None among them is a flush. Options are those of `StreamOptions`, together or by
    name. What goes wrong after the start, also in the source, is an `Error` event. Raises `OptionError` for options
    that make no sense, before the first event.
    """
    session = StreamSession(_model(model, options, single), choose_options(options, single))
    run = _Run(session, source or Source(sample_rate, live))
    async with aclosing(run.events(chunks)) as events:  # so that leaving it ends the thread now, not some time later
        async for event in events:
            yield event


def _model(model: Recognizer | StreamingModel, options: StreamOptions | None, single: dict[str, Any]) -> StreamingModel:
    if not isinstance(model, Recognizer):
        return model
    return streaming_model(model, beam_size=single.get("beam_size", options.beam_size if options else 1))


def choose_options(options: StreamOptions | None, single: dict[str, Any]) -> StreamOptions:
    """Options given together, single ones above them. Raises `OptionError` for a name that is none of them."""
    from dataclasses import fields, replace

    known = [field.name for field in fields(StreamOptions)]
    if wrong := next((name for name in single if name not in known), None):
        hint = did_you_mean(wrong, {name: name for name in known}) or f"; the options are {', '.join(known)}"
        raise OptionError(f"unknown option {wrong!r}{hint}")
    return replace(options or StreamOptions(), **single)


_LEFT = ("left", "nobody listens any more")


class _Run:
    """One stream: what the feeding task, the session's thread and the consumer share."""

    def __init__(self, session: StreamSession, source: Source) -> None:
        self._session, self._source = session, source
        self._resampler = Resampler(source.sample_rate)
        self._changed = threading.Condition()  # of the inbox
        self._inbox: deque[Samples | None] = deque()  # None: a flush
        self._ahead = 0  # samples in it
        self._damaged = 0  # samples that were no numbers, not yet told
        self._over = False  # no chunk will follow
        self._failure: tuple[str, str] | None = None
        self._last = time.monotonic()  # when a chunk came
        self._outbox = _Outbox()

    async def events(self, chunks: Chunks) -> AsyncGenerator[Event, None]:
        """All events; closes the source and ends the thread however it is left."""
        loop = asyncio.get_running_loop()
        self._outbox.attach(loop)
        worker = threading.Thread(target=self._work, name="linnet stream", daemon=True)
        feeder = asyncio.ensure_future(self._feed(chunks))
        worker.start()
        try:
            while (event := await self._outbox.next()) is not None:
                yield event
        finally:
            feeder.cancel()
            self._end(_LEFT)
            await asyncio.gather(feeder, return_exceptions=True)
            await asyncio.to_thread(worker.join)

    # --- the source's side

    async def _feed(self, chunks: Chunks) -> None:
        try:
            async with aclosing(_each(chunks)) as each:
                async for chunk in each:
                    if not await self._put(chunk):
                        return
            rest = self._resampler.finish()
            with self._changed:
                self._inbox.append(rest)
                self._ahead += len(rest)
            self._end(None)
        except LinnetError as error:
            self._end(("samples" if isinstance(error, OptionError) else "source", str(error)))
        except Exception as error:  # noqa: BLE001 - whatever a source raises ends its stream and nothing else
            self._end(("source", f"the source failed ({type(error).__name__}: {error})"))

    async def _put(self, chunk: Any) -> bool:
        """Take a chunk, as soon as there is room for it where the source can wait; False where the stream is over."""
        samples = None
        if chunk is not None:
            samples, damaged = self._resampler.push(chunk)
            self._damaged += damaged
        while not self._source.live and self._waiting > AT_ONCE and not self._over:
            await asyncio.sleep(0.01)
        with self._changed:
            if self._over:
                return False
            self._inbox.append(samples)
            self._ahead += 0 if samples is None else len(samples)
            self._last = time.monotonic()
            self._changed.notify()
        if self._source.live and self._waiting > self._source.most_waiting:
            seconds = self._waiting
            self._end(
                (
                    "overload",
                    f"{seconds:.1f} s of audio wait: this machine is too slow for the model; "
                    "choose a smaller one, or a larger step",
                )
            )
            return False
        return True

    @property
    def _at_once(self) -> bool:
        """Whether the stream shall end without hearing what waits."""
        return self._failure is not None and self._failure[0] in ("overload", "left")

    @property
    def _waiting(self) -> float:
        return self._ahead / SAMPLE_RATE

    def _end(self, failure: tuple[str, str] | None) -> None:
        with self._changed:
            if not self._over:
                self._over, self._failure = True, failure
            self._changed.notify()

    # --- the session's thread

    def _work(self) -> None:
        session = self._session
        try:
            self._outbox.put(session.start())
            while not session.closed:
                self._outbox.put(self._turn())
                if self._outbox.dropped > SLOW:
                    session.warn(
                        "queue", "events are fetched more slowly than speech goes: only the newest partial waits"
                    )
                while self._outbox.full and not self._at_once:  # a source that waits is held back by this
                    time.sleep(0.05)
        except LinnetError as error:
            self._outbox.put(session.fail("model", str(error)))
        except Exception as error:  # noqa: BLE001 - the consumer must be told, whatever it is
            self._outbox.put(session.fail("internal", f"{type(error).__name__}: {error}"))
        finally:
            self._end(None)
            self._outbox.close()

    def _turn(self) -> list[Event]:
        """Wait for the next thing to do, and do it."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: bool(self._inbox) or self._over, timeout=self._source.pause)
            hears = bool(self._inbox) and not self._at_once
            bite = self._bite() if hears else None
        if not arrived:
            return self._silent()
        if not hears:
            return self._finish()
        if self._damaged:
            self._session.repaired(self._damaged)
            self._damaged = 0
        if bite is None:
            return self._session.flush()
        return self._session.push(bite, behind=self._waiting if self._source.live else 0.0)

    def _bite(self) -> Samples | None:
        """The next half second at most, or None for a flush."""
        first = self._inbox.popleft()
        if first is None:
            return None
        if len(first) > BITE:
            self._inbox.appendleft(first[BITE:])
            first = first[:BITE]
        self._ahead -= len(first)
        return first

    def _finish(self) -> list[Event]:
        if self._failure is None:
            return self._session.finish()
        heard = [] if self._at_once else self._session.settle()
        return [*heard, *self._session.fail(*self._failure)]

    def _silent(self) -> list[Event]:
        """Nothing came for a while."""
        if not self._source.live:
            return []
        since = time.monotonic() - self._last
        if since >= self._source.idle:
            return self._session.fail("idle", f"no audio came for {since:.0f} s: the source has stopped without a word")
        return self._session.settle()


class _Outbox:
    """Events on their way from a thread to a consumer. It holds one partial at most, which is the newest."""

    def __init__(self) -> None:
        self.dropped = 0  # partials that gave way to newer ones
        self._lock = threading.Lock()
        self._events: deque[Event] = deque()
        self._partial: Partial | None = None  # the one among them
        self._closed = False
        self._ready: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """The consumer's loop."""
        self._loop, self._ready = loop, asyncio.Event()

    def put(self, events: list[Event]) -> None:
        """Add events; a partial takes the place of the one that waits."""
        with self._lock:
            for event in events:
                if isinstance(event, Partial) and self._partial is not None:
                    self._events.remove(self._partial)
                    self.dropped += 1
                if isinstance(event, Partial):
                    self._partial = event
                self._events.append(event)
        self._wake()

    @property
    def full(self) -> bool:
        """Whether so many wait that none should follow."""
        return len(self._events) > MOST_EVENTS

    def close(self) -> None:
        """No more will follow."""
        self._closed = True
        self._wake()

    async def next(self) -> Event | None:
        """The next event; None at the end."""
        assert self._ready is not None
        while True:
            with self._lock:
                if self._events:
                    event = self._events.popleft()
                    self._partial = None if event is self._partial else self._partial
                    return event
                if self._closed:
                    return None
                self._ready.clear()
            await self._ready.wait()

    def _wake(self) -> None:
        if self._loop is not None and self._ready is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ready.set)


async def _each(chunks: Chunks) -> AsyncGenerator[Any, None]:
    """The chunks of either kind of source, which is closed at the end; a plain one is waited for in a thread."""
    if isinstance(chunks, AsyncIterable):
        coming = aiter(chunks)
        try:
            async for chunk in coming:
                yield chunk
        finally:
            if isinstance(coming, AsyncGenerator):
                await coming.aclose()
        return
    iterator, nothing = iter(chunks), object()
    loop = asyncio.get_running_loop()
    coming_next: asyncio.Future[Any] | None = None
    try:
        while True:
            coming_next = loop.run_in_executor(None, _next, iterator, nothing)
            if (chunk := await asyncio.shield(coming_next)) is nothing:
                return
            yield chunk
    finally:
        if coming_next is not None and not coming_next.done():  # a generator that runs cannot be closed
            await asyncio.wait([coming_next], timeout=CLOSING)
        with suppress(ValueError, AttributeError):  # it waits for a chunk still, or is no generator
            iterator.close()  # type: ignore[attr-defined]


def _next(iterator: Iterator[Any], nothing: object) -> Any:
    return next(iterator, nothing)
