"""Recordings that are read on demand."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, Self, TypeAlias, TypeGuard

from linnet.audio.types import SAMPLE_RATE, Audio, Samples
from linnet.errors import AudioError, OptionError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    from linnet.audio.decoders import AudioDecoder

    Sound: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | Audio | npt.NDArray[np.generic] | Tensor

_EVERYTHING = 2**62


class AudioSource(Protocol):
    """A recording, mono float32 at 16 kHz, read forward.

    Timeline of a source, in samples::

        0 ........ start ............ start + count ........... end (unknown until reached)
        forgotten  |<-- read(start, count) -->|   not yet read
    """

    @property
    def name(self) -> str:
        """The path, URL or label, for messages and reports."""
        ...

    @property
    def duration(self) -> float | None:
        """Seconds, if the header states them, or once the end is reached."""
        ...

    @property
    def notices(self) -> tuple[str, ...]:
        """Notices on the recording so far (truncated, damaged, ...), without its name; complete at the end."""
        ...

    def read(self, start: int, count: int) -> Samples:
        """Samples `start` to `start + count` (fewer at the end, none after it).

        `start` must not decrease between calls: earlier samples are dropped, so that memory stays constant.
        """
        ...

    def close(self) -> None:
        """Release the file; a source is also a context manager."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_audio(
    source: Sound, *, channel: str = "mix", sample_rate: int | None = None, track: int | None = None
) -> AudioSource:
    """Open any recording for reading as mono float32 at 16 kHz, in constant memory.

    `source` is a path, an http(s) URL, "-" (standard input), the bytes of a file or a binary file object, an `Audio`,
    or samples: a NumPy array or torch tensor [n] or [n, channels] at `sample_rate` Hz (16,000 where None). Integer
    samples are scaled to full scale 1, and so are floats far beyond it. `channel` is "mix" (the mean; a single channel
    while channels cancel each other out), "left", "right" or an index from "0". `track` selects an audio track of a
    container, from 1 in the order of the file; by default the best.

    Raises `AudioError` for a recording that cannot be read or has no usable samples, `MissingExtra` if its format needs
    PyAV, `OptionError` for an unknown channel or track and for `sample_rate` with a recording that states its own.

    >>> import numpy as np
    >>> with open_audio(np.zeros((48000, 2), np.int16), channel="left", sample_rate=48000) as source:
    ...     len(source.read(0, 10**9)), source.duration
    (16000, 1.0)
    """
    from linnet.audio.stream import StreamSource

    with ExitStack() as stack:
        decoder, name = _decode(source, sample_rate, track, stack)
        stack.callback(decoder.close)
        stream = StreamSource(decoder, name, channel)
        stream.begin()
        stream.adopt(stack.pop_all())
        return stream


def is_source(sound: object) -> TypeGuard[AudioSource]:
    """Whether this is an open `AudioSource` (file objects have `read` too, but no `notices`).

    >>> import io
    >>> is_source(io.BytesIO()), is_source("a.wav")
    (False, False)
    """
    return hasattr(sound, "read") and hasattr(sound, "notices")


def load(source: Sound, *, channel: str = "mix", sample_rate: int | None = None, track: int | None = None) -> Audio:
    """Read a recording into memory; arguments and errors as for `open_audio`, notices go to the log `linnet.audio`.

    >>> import numpy as np
    >>> load(np.ones(8000, np.float32), sample_rate=8000).duration
    1.0
    """
    with open_audio(source, channel=channel, sample_rate=sample_rate, track=track) as stream:
        audio = Audio(stream.read(0, _EVERYTHING), stream.name)
        for notice in stream.notices:
            logging.getLogger("linnet.audio").warning("%s: %s", stream.name, notice)
        return audio


def _decode(source: Any, sample_rate: int | None, track: int | None, stack: ExitStack) -> tuple[AudioDecoder, str]:
    """The decoder and the name of an input of `open_audio`; temporary files go on the stack."""
    from linnet.audio import decoders, fetch
    from linnet.audio.stream import RATES

    source, sample_rate = _unpacked(source, sample_rate)
    array = _as_array(source)
    if array is not None:
        rate = SAMPLE_RATE if sample_rate is None else sample_rate
        if rate not in RATES:
            raise OptionError(f"sample_rate={rate}: expected whole Hz from {RATES[0]} to {RATES[-1]}")
        decoders.track_index(track, 1, "array")
        return decoders.ArrayDecoder(array, int(rate)), "array"
    if sample_rate is not None and not (isinstance(source, Audio) and sample_rate == SAMPLE_RATE):
        raise OptionError(f"sample_rate={sample_rate}: only arrays take a sample rate, this recording states its own")
    if isinstance(source, Audio):
        decoders.track_index(track, 1, source.name)
        return decoders.ArrayDecoder(source.samples, SAMPLE_RATE), source.name
    if isinstance(source, bytes | bytearray | memoryview):
        name = "bytes"
        return decoders.open_file(fetch.spool_bytes(bytes(source), name, stack), name, track), name
    if hasattr(source, "read") and not is_source(source):
        label = getattr(source, "name", None)
        name = label if isinstance(label, str) else "stream"
        return decoders.open_file(fetch.spool(source, name, stack), name, track), name
    if not isinstance(source, str | os.PathLike):
        raise AudioError(
            f"{type(source).__name__}: not a recording; expected a path, a URL, bytes, a binary file, an array or Audio"
        )
    return _decode_named(os.fsdecode(source), track, stack)


def _unpacked(source: Any, sample_rate: int | None) -> tuple[Any, int | None]:
    """The audio of a data set row, {"array", "sampling_rate"} or {"bytes", "path"}; anything else unchanged."""
    if not isinstance(source, Mapping):
        return source, sample_rate
    rates = [source[key] for key in ("sampling_rate", "sample_rate") if source.get(key) is not None]
    if source.get("array") is not None:
        if not rates and sample_rate is None:
            raise AudioError(f"a mapping with {', '.join(map(repr, source))}: 'sampling_rate' (in Hz) is missing")
        return source["array"], rates[0] if rates else sample_rate
    if (found := source.get("bytes") or source.get("path")) is not None:
        return found, sample_rate
    there = ", ".join(map(repr, source)) or "nothing"
    expected = "'array' and 'sampling_rate', or 'bytes' or 'path'"
    raise AudioError(f"a mapping with {there}: not a recording; expected {expected}")


def _decode_named(text: str, track: int | None, stack: ExitStack) -> tuple[AudioDecoder, str]:
    """Open a path, a URL or "-"."""
    from linnet import urls
    from linnet.audio import decoders, fetch

    if text == "-":
        return decoders.open_file(fetch.spool_stdin(stack), "stdin", track), "stdin"
    if not urls.is_url(text):
        return decoders.open_file(fetch.check_path(text, stack), text, track), text
    name = urls.public_name(text)
    scheme = text.partition("://")[0]
    if scheme.lower() not in ("http", "https"):
        raise AudioError(f"{name}: {scheme}:// addresses are not supported; use http or https, or download it first")
    return decoders.open_file(fetch.download(text, stack), name, track), name


def _as_array(source: Any) -> npt.NDArray[Any] | None:
    """Samples as a NumPy array, None for anything that is not an array, a tensor or a list of numbers."""
    import numpy as np

    if isinstance(source, list | tuple):
        try:
            return np.asarray(source, dtype=np.float32)
        except (TypeError, ValueError):
            raise AudioError(
                "a list of something other than numbers: not a recording; for several use transcribe_many"
            ) from None
    if isinstance(source, np.ndarray):
        return source
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(source, torch.Tensor):
        return None
    tensor = source.detach().cpu()
    array: npt.NDArray[Any] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array
