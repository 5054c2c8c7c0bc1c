"""Playing a recording to a stream by a simulated clock: nothing waits, and late work makes what follows late."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.errors import OptionError
from linnet.evaluation.streams.protocol import LiveStream, Update
from linnet.evaluation.streams.trace import StreamTrace
from linnet.scoring.latency import SpokenWord

CHUNK = 0.1  # seconds


@dataclass(frozen=True)
class Played:
    """A recording that was played: the text that became final, and the trace."""

    text: str
    trace: StreamTrace


def play(
    stream: LiveStream,
    samples: Samples,
    *,
    chunk: float = CHUNK,
    reference: Sequence[SpokenWord] | None = None,
    timer: Callable[[], float] = time.perf_counter,
    on_chunk: Callable[[float], None] | None = None,
) -> Played:
    """Feed samples [N] at 16 kHz in chunks of some seconds; `timer` measures the work on each.

    `on_chunk` is told the seconds of audio done. Raises `OptionError` for a chunk of no length, and what the stream
    raises.
    """
    size = round(chunk * SAMPLE_RATE)
    if size < 1:
        raise OptionError(f"chunk must be a positive number of seconds, got {chunk:g}")
    player = _Player(stream, timer)
    for start in range(0, len(samples), size):
        piece = samples[start : start + size]
        arrival = (start + len(piece)) / SAMPLE_RATE
        behind = max(0.0, player.done - arrival)
        player.work(arrival, lambda piece=piece, behind=behind: stream.push(piece, behind))  # type: ignore[misc]
        if on_chunk is not None:
            on_chunk(arrival)
    player.work(len(samples) / SAMPLE_RATE, stream.finish)
    trace = StreamTrace(
        duration=len(samples) / SAMPLE_RATE,
        chunk=size / SAMPLE_RATE,
        compute=tuple(player.compute),
        changes=tuple(player.changes),
        reference=None if reference is None else tuple(reference),
        counters=dict(stream.counters),
    )
    return Played("".join(player.text).strip(), trace)


class _Player:
    """What was shown so far, and when the work will be done."""

    def __init__(self, stream: LiveStream, timer: Callable[[], float]) -> None:
        self._stream, self._timer = stream, timer
        self.done = 0.0
        self.compute: list[float] = []
        self.changes: list[tuple[int, tuple[str, ...], tuple[str, ...]]] = []
        self.text: list[str] = []
        self._tail: tuple[str, ...] = ()

    def work(self, arrival: float, call: Callable[[], Update]) -> None:
        begun = self._timer()
        update = call()
        seconds = max(0.0, self._timer() - begun)
        self.done = max(arrival, self.done) + seconds
        tail = self._tail if update.tail is None else update.tail
        if update.final or tail != self._tail:
            self.changes.append((len(self.compute), update.final, tail))
        self._tail = tail
        self.text.append(update.text)
        self.compute.append(seconds)
