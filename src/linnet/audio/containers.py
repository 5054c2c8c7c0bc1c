"""The sound of mp4, m4a, aac, webm, mkv and other containers, by PyAV (the extra `av`).

Shapes: n frames, C channels.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import av
import numpy as np

from linnet.audio.decoders import Block, Undecodable, credible, frames_per_block, to_float
from linnet.errors import AudioError

# Playlists and other formats that lead to further files or addresses are left out on purpose.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,aac,ac3,eac3,adts,asf,avi,flv,mpegts,mpeg,mpegvideo,mp3,ogg,wav,w64,aiff,caf,"
    "flac,amr,amrnb,amrwb,ape,au,dts,dtshd,gsm,loas,mlp,mpc,mpc8,mxf,nut,oma,rm,shn,sln,sox,spdif,tak,thd,truehd,tta,voc,wv,xwma"
)
_MOST_PLANES = 7
_FAILURES = (av.error.FFmpegError, ValueError, RuntimeError, OSError, NotImplementedError)


class ContainerDecoder:
    """The best audio track of a media file."""

    def __init__(self, path: str, name: str) -> None:
        self.notices: list[str] = []
        self._path, self._name = path, name
        self._damaged = 0
        self._converter = _Frames()
        try:
            self._container = av.open(
                f"file:{path}",
                metadata_errors="ignore",
                options={"format_whitelist": _FORMATS, "protocol_whitelist": "file"},
            )
        except _FAILURES as error:
            raise Undecodable(_reason(error)) from error
        try:
            stream = self._choose(name)
            self._frames = self._decode(stream)
            self._next = next(self._frames, None)
            if self._next is None:
                raise Undecodable(f"no frame of its {stream.codec_context.name} track can be decoded")
        except BaseException:
            self.close()
            raise
        self.rate: int
        self.rate, samples = self._next
        self.channels: int = samples.shape[1]
        self.seconds = self.promised = self._header_seconds(stream)
        self.longest = credible(os.stat(path).st_size)  # noqa: PTH116
        self.floating = stream.codec_context.name.startswith("pcm_f")

    def _choose(self, name: str) -> Any:
        """The audio track to read."""
        tracks = self._container.streams.audio
        if not tracks:
            there = "pictures only" if self._container.streams.video else "no track that can be read"
            raise AudioError(f"{name}: has no audio track ({there}); give a file with sound")
        stream = self._container.streams.best("audio") or tracks[0]
        if stream.codec_context is None:
            raise Undecodable("its audio codec is unknown")
        if len(tracks) > 1:
            which = 1 + [track.index for track in tracks].index(stream.index)
            self.notices.append(f"has {len(tracks)} audio tracks; number {which} was read.")
        stream.codec_context.thread_count = 1
        return stream

    def _header_seconds(self, stream: Any) -> float | None:
        if stream.duration and stream.time_base:
            seconds = float(stream.duration * stream.time_base)
        else:
            seconds = (self._container.duration or 0) / av.time_base
        return seconds if seconds > 0 else None

    def _decode(self, stream: Any) -> Generator[tuple[int, Block], None, None]:
        """Rate and samples of each frame; packets that cannot be decoded are counted and passed over."""
        try:
            for packet in self._container.demux(stream):
                try:
                    for frame in packet.decode():
                        if frame.samples and frame.sample_rate:
                            yield frame.sample_rate, self._converter.samples(frame)
                except _FAILURES:
                    self._damaged += 1
        except _FAILURES as error:
            self.notices.append(f"reading ended early ({_reason(error)}).")
        if self._damaged:
            self.notices.append(f"{self._damaged} damaged packets were passed over.")

    def again(self) -> ContainerDecoder:
        """The same track from its start."""
        return ContainerDecoder(self._path, self._name)

    def read(self) -> Block:
        """About a second of frames of one rate and channel count."""
        if self._next is None:
            return np.zeros((0, self.channels), np.float32)
        self.rate, channels = self._next[0], self._next[1].shape[1]
        parts: list[Block] = []
        wanted = frames_per_block(self.rate, channels)
        while (
            self._next is not None and wanted > 0 and self._next[0] == self.rate and self._next[1].shape[1] == channels
        ):
            parts.append(self._next[1])
            wanted -= len(parts[-1])
            self._next = next(self._frames, None)
        return np.concatenate(parts)

    def close(self) -> None:
        """Close decoder and file, frames first."""
        if getattr(self, "_frames", None) is not None:
            self._frames.close()
        self._next = None
        self._container.close()


class _Frames:
    """Frames of any sample format as float32 [n, C]."""

    def __init__(self) -> None:
        self._key: tuple[Any, ...] = ()
        self._packer: Any = None

    def samples(self, frame: Any) -> Block:
        """The samples of one frame; 8 planes (7.1 sound) and more are interleaved first, for PyAV misses their end."""
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
