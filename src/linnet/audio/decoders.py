"""What turns bytes or arrays into blocks of float32 frames at their own rate. Shapes: n frames, C channels."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from linnet.audio import sniff, splice
from linnet.audio.hush import hushed
from linnet.audio.inputs import CONTAINER_SUFFIXES
from linnet.errors import AudioError, LinnetError, MissingExtra, OptionError

if TYPE_CHECKING:
    from linnet.audio import ogg

Block = npt.NDArray[np.float32]  # [n, C]
_VALUES = 1 << 18  # at most so many samples in one block, all channels together


_UNKNOWN = 2**62
_GAPS = (0.2, 1.0, 5.0, 30.0)  # seconds passed over behind damage, tried in this order
_MOST_GAPS = 50


class Decoder(Protocol):
    """One sound, read once from its start."""

    rate: int  # Hz of the block read last, or of the first one to come
    channels: int
    seconds: float | None  # length by the header

    @property
    def promised(self) -> float | None:
        """Seconds by the header, where a shorter sound means damage."""
        ...

    longest: float  # seconds that a recording of so many bytes can credibly have
    floating: bool  # whether its samples need not keep to full scale 1
    notices: list[str]

    def again(self) -> Decoder:
        """A decoder of the same sound at its start."""
        ...

    def read(self) -> Block:
        """The next frames [n, C], none of them at the end."""
        ...

    def close(self) -> None:
        """Release what the decoder holds."""
        ...


class UndecodableError(Exception):
    """A decoder cannot make anything of a file; the text is the library's reason."""


def frames_per_block(rate: int, channels: int) -> int:
    """About one second, less for many channels."""
    return max(1, min(rate, _VALUES // max(1, channels)))


def credible_silence(silence: float, sound: float) -> bool:
    """Whether time stamps may make so many seconds of silence in so many of sound; else they are damaged."""
    return silence <= 3600.0 + 10.0 * sound


def credible(size: int, rate: int, codec: str) -> float:
    """Seconds that `size` bytes can hold: digital silence needs over 8 bytes a second, but in codecs of large blocks.

    FLAC packs 65,535 equal samples into 11 bytes, and Monkey's Audio marks whole frames as silent.
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
            raise AudioError(f"array of shape {list(array.shape)}: has no channel")
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
        """The same array from its start."""
        return ArrayDecoder(self._array, self.rate)

    def read(self) -> Block:
        """The next frames."""
        part = self._array[self._at : self._at + frames_per_block(self.rate, self.channels)]
        self._at += len(part)
        return to_float(part)

    def close(self) -> None:
        """Let go of the array."""
        self._array = self._array[:0]


def to_float(samples: npt.NDArray[Any]) -> Block:
    """Samples of any real type as float32, integers scaled to full scale 1."""
    if samples.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what overflows is reported as infinite
            return samples.astype(np.float32)
    scale = 2.0 ** (8 * samples.dtype.itemsize - 1)
    middle = scale if samples.dtype.kind == "u" else 0.0
    return ((samples.astype(np.float64) - middle) / scale).astype(np.float32)


class SoundFileDecoder:
    """Whatever libsndfile reads: wav, flac, mp3, ogg, opus, aiff and more."""

    _sound: Any = None

    def __init__(self, path: str, part: ogg.OggPart | None = None) -> None:
        # By descriptor: libsndfile would take a text named .au or .gsm for headerless sound by its name alone.
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
        self._over = False  # whether damage ended it
        self._unexamined = part is None  # whether what lies behind the sound is still to be looked at
        self._buffer = np.empty((frames_per_block(self.rate, self.channels), self.channels), np.float32)
        self.longest = credible(os.fstat(self._file.fileno()).st_size, max(1, self.rate), self._sound.format)
        self.seconds: float | None = self._frames / self.rate if 0 < self._frames < _UNKNOWN and self.rate > 0 else None

    @property
    def promised(self) -> float | None:
        """Seconds by the header: more than there are where the file ends before the sound that the header tells of."""
        read = self._at / self.rate
        return max(self.seconds or 0.0, read * self._missing)

    def _open(self) -> Any:
        """Open the input from its start."""
        import soundfile

        class Forward(soundfile.SoundFile):  # type: ignore[misc]
            """Read forward only, so that no seek follows each block (slow, and inexact in lossy formats)."""

            def seekable(self) -> bool:
                return False

        self._raw.seek(0)
        if isinstance(self._input, splice.SplicedFile):
            self._input.seek(0)
        try:
            with hushed():
                return Forward(self._input, "r", closefd=False)
        except (soundfile.SoundFileError, OSError, ValueError, TypeError, RuntimeError) as error:
            raise UndecodableError(_reason(error)) from error

    def _mend_header(self) -> None:
        """Put a better header before a recording whose own one hides a part of it."""
        mended: splice.SplicedFile | None = None
        if self._sound.format == "MP3":
            mended = splice.whole_mp3(self._file, self._sound.frames)
        elif self._sound.frames == 0:
            mended = splice.unfinished_wav(self._file)
            if mended:
                self.notices.append(
                    "its header was never completed (an interrupted recording): read to the end of the file."
                )
        if mended:
            self._sound.close()
            self._input = mended
            self._sound = self._open()

    def again(self) -> SoundFileDecoder:
        """The same file from its start."""
        return SoundFileDecoder(self._path)

    def read(self) -> Block:
        """The next frames; at a damaged place what stands before it, and silence up to where reading can go on."""
        block = self._buffer[:0] if self._over else self._read()
        if self._unexamined and not len(block):  # not before: of FLAC the whole file is looked through
            self._unexamined = False
            self.notices += sniff.tell_left_over(self._file)
        return block

    def _read(self) -> Block:
        import soundfile

        self._buffer.fill(np.nan)  # shows how far a read came that fails
        try:
            with hushed():
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
        """Raise the `OSError` where the disk failed, not the sound; libsndfile takes it for damage, or for the end."""
        if isinstance(self._input, splice.SplicedFile):
            if self._input.fault is not None:
                raise self._input.fault
            return
        at = self._raw.tell()
        self._raw.read(1)
        self._raw.seek(at)

    def _resume(self, at: int, reason: str) -> int:
        """Go on behind damage at frame `at`; returns how many frames were passed over, 0 where the sound ends there."""
        when = f"damaged at {at / self.rate:.1f} s ({reason})"
        self._gaps += 1
        for seconds in _GAPS if self._gaps <= _MOST_GAPS else ():
            gap = round(seconds * self.rate)
            if at + gap < self._frames < _UNKNOWN and self._reopen_at(at + gap):
                self.notices.append(f"{when}: {seconds:g} s there were replaced by silence.")
                return gap
        self.notices.append(f"{when}: what follows could not be read.")
        self._over = True
        return 0

    def _reopen_at(self, frame: int) -> bool:
        """Whether reading can go on at `frame`."""
        import soundfile

        try:
            self._sound.close()
            self._sound = self._open()
            sound = self._sound
            with hushed():
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
    """What the user reads where a library or the disk failed in a way that no decoder expects."""
    return AudioError(
        f"{name}: reading failed{when} ({_reason(error) or type(error).__name__}); check that it plays and its disk "
        "works, or convert it, as in  ffmpeg -i INPUT out.flac"
    )


def track_index(track: int | None, tracks: int, name: str) -> int | None:
    """Which audio track, counted from 0, None where any will do; `OptionError` where it is not there."""
    if track is None or (isinstance(track, int) and 1 <= track <= tracks):
        return None if track is None else track - 1
    there = "1 audio track" if tracks == 1 else f"{tracks} audio tracks, 1 to {tracks}"
    raise OptionError(f"track={track}: {name} has {there}; choose one of them, or none to read the best")


def open_file(path: str, name: str, track: int | None = None) -> Decoder:
    """The decoder that can read the file at `path`, track `track` of it (from 1); errors speak of `name`."""
    try:
        return _open_file(path, name, track)
    except LinnetError:
        raise
    except Exception as error:
        raise unreadable(name, error) from error


def _open_file(path: str, name: str, track: int | None) -> Decoder:
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
        raise AudioError(f"{name}: is {what}, not sound, whatever its name says; give the audio file itself")
    try:
        from linnet.audio.containers import ContainerDecoder

        return ContainerDecoder(path, name, track)
    except UndecodableError as error:
        raise AudioError(
            f"{name}: cannot be decoded ({reason}; {error}); it is damaged, cut short or in an unknown format: "
            "check that it plays, or convert it, as in  ffmpeg -i INPUT out.flac"
        ) from error
    except ImportError as error:
        kind = sniff.container(head) or _by_suffix(name)
        if kind:
            raise MissingExtra(f"{name}: {kind} sound", extra="av") from error
        raise AudioError(
            f"{name}: cannot be decoded ({reason}); check that it plays, convert it, as in  ffmpeg -i INPUT out.flac, "
            'or let PyAV try: pip install "linnet[av]"'
        ) from error


def _open_sound(path: str, head: bytes) -> Decoder:
    """What libsndfile makes of the file, else `UndecodableError`."""
    if head.startswith(b"OggS"):
        from linnet.audio.ogg import OggDecoder

        return OggDecoder(path)
    return SoundFileDecoder(path)


def _by_suffix(name: str) -> str:
    """The suffix, where it is of a format that PyAV reads and libsndfile does not."""
    suffix = Path(name).suffix.lower()
    return suffix[1:] if suffix in CONTAINER_SUFFIXES else ""
