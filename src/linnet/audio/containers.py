"""Decode the audio of mp4, m4a, aac, webm, mkv and other containers with PyAV (the extra `av`).

Shapes: n frames, C channels.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any, NamedTuple

import av
import numpy as np

from linnet.audio import sniff
from linnet.audio.decoders import (
    Block,
    UndecodableError,
    credible,
    credible_silence,
    frames_per_block,
    to_float,
    track_index,
)
from linnet.errors import AudioError

# Playlists and other formats that refer to further files or URLs are excluded on purpose.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,aac,ac3,eac3,adts,asf,avi,flv,mpegts,mpeg,mpegvideo,mp3,ogg,wav,w64,aiff,caf,"
    "flac,amr,amrnb,amrwb,ape,au,dts,dtshd,gsm,loas,mlp,mpc,mpc8,mxf,nut,oma,rm,shn,sln,sox,spdif,tak,thd,truehd,tta,voc,wv,xwma"
)
_MOST_PLANES = 7
_JITTER = 0.1  # seconds by which timestamps and samples may differ: rounding, recorder buffers, codec priming
_RESET = 1.0  # seconds; a larger step back means that another recording's clock begins
_FAILURES = (av.error.FFmpegError, ValueError, RuntimeError, OSError, NotImplementedError)


class Frame(NamedTuple):
    """Decoded samples [n, C] and their timestamp in the container."""

    rate: int
    samples: Block
    time: float | None  # seconds, from the container

    @property
    def seconds(self) -> float:
        """Its duration."""
        return len(self.samples) / self.rate


class ContainerDecoder:
    """One audio track of a media file. Each frame is placed at its timestamp; gaps become silence."""

    def __init__(self, path: str, name: str, track: int | None = None) -> None:
        self.notices: list[str] = []
        self._path, self._name, self._track = path, name, track
        self._damaged = 0
        self._converter = _Frames()
        try:
            self._container = av.open(
                f"file:{path}",
                metadata_errors="ignore",
                options={"format_whitelist": _FORMATS, "protocol_whitelist": "file"},
            )
        except _FAILURES as error:
            raise UndecodableError(_reason(error)) from error
        try:
            self._begin(self._choose(name))
        except BaseException:
            self.close()
            raise

    def _begin(self, stream: Any) -> None:
        """Decode the first frames of a track to learn its sample rate and channels."""
        start = max(0.0, (self._container.start_time or 0) / av.time_base)
        self._clock = Clock(start)
        self._frames = self._decode(stream)
        self._after = next(self._frames, None)
        if self._after is None:
            raise UndecodableError(f"no frame of its {stream.codec_context.name} track can be decoded")
        self.rate: int = self._after.rate
        self.channels: int = self._after.samples.shape[1]
        self.floating = stream.codec_context.name.startswith("pcm_f")
        self.seconds = self._header_seconds(stream, start)
        self._promised = (self.seconds or 0.0) if self._is_promise(stream) else 0.0
        with open(self._path, "rb") as file:  # noqa: PTH123
            self._missing = sniff.missing_share(file)
        self.longest = credible(os.stat(self._path).st_size, self.rate, stream.codec_context.name)  # noqa: PTH116
        self._silence = 0  # samples left before the next frame
        self._advance()

    def _choose(self, name: str) -> Any:
        """The audio track to read."""
        tracks = self._container.streams.audio
        if not tracks:
            there = "video only" if self._container.streams.video else "no readable track"
            raise AudioError(f"{name}: has no audio track ({there}); give a file with audio")
        index = track_index(self._track, len(tracks), name)
        stream = (self._container.streams.best("audio") or tracks[0]) if index is None else tracks[index]
        if stream.codec_context is None:
            raise UndecodableError("its audio codec is unknown")
        if len(tracks) > 1 and index is None:
            which = 1 + [track.index for track in tracks].index(stream.index)
            self.notices.append(f"has {len(tracks)} audio tracks; number {which} was read.")
        stream.codec_context.thread_count = 1
        return stream

    def _header_seconds(self, stream: Any, start: float) -> float | None:
        if stream.duration and stream.time_base:
            lead = float((stream.start_time or 0) * stream.time_base) - start
            seconds = float(stream.duration * stream.time_base) + max(0.0, lead)
        else:  # of the whole file: in Matroska its end, for bare frames an estimate
            seconds = (self._container.duration or 0) / av.time_base
            seconds -= start if "matroska" in self._container.format.name else 0.0
        return seconds if seconds > 0 else None

    def _is_promise(self, stream: Any) -> bool:
        """Whether the header's duration is this track's: the track states its own, or is the only audio track."""
        if self._container.format.name == "aac":
            return False
        return bool(stream.duration and stream.time_base) or len(self._container.streams.audio) == 1

    def _decode(self, stream: Any) -> Generator[Frame, None, None]:
        """Yield the frames; packets that cannot be decoded are counted and skipped."""
        try:
            for packet in self._container.demux(stream):
                try:
                    for frame in packet.decode():
                        if frame.samples and frame.sample_rate:
                            yield Frame(frame.sample_rate, self._converter.samples(frame), frame.time)
                except _FAILURES:
                    self._damaged += 1
        except _FAILURES as error:
            self.notices.append(f"reading ended early ({_reason(error)}).")
        if self._damaged:
            self.notices.append(f"{self._damaged} damaged packets were skipped.")

    @property
    def promised(self) -> float | None:
        """Duration by the header in seconds, also if it is stated in bytes."""
        return max(self._promised, self._clock.at * self._missing)

    def again(self) -> ContainerDecoder:
        """A new decoder of the same track, at its start."""
        return ContainerDecoder(self._path, self._name, self._track)

    def read(self) -> Block:
        """Read about a second of frames of one rate and channel count, or of the silence before them."""
        if self._next is None:
            return np.zeros((0, self.channels), np.float32)
        self.rate, channels = self._next.rate, self._next.samples.shape[1]
        wanted = frames_per_block(self.rate, channels)
        if self._silence:
            count = min(self._silence, wanted)
            self._silence -= count
            return np.zeros((count, channels), np.float32)
        parts: list[Block] = []
        while wanted > 0 and self._follows(channels) and self._next is not None:
            parts.append(self._next.samples)
            wanted -= len(parts[-1])
            self._advance()
        return np.concatenate(parts)

    def _follows(self, channels: int) -> bool:
        """Whether the next frame belongs to the block being read."""
        ahead = self._next
        return bool(ahead and not self._silence and (ahead.rate, ahead.samples.shape[1]) == (self.rate, channels))

    def _advance(self) -> None:
        """Move to the next frame and compute the silence before it."""
        self._next, self._after = self._after, next(self._frames, None)
        if self._next is None:
            self.notices += self._clock.notices()
            with open(self._path, "rb") as file:  # noqa: PTH123
                self.notices += sniff.tell_left_over(file)
            return
        gap = self._clock.gap(self._next, self._after)
        self._silence = round(gap * self._next.rate)
        self.longest += gap

    def close(self) -> None:
        """Close the decoder, then the file."""
        if getattr(self, "_frames", None) is not None:
            self._frames.close()
        self._next = self._after = None
        self._container.close()


class Clock:
    """Compares frames with their timestamps, which take precedence: a jump ahead means silence.

    A jump ahead or back is accepted only if the next frame confirms it, since single timestamps are often damaged.
    """

    def __init__(self, start: float) -> None:
        self._start = start  # the timestamp of our second 0
        self.at = 0.0  # seconds so far
        self._silence = 0.0
        self._gaps: list[tuple[float, float]] = []  # the first gap: its position and length in seconds
        self._filled, self._refused, self._resets = 0, 0, 0

    def gap(self, frame: Frame, after: Frame | None) -> float:
        """Seconds of silence before `frame`; advances past both."""
        jump = self._jump(frame, after)
        if jump < -_RESET:
            self._start += jump
            self._resets += 1
        silence = jump if jump > _JITTER else 0.0
        if not credible_silence(self._silence + silence, self.at - self._silence):
            self._start += jump
            self._refused += 1
            silence = 0.0
        if silence and self.at:  # a late start is not a gap
            self._gaps = self._gaps or [(self.at, silence)]
            self._filled += 1
        self._silence += silence
        self.at += silence + frame.seconds
        return silence

    def _jump(self, frame: Frame, after: Frame | None) -> float:
        """Seconds between the end of what was read and this frame, as it and the next frame agree."""
        if frame.time is None or after is None:
            return 0.0
        jump = frame.time - self._start - self.at
        if after.time is None:
            return jump
        of_after = jump + after.time - frame.time - frame.seconds
        return min(jump, of_after, key=abs) if jump * of_after > 0 else 0.0

    def notices(self) -> list[str]:
        """Sentences on how jumps were handled."""
        said = []
        if self._filled:
            at, seconds = self._gaps[0]
            gaps = "1 gap in its timestamps was" if self._filled == 1 else f"{self._filled} gaps in its timestamps were"
            said.append(f"{gaps} filled with silence, the first at {at:.1f} s ({seconds:.1f} s long).")
        if self._resets:
            said.append(f"its timestamps jump back in {self._resets} places: the audio was joined there.")
        if self._refused:
            said.append(f"its timestamps jump too far ahead in {self._refused} places: no silence was inserted there.")
        return said


class _Frames:
    """Converts frames of any sample format to float32 [n, C]."""

    def __init__(self) -> None:
        self._key: tuple[Any, ...] = ()
        self._packer: Any = None

    def samples(self, frame: Any) -> Block:
        """The samples of one frame. 8 planes (7.1 audio) or more are interleaved first, since PyAV truncates them."""
        channels = frame.layout.nb_channels
        if not frame.format.is_planar:
            return to_float(frame.to_ndarray().reshape(-1, channels))
        if channels <= _MOST_PLANES:
            return to_float(frame.to_ndarray().T)
        key = (frame.sample_rate, frame.layout.name, frame.format.name)
        if key != self._key:
            self._packer = av.AudioResampler(format="flt", layout=frame.layout, rate=frame.sample_rate)
            self._key = key
        packed = [part.to_ndarray().reshape(-1, channels) for part in self._packer.resample(frame)]
        return np.concatenate([np.zeros((0, channels), np.float32), *packed])


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error).partition(": 'file:")[0]
