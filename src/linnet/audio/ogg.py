"""Ogg files of several parts: chained streams, and stretches between damaged pages. libsndfile reads only the first
stream and stops at the first hole.

Each part is therefore read separately, after the headers of its stream; the positions of pages tell how much audio is
missing between two parts.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing
from typing import BinaryIO, NamedTuple

import numpy as np

from linnet.audio.decoders import Block, SoundFileDecoder, UndecodableError, credible_silence, frames_per_block
from linnet.audio.splice import SplicedFile

_FIRST, _LAST = 2, 4  # flags of a page: of its stream
_NOWHERE = 2**64 - 1  # the position of a page on which no packet ends
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_BLOCK = 1 << 16
_MOST_LOOKED_AT = 100


class OggPage(NamedTuple):
    """One page with a valid checksum."""

    start: int
    end: int
    flags: int
    position: int  # samples of the stream up to the last packet that ends on this page
    stream: int
    number: int
    body: bytes  # its first bytes


class OggPart(NamedTuple):
    """A stretch of pages without a hole."""

    headers: tuple[int, int]  # ranges of bytes to read before it; empty if it starts with its own headers
    start: int
    end: int
    rate: int  # positions per second
    begun: int  # end position of the part before it, 0 in a new stream
    position: int  # its end position
    ended: bool  # whether the stream has an end mark

    def silence(self, seconds: float) -> float:
        """Seconds of the hole before this part, of which `seconds` can be read; 0 in a new stream."""
        whole = (self.position - self.begun) / self.rate
        return max(0.0, whole - seconds) if self.headers[1] else 0.0

    def cut(self, file: BinaryIO) -> SplicedFile:
        """This part as a file."""
        file.seek(self.headers[0])
        return SplicedFile(file.read(self.headers[1] - self.headers[0]), file, self.start, self.end)


class OggDecoder:
    """Decoder of all parts of an Ogg file, by libsndfile, with silence for missing audio."""

    floating = False

    def __init__(self, path: str) -> None:
        self._path = path
        with open(path, "rb") as file:  # noqa: PTH123
            self._parts = parts(file)
        self._ended = not self._parts or self._parts[-1].ended
        self.notices: list[str] = []
        self.seconds = self.promised = self._length()
        self._at = 0.0  # seconds read
        self._silent = 0.0  # of these, silence for holes
        self._silence = 0  # samples left before the part
        first = self._parts.pop(0) if self._parts else None
        self._sound = SoundFileDecoder(path, first if self._parts else None)
        self.rate, self.channels, self.longest = self._sound.rate, self._sound.channels, self._sound.longest

    def _length(self) -> float | None:
        """Duration by the headers in seconds; None if there are too many parts to look at."""
        if len(self._parts) > _MOST_LOOKED_AT:
            return None
        length = 0.0
        for part in self._parts:
            try:
                with closing(SoundFileDecoder(self._path, part)) as sound:
                    seconds = sound.seconds or 0.0
            except UndecodableError:
                continue
            length += seconds + part.silence(seconds)
        return length or None

    def again(self) -> OggDecoder:
        """A new decoder of the same file, at its start."""
        return OggDecoder(self._path)

    def read(self) -> Block:
        """Read the next frames of the current part, or of the silence before it."""
        while not self._silence:
            block = self._sound.read()
            if len(block):
                self._at += len(block) / self.rate
                return block
            if not self._go_on():
                return block
        count = min(self._silence, frames_per_block(self.rate, self.channels))
        self._silence -= count
        self._at += count / self.rate
        return np.zeros((count, self.channels), np.float32)

    def _go_on(self) -> bool:
        """Open the next readable part; returns False at the end."""
        if self._sound.notices:
            self.notices += self._sound.notices
            self._sound.notices = []
        while self._parts:
            part = self._parts.pop(0)
            try:
                sound = SoundFileDecoder(self._path, part)
            except UndecodableError as error:
                self.notices.append(f"a part of it at {self._at:.1f} s cannot be read ({error}).")
                continue
            self._sound.close()
            self._sound, self.rate, self.channels = sound, sound.rate, sound.channels
            gap = part.silence(sound.seconds or 0.0)
            if not credible_silence(self._silent + gap, self._at - self._silent):
                self.notices.append(f"damaged at {self._at:.1f} s: the length of the damage is unknown.")
                gap = 0.0
            elif gap:
                self.notices.append(f"damaged at {self._at:.1f} s: {gap:.1f} s there were replaced by silence.")
            self._silent += gap
            self._silence = round(gap * self.rate)
            self.longest += gap
            return True
        if not self._ended:
            self.notices.append("it has no end mark: the file is truncated, or its recording was interrupted.")
        self._ended = True
        return False

    def close(self) -> None:
        """Close the current part."""
        self._sound.close()


def parts(file: BinaryIO) -> list[OggPart]:
    """The parts of an Ogg file in order."""
    found: list[OggPart] = []
    headers = (0, 0)  # of the current stream
    last: dict[int, int] = {}  # the last page number of each stream in it
    opening = False
    for page in _pages(file):
        if page.flags & _FIRST and not opening:
            rate, headers, last = _rate(page.body), (page.start, page.start), {}
            found.append(OggPart((0, 0), page.start, page.end, rate, 0, 0, False))
        opening = bool(page.flags & _FIRST)
        if not found:
            continue
        part = found[-1]
        hole = page.number != last.get(page.stream, page.number - 1) + 1
        last[page.stream] = page.number
        if page.position in (0, _NOWHERE) and part.position == 0:
            headers = (headers[0], page.end)
        elif hole and len(last) == 1:
            found.append(OggPart(headers, page.start, page.end, part.rate, part.position, part.position, False))
        position = found[-1].position if page.position == _NOWHERE else page.position
        found[-1] = found[-1]._replace(end=page.end, position=position, ended=bool(page.flags & _LAST))
    return found


def _rate(body: bytes) -> int:
    """Positions per second, by the first page of a stream."""
    rate = 0
    if body.startswith(b"\x01vorbis") and len(body) >= 16:
        rate = struct.unpack_from("<I", body, 12)[0]
    elif body.startswith(b"\x7fFLAC") and len(body) >= 30:
        rate = int.from_bytes(body[27:30]) >> 4
    elif body.startswith(b"Speex   ") and len(body) >= 40:
        rate = struct.unpack_from("<I", body, 36)[0]
    return rate or 48_000  # as in Opus


def _pages(file: BinaryIO) -> Iterator[OggPage]:
    size = os.fstat(file.fileno()).st_size
    at = 0
    while at < size:
        file.seek(at)
        page = _page(file, at)
        if page is not None:
            yield page
            at = page.end
            continue
        file.seek(at + 1)
        offset = file.read(_BLOCK).find(b"OggS")
        at += 1 + (offset if offset >= 0 else _BLOCK - 3)


def _page(file: BinaryIO, at: int) -> OggPage | None:
    """The page at the position of `file`; None if there is none or it is damaged."""
    head = file.read(27)
    if len(head) < 27 or not head.startswith(b"OggS\0"):
        return None
    flags, position, stream, number, checksum, segments = struct.unpack_from("<BQIIIB", head, 5)
    table = file.read(segments)
    body = file.read(sum(table))
    if len(table) < segments or len(body) < sum(table):
        return None
    if _checksum(head[:22] + bytes(4) + head[26:] + table + body) != checksum:
        return None
    return OggPage(at, at + 27 + segments + len(body), flags, position, stream, number, body[:64])


def _checksum(data: bytes) -> int:
    """Ogg's CRC: zlib's with reversed bit order and without inversion."""
    reflected = zlib.crc32(data.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(reflected.to_bytes(4, "little").translate(_REVERSED), "big")
