"""Sources of chunks: a recording, as fast as possible or in real time; raw samples; a microphone.

Each is a generator of chunks that ends soon after its `stop` event is set, so that pending words are still emitted.
"""

from __future__ import annotations

import os
import queue
import select
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

from linnet.audio.source import AudioSource
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.errors import AudioError, MissingExtra

CHUNK = 0.1  # seconds
_BYTES = 2  # of a raw sample
_MOST_BLOCKS = 600  # of a microphone: one minute; more only wait if nobody reads them
_KNOWN = {b"RIFF": "a WAV file", b"fLaC": "a FLAC file", b"OggS": "an Ogg file", b"ID3": "an MP3 file"}


def recording(source: AudioSource, stop: threading.Event, *, speed: float = 0.0) -> Iterator[Samples]:
    """Yield the chunks of a recording; with `speed` above 0, paced at that multiple of real time."""
    count, position, begun = round(CHUNK * SAMPLE_RATE), 0, time.monotonic()
    while not stop.is_set() and len(samples := source.read(position, count)):
        position += len(samples)
        if speed > 0.0 and stop.wait(max(0.0, begun + position / SAMPLE_RATE / speed - time.monotonic())):
            return
        yield samples


def raw(stream: BinaryIO, rate: int, stop: threading.Event) -> Iterator[Samples]:
    """Yield chunks of raw samples: 16-bit, little-endian, mono, at `rate` Hz. An odd byte at the end is ignored.

    Raises `AudioError` if the bytes are a file of a known format.
    """
    size, rest, first = _BYTES * max(1, round(CHUNK * rate)), b"", True
    read = _reader(stream, stop)
    while not stop.is_set() and (data := read(size)):
        if first:
            _check(data)
            first = False
        data = rest + data
        whole = len(data) // _BYTES * _BYTES
        rest = data[whole:]
        if whole:
            yield np.frombuffer(data[:whole], "<i2").astype(np.float32) / np.float32(32768.0)


def _reader(stream: BinaryIO, stop: threading.Event) -> Callable[[int], bytes]:
    """A read function that returns available bytes, and b"" at the end or soon after `stop`.

    A silent pipe must not block Ctrl-C.
    """
    try:
        number = stream.fileno()
        select.select([number], [], [], 0.0)
    except (OSError, ValueError, AttributeError):  # no file descriptor; on Windows select takes sockets only
        read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
        return read

    def wait_and_read(size: int) -> bytes:
        while not stop.is_set():
            if select.select([number], [], [], CHUNK)[0]:
                return os.read(number, size)
        return b""

    return wait_and_read


def _check(data: bytes) -> None:
    kind = next((kind for magic, kind in _KNOWN.items() if data.startswith(magic)), None)
    if kind is not None:
        raise AudioError(f"stdin: this is {kind}, but raw 16-bit samples are expected: pass the file name instead of -")


class Microphone:
    """The chunks of a microphone, until `stop`.

    A context manager, which closes the device. Raises `MissingExtra` if sounddevice is not installed, and `AudioError`
    if there is no such device or it is disconnected.
    """

    def __init__(self, device: str | None, stop: threading.Event) -> None:
        """`device`: its number or part of its name; None: the system default."""
        self._sound = _sounddevice()
        self._stop = stop
        self._blocks: queue.Queue[Samples] = queue.Queue(_MOST_BLOCKS)
        chosen: Any = int(device) if device is not None and device.isdecimal() else device
        try:
            found = self._sound.query_devices(chosen, "input")
            self.name, self.rate = str(found["name"]), round(found["default_samplerate"])
            self._stream = self._sound.InputStream(
                samplerate=self.rate,
                blocksize=round(CHUNK * self.rate),
                device=chosen,
                channels=1,
                dtype="float32",
                callback=self._take,
            )
        except (ValueError, self._sound.PortAudioError) as error:
            raise AudioError(
                f"microphone {device or '(default)'}: cannot be opened ({error}); available: {self._devices()}"
            ) from error

    def _devices(self) -> str:
        found = [one["name"] for one in self._sound.query_devices() if one["max_input_channels"] > 0]
        return ", ".join(map(str, found)) or "none"

    def _take(self, block: Samples, frames: int, when: Any, status: Any) -> None:  # noqa: ARG002 - PortAudio's call
        if not self._blocks.full():
            self._blocks.put_nowait(block[:, 0].copy())

    def __enter__(self) -> Microphone:
        self._stream.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def __iter__(self) -> Iterator[Samples]:
        """Yield chunks."""
        while not self._stop.is_set():
            try:
                yield self._blocks.get(timeout=2 * CHUNK)
            except queue.Empty:
                if not self._stream.active:
                    raise AudioError(f"microphone {self.name}: was disconnected; plug it in and start again") from None


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise MissingExtra("the microphone", extra="mic") from error
    except OSError as error:  # the package is installed, the PortAudio library is not
        raise AudioError(f"the microphone needs the library PortAudio ({error}): install libportaudio2") from error
    return sounddevice
