"""Decode bytes or arrays to blocks of float32 frames at their own sample rate. Shapes: n frames, C channels."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from linnet.audio import sniff, splice
from linnet.audio.inputs import CONTAINER_SUFFIXES
from linnet.audio.native_stderr import silenced
from linnet.errors import AudioError, LinnetError, MissingExtra, OptionError

if TYPE_CHECKING:
    from linnet.audio import ogg

Block = npt.NDArray[np.float32]  # [n, C]
_VALUES = 1 << 18  # maximum samples per block, over all channels


_UNKNOWN = 2**62
_GAPS = (0.2, 1.0, 5.0, 30.0)  # seconds to skip after damage, tried in this order
_MOST_GAPS = 50


class AudioDecoder(Protocol):
    """One audio track, read once from its start."""

    rate: int  # Hz of the last block read, or of the first one
    channels: int
    seconds: float | None  # duration by the header

    @property
    def promised(self) -> float | None:
        """Duration by the header in seconds, if a shorter track means damage."""
        ...

    longest: float  # seconds that a file of this size can plausibly hold
    floating: bool  # whether samples may exceed full scale 1
    notices: list[str]

    def again(self) -> AudioDecoder:
        """A new decoder of the same track, at its start."""
        ...

    def read(self) -> Block:
        """Read the next frames [n, C]; n is 0 at the end."""
        ...

    def close(self) -> None:
        """Release the decoder's resources."""
        ...


class UndecodableError(Exception):
    """A decoder cannot read a file; the text is the library's reason."""


def frames_per_block(rate: int, channels: int) -> int:
    """Frames of about one second, fewer for many channels."""
    return max(1, min(rate, _VALUES // max(1, channels)))


def credible_silence(silence: float, sound: float) -> bool:
    """Whether timestamps may imply this many seconds of silence for this much audio; otherwise they are damaged."""
    return silence <= 3600.0 + 10.0 * sound


def credible(size: int, rate: int, codec: str) -> float:
    """Seconds that `size` bytes can hold.

    Digital silence needs over 8 bytes per second, except in codecs with large blocks: FLAC packs 65,535 equal samples
    into 11 bytes, and Monkey's Audio marks whole frames as silent.
    """
    samples_per_byte = 6000.0 if codec.lower() in ("flac", "ape") else rate / 4.0
    return 10.0 + size * max(samples_per_byte / rate, 0.25)


class ArrayDecoder:
    """Samples in memory, [n] or [n, C]; integers are scaled to full scale 1."""

    def __init__(self, array: npt.NDArray[Any], rate: int) -> None:
        if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] > max(64, array.shape[0])):
            raise AudioError(
                f"array of shape {list(array.shape)}: expected [samples] or [samples, channels]; transpose it"
            )
        if array.ndim == 2 and array.shape[1] == 0:
            raise AudioError(f"array of shape {list(array.shape)}: has no channels")
        if array.dtype.kind not in "fiu" or (array.dtype.kind in "iu" and array.dtype.itemsize > 4):
            raise AudioError(
                f"array of {array.dtype}: expected float samples with full scale 1, or 8 to 32 bit integers"
            )
        self._array = array if array.ndim == 2 else array[:, None]
        self.floating = array.dtype.kind == "f"
        self._at = 0
        self.rate = int(rate)
        self.channels = self._array.shape[1]
        self.seconds: float | None = len(array) / self.rate if self.rate > 0 else None
        self.promised: float | None = None
        self.longest = math.inf
        self.notices: list[str] = []

    def again(self) -> ArrayDecoder:
        """A new decoder of the same array, at its start."""
        return ArrayDecoder(self._array, self.rate)

    def read(self) -> Block:
        """The next frames."""
        part = self._array[self._at : self._at + frames_per_block(self.rate, self.channels)]
        self._at += len(part)
        return to_float(part)

    def close(self) -> None:
        """Release the array."""
        self._array = self._array[:0]


def to_float(samples: npt.NDArray[Any]) -> Block:
    """Samples of any real type as float32, integers scaled to full scale 1."""
    if samples.dtype.kind == "f":
        with np.errstate(over="ignore"):  # overflow is reported as infinity
            return samples.astype(np.float32)
    scale = 2.0 ** (8 * samples.dtype.itemsize - 1)
    middle = scale if samples.dtype.kind == "u" else 0.0
    return ((samples.astype(np.float64) - middle) / scale).astype(np.float32)


class SoundFileDecoder:
    """Decoder of all formats that libsndfile reads: wav, flac, mp3, ogg, opus, aiff and more."""

    _sound: Any = None

    def __init__(self, path: str, part: ogg.OggPart | None = None) -> None:
        # By descriptor: by its name alone, libsndfile would read a text file named .au or .gsm as headerless audio.
        self._raw = open(path, "rb", buffering=0)  # noqa: PTH123, SIM115  closed by close()
        self._file: BinaryIO = open(path, "rb")  # noqa: PTH123, SIM115  for looking at headers
        self._path = path
        self.notices: list[str] = []
        try:
            self._input: Any = part.cut(self._file) if part else self._raw.fileno()
            self._sound = self._open()
            self._mend_header()
            self._missing = sniff.missing_share(self._file)
        except BaseException:
            self.close()
            raise
        self.rate: int = self._sound.samplerate
        self.channels: int = self._sound.channels
        self.floating = self._sound.subtype in ("FLOAT", "DOUBLE")
        self._frames: int = self._sound.frames
        self._at = 0
        self._gaps = 0
        self._over = False  # whether damage ended the reading
        self._unexamined = part is None  # whether the bytes after the audio are yet to be checked
        self._buffer = np.empty((frames_per_block(self.rate, self.channels), self.channels), np.float32)
        self.longest = credible(os.fstat(self._file.fileno()).st_size, max(1, self.rate), self._sound.format)
        self.seconds: float | None = self._frames / self.rate if 0 < self._frames < _UNKNOWN and self.rate > 0 else None

    @property
    def promised(self) -> float | None:
        """Duration by the header in seconds; longer than the audio if the file is truncated."""
        read = self._at / self.rate
        return max(self.seconds or 0.0, read * self._missing)

    def _open(self) -> Any:
        """Open the input from its start."""
        import soundfile

        class Forward(soundfile.SoundFile):  # type: ignore[misc]
            """Read forward only, without a seek after each block (slow, and inexact in lossy formats)."""

            def seekable(self) -> bool:
                return False

        self._raw.seek(0)
        if isinstance(self._input, splice.SplicedFile):
            self._input.seek(0)
        try:
            with silenced():
                return Forward(self._input, "r", closefd=False)
        except (soundfile.SoundFileError, OSError, ValueError, TypeError, RuntimeError) as error:
            raise UndecodableError(_reason(error)) from error

    def _mend_header(self) -> None:
        """Replace a header that hides a part of the recording."""
        mended: splice.SplicedFile | None = None
        if self._sound.format == "MP3":
            mended = splice.whole_mp3(self._file, self._sound.frames)
        elif self._sound.frames == 0:
            mended = splice.unfinished_wav(self._file)
            if mended:
                self.notices.append(
                    "its header was never completed (interrupted recording): read to the end of the file."
                )
        if mended:
            self._sound.close()
            self._input = mended
            self._sound = self._open()

    def again(self) -> SoundFileDecoder:
        """A new decoder of the same file, at its start."""
        return SoundFileDecoder(self._path)

    def read(self) -> Block:
        """Read the next frames; damage is replaced by silence up to where decoding can resume."""
        block = self._buffer[:0] if self._over else self._read()
        if self._unexamined and not len(block):  # only here: for FLAC this scans the whole file
            self._unexamined = False
            self.notices += sniff.tell_left_over(self._file)
        return block

    def _read(self) -> Block:
        import soundfile

        self._buffer.fill(np.nan)  # shows how far a failing read came
        try:
            with silenced():
                count = len(self._sound.read(out=self._buffer))
        except (soundfile.SoundFileError, OSError, ValueError, RuntimeError) as error:
            self._check_disk()
            count = int(np.logical_and.accumulate(np.isfinite(self._buffer).all(axis=1)).sum())
            gap = self._resume(self._at + count, _reason(error))
            self._at += count + gap
            return np.concatenate([self._buffer[:count], np.zeros((gap, self.channels), np.float32)])
        if count < len(self._buffer):
            self._check_disk()
        self._at += count
        return self._buffer[:count].copy()

    def _check_disk(self) -> None:
        """Raise the `OSError` of a failed disk, which libsndfile reports as damage or the end."""
        if isinstance(self._input, splice.SplicedFile):
            if self._input.fault is not None:
                raise self._input.fault
            return
        at = self._raw.tell()
        self._raw.read(1)
        self._raw.seek(at)

    def _resume(self, at: int, reason: str) -> int:
        """Resume after damage at frame `at`; returns the number of frames skipped, 0 if nothing more can be read."""
        when = f"damaged at {at / self.rate:.1f} s ({reason})"
        self._gaps += 1
        for seconds in _GAPS if self._gaps <= _MOST_GAPS else ():
            gap = round(seconds * self.rate)
            if at + gap < self._frames < _UNKNOWN and self._reopen_at(at + gap):
                self.notices.append(f"{when}: {seconds:g} s there were replaced by silence.")
                return gap
        self.notices.append(f"{when}: the rest could not be read.")
        self._over = True
        return 0

    def _reopen_at(self, frame: int) -> bool:
        """Whether decoding can resume at `frame`."""
        import soundfile

        try:
            self._sound.close()
            self._sound = self._open()
            sound = self._sound
            with silenced():
                return bool(sound.seek(frame) == frame and len(sound.read(1)) and sound.seek(frame) == frame)
        except (UndecodableError, soundfile.SoundFileError, OSError, ValueError, RuntimeError):
            return False

    def close(self) -> None:
        """Close the file."""
        if self._sound is not None:
            self._sound.close()
        self._raw.close()
        self._file.close()


def _reason(error: Exception) -> str:
    text = str(getattr(error, "strerror", None) or error)
    return text.rpartition(": ")[2].strip().rstrip(".") or text


def unreadable(name: str, error: Exception, when: str = "") -> AudioError:
    """The error for an unexpected failure of a library or the disk."""
    return AudioError(
        f"{name}: reading failed{when} ({_reason(error) or type(error).__name__}); check that it plays and that "
        "its disk works, or convert it, as in  ffmpeg -i INPUT out.flac"
    )


def track_index(track: int | None, tracks: int, name: str) -> int | None:
    """The index of the chosen audio track, from 0; None for the default. Raises `OptionError` if it does not exist."""
    if track is None or (isinstance(track, int) and 1 <= track <= tracks):
        return None if track is None else track - 1
    there = "1 audio track" if tracks == 1 else f"{tracks} audio tracks, 1 to {tracks}"
    raise OptionError(f"track={track}: {name} has {there}; choose one of them, or leave track out to read the best")


def open_file(path: str, name: str, track: int | None = None) -> AudioDecoder:
    """Open a decoder for the file at `path`, track `track` (from 1); errors name it `name`."""
    try:
        return _open_file(path, name, track)
    except LinnetError:
        raise
    except Exception as error:
        raise unreadable(name, error) from error


def _open_file(path: str, name: str, track: int | None) -> AudioDecoder:
    with Path(path).open("rb") as file:
        head = file.read(sniff.HEAD)
    if not head:
        raise AudioError(f"{name}: is empty (0 bytes); record, copy or download it again")
    try:
        decoder = _open_sound(path, head)
        try:
            track_index(track, 1, name)
        except OptionError:
            decoder.close()
            raise
        return decoder
    except UndecodableError as error:
        reason = str(error)
    what = sniff.foreign(head)
    if what is not None:
        raise AudioError(f"{name}: is {what}, not audio, despite its name; give the audio file itself")
    try:
        from linnet.audio.containers import ContainerDecoder

        return ContainerDecoder(path, name, track)
    except UndecodableError as error:
        raise AudioError(
            f"{name}: cannot be decoded ({reason}; {error}); it is damaged, truncated or of an unknown format: "
            "check that it plays, or convert it, as in  ffmpeg -i INPUT out.flac"
        ) from error
    except ImportError as error:
        kind = sniff.container(head) or _by_suffix(name)
        if kind:
            raise MissingExtra(f"{name}: {kind} audio", extra="av") from error
        raise AudioError(
            f"{name}: cannot be decoded ({reason}); check that it plays, convert it, as in  ffmpeg -i INPUT out.flac, "
            'or let PyAV try: pip install "linnet[av]"'
        ) from error


def _open_sound(path: str, head: bytes) -> AudioDecoder:
    """Open the file with libsndfile. Raises `UndecodableError`."""
    if head.startswith(b"OggS"):
        from linnet.audio.ogg import OggDecoder

        return OggDecoder(path)
    return SoundFileDecoder(path)


def _by_suffix(name: str) -> str:
    """The suffix, if PyAV reads this format and libsndfile does not."""
    suffix = Path(name).suffix.lower()
    return suffix[1:] if suffix in CONTAINER_SUFFIXES else ""
