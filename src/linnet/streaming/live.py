"""`async for event in stream(recognizer, chunks)`: a stream in a thread of its own, with bounded queues on both sides.

::

    chunks -> _feed (task) -> Inbox, at most 5 s of audio -> session (thread) -> Outbox -> the consumer

A source that does not wait (`live=True`: a microphone, a socket) and gets more than 5 s ahead ends the stream with an
error; any other source is held back. Of partials that the consumer has not fetched only the newest is kept.
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
from linnet.streaming.session import StreamSession
from linnet.transcription.recognizer import Recognizer

Chunks = AsyncIterable[Any] | Iterable[Any]
BITE = SAMPLE_RATE // 2  # samples that are heard at once
AT_ONCE = 1.0  # seconds of audio that a source which waits may be ahead
MOST_CHUNKS = 50_000  # that may wait, however short
CLOSING = 1.0  # seconds that a source may take for its last chunk when nobody wants it
SLOW = 100  # partials that were dropped before the consumer is told that it is slow


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
    """The events of a stream, the last of which is `Bye`.

    `chunks` are mono samples of any length at `sample_rate` Hz, floats within -1 to 1 or int16, from a generator, a
    list or an asynchronous generator; None among them is a flush. Options are those of `StreamOptions`, together or by
    name. What goes wrong after the start, also in the source, is an `Error` event. Raises `OptionError` for options
    that make no sense, before the first event.
    """
    _check_source(chunks)
    session = StreamSession(_model(model, options, single), choose_options(options, single))
    run = _Run(session, source or Source(sample_rate, live))
    async with aclosing(run.events(chunks)) as events:  # so that leaving it ends the thread now, not some time later
        async for event in events:
            yield event


def _check_source(chunks: Any) -> None:
    """Raise `OptionError` for what gives no chunks of samples: a file's name, one array, raw bytes."""
    if isinstance(chunks, str | os.PathLike):
        raise OptionError(
            f"a stream takes chunks of samples, not the file {os.fspath(chunks)!r}: "
            "give [linnet.audio.load(path).samples]"
        )
    if isinstance(chunks, bytes | bytearray | memoryview):
        raise OptionError("a stream takes chunks of samples, not bytes: give [np.frombuffer(data, np.int16)]")
    if getattr(chunks, "ndim", None) in (0, 1):
        raise OptionError("a stream takes chunks of samples, not one array of them: give a list, [samples]")
    if not isinstance(chunks, AsyncIterable | Iterable):
        raise OptionError(
            f"a stream takes chunks of samples from a list or a generator, not from {type(chunks).__name__}"
        )


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
        """Take all chunks: in the loop from an asynchronous source, in a thread of its own from any other."""
        if isinstance(chunks, AsyncIterable):
            with self._source_errors():
                await self._feed_async(aiter(chunks))
            return
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def pull() -> None:
            self._pull(chunks)
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=pull, name="linnet stream source", daemon=True).start()
        try:
            await done.wait()
        finally:  # a source that blocks cannot be stopped: its thread is a daemon, and ends with its next chunk
            with suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), CLOSING)

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
        """Whatever a source raises, also a cancellation of its own, ends its stream and nothing else."""
        try:
            yield
        except LinnetError as error:
            self._end(("samples" if isinstance(error, OptionError) else "source", str(error)))
        except BaseException as error:  # noqa: BLE001
            what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            self._end(("source", f"the source failed ({what})"))

    def _checked(self, chunk: Any) -> Samples | None:
        """A chunk's samples at 16 kHz; None is a flush."""
        if chunk is None:
            return None
        samples, damaged = self._resampler.push(chunk)
        self._damaged += damaged
        return samples

    @property
    def _has_room(self) -> bool:
        """Whether the next chunk can be taken: a live source cannot wait."""
        return self._source.live or self._over or (self._waiting <= AT_ONCE and len(self._inbox) < MOST_CHUNKS)

    def _put(self, samples: Samples | None) -> bool:
        """Take a chunk; False where the stream is over."""
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
                    f"{seconds:.1f} s of audio wait: this machine is too slow for the model; "
                    "choose a smaller one, or a larger step",
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
        """Whether the stream shall end without hearing what waits."""
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
        self._changed.notify_all()  # the source may have room now
        return np.concatenate(parts)

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
