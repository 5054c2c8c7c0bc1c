"""Events on their way from the session's thread to the consumer's loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque

from linnet.streaming.events import Event, Partial

MOST_EVENTS = 10_000  # maximum waiting for the consumer: hours of speech


class Outbox:
    """A queue of events from a thread to an asynchronous consumer; it holds only the newest partial."""

    def __init__(self) -> None:
        self.dropped = 0  # partials replaced by newer ones
        self._lock = threading.Lock()
        self._events: deque[Event] = deque()
        self._partial: Partial | None = None  # the one in the queue
        self._closed = False
        self._ready: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set the consumer's loop."""
        self._loop, self._ready = loop, asyncio.Event()

    def put(self, events: list[Event]) -> None:
        """Add events; a partial replaces the one in the queue."""
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
        """Whether the producer should pause."""
        return len(self._events) > MOST_EVENTS

    def close(self) -> None:
        """Mark the end of the events."""
        self._closed = True
        self._wake()

    async def next(self) -> Event | None:
        """Wait for the next event; None at the end."""
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
