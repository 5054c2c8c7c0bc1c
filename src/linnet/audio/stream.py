"""Decoded blocks of any rate and channel count as one forward stream of mono float32 at 16 kHz.

Shapes: n frames of a block, C channels.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet.audio.decoders import AudioDecoder, unreadable
from linnet.audio.mix import Mixer
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.closing import Closing
from linnet.errors import AudioError, LinnetError

RATES = range(1_000, 768_001)
QUALITY = "HQ"  # soxr's 20-bit quality


class StreamSource(Closing):
    """An `AudioSource` over an `AudioDecoder`; thread-safe."""

    def __init__(self, decoder: AudioDecoder, name: str, channel: str = "mix") -> None:
        self._decoder = decoder
        self._name = name
        self._mixer = Mixer(channel, decoder.channels, name)
        self._resources = ExitStack()
        self._lock = threading.RLock()
        self._resampler: Any = None
        self._rate: int | None = None
        self._notices: list[str] = []
        self._held: list[Samples] = []  # samples from self._start on, in blocks
        self._start = 0
        self._end = 0  # samples at 16 kHz made so far
        self._seconds = 0.0  # of input decoded
        self._first: Samples | None = None
        self._finished = False
        self._closed = False

    @property
    def name(self) -> str:
        """The path, URL or label."""
        return self._name

    @property
    def duration(self) -> float | None:
        """Seconds: measured once the end is reached, before that from the header if credible."""
        if self._finished:
            return self._end / SAMPLE_RATE
        seconds = self._decoder.seconds
        return None if seconds is None or seconds > self._decoder.longest else seconds

    @property
    def notices(self) -> tuple[str, ...]:
        """Notices so far, without the name."""
        return (*self._decoder.notices, *self._mixer.notices, *self._notices)

    @property
    def buffered(self) -> int:
        """Samples held in memory."""
        return sum(map(len, self._held))

    def begin(self) -> None:
        """Decode the first block, so that an unreadable recording fails on opening.

        Float samples are read twice, first to determine their scale.
        """
        if self._decoder.floating:
            with self._guard(), closing(self._decoder.again()) as twin:
                self._mixer.measure(twin)
        while not self._held and not self._finished:
            self._pull()

    def adopt(self, resources: ExitStack) -> None:
        """Take over resources that `close` releases."""
        self._resources = resources

    def read(self, start: int, count: int) -> Samples:
        """Samples `start` to `start + count`, a copy; see `AudioSource.read`."""
        if start < 0 or count < 0:
            raise ValueError(f"window({start}, {count}): start and count must not be negative")
        with self._lock:
            if self._closed:
                raise ValueError(f"{self._name}: the source is closed")
            if start < self._start:
                raise ValueError(f"window({start}, {count}): samples before {self._start} were already dropped")
            self._forget(start)
            while self._end < start + count and not self._finished:
                self._pull()
                self._forget(start)
            if start >= self._end:
                return np.zeros(0, np.float32)
            if len(self._held) > 1:
                self._held = [np.concatenate(self._held)]
            return self._held[0][:count].copy()

    def close(self) -> None:
        """Release the decoder and any temporary file; a second call does nothing."""
        with self._lock:
            self._closed = True
            self._held = []
            self._resources.close()

    def _forget(self, start: int) -> None:
        """Drop samples before `start`."""
        while self._held and self._start < start:
            block = self._held.pop(0)
            if self._start + len(block) > start:
                self._held.insert(0, block[start - self._start :])
                self._start = start
            else:
                self._start += len(block)

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Close on failure, and turn any library's error into one that names the recording."""
        try:
            yield
        except BaseException as error:
            self.close()
            if isinstance(error, LinnetError) or not isinstance(error, Exception):
                raise
            raise unreadable(self._name, error, f" after {self._seconds:.1f} s") from error

    def _pull(self) -> None:
        """Decode, mix and resample one block."""
        with self._guard():
            block = self._decoder.read()
            if len(block):
                self._take(block)
            else:
                self._finish()

    def _take(self, block: npt.NDArray[np.float32]) -> None:
        rate = self._decoder.rate
        self._set_rate(rate)
        mono = self._mixer.mono(block, self._seconds, rate)
        self._first = mono[:1].copy() if self._first is None else self._first
        self._seconds += len(mono) / rate
        if self._seconds > self._decoder.longest:
            raise AudioError(
                f"{self._name}: claims more audio than its bytes can hold (over {self._seconds:.0f} s); "
                "it is damaged, or made to exhaust memory"
            )
        self._keep(np.ascontiguousarray(mono) if self._resampler is None else self._resample(mono))

    def _keep(self, samples: Samples) -> None:
        if len(samples):
            self._held.append(samples)
            self._end += len(samples)

    def _resample(self, mono: Samples, last: bool = False) -> Samples:
        samples: Samples = self._resampler.resample_chunk(np.ascontiguousarray(mono), last=last)
        return samples

    def _set_rate(self, rate: int) -> None:
        """Prepare for blocks at `rate` Hz, which may change midway."""
        if rate == self._rate:
            return
        if rate not in RATES:
            raise AudioError(
                f"{self._name}: its header says {rate} Hz, outside {RATES[0]} to {RATES[-1]} Hz; "
                "the header is damaged, or this is not a recording"
            )
        self._flush()
        self._rate = rate
        if rate != SAMPLE_RATE:
            import soxr

            self._resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, "float32", QUALITY)

    def _flush(self) -> None:
        """Flush the resampler."""
        if self._resampler is not None:
            self._keep(self._resample(np.zeros(0, np.float32), last=True))
            self._resampler = None

    def _finish(self) -> None:
        self._flush()
        self._finished = True
        if self._first is None:
            why = " ".join(self._decoder.notices)
            raise AudioError(f"{self._name}: holds no audio (0 samples); record or export it again. {why}".rstrip())
        self._mixer.check()
        if self._end == 0:  # a recording shorter than one sample at 16 kHz
            self._keep(self._first)
        promised = self._decoder.promised
        if promised is not None and self._seconds < promised - max(0.1, 0.01 * promised):
            self._notices.append(
                f"the header promises {_length(promised)}, but only {_length(self._seconds)} could be read: "
                "the file is cut short or damaged."
            )


def _length(seconds: float) -> str:
    return f"{seconds:,.1f} s" if seconds < 1e6 else f"{seconds:.1e} s"
