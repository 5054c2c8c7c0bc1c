"""Correct headers that hide audio from libsndfile, on the fly. libsndfile trusts an mp3's first frame: it stops early
in a variable-rate file without an index, and after the first of several concatenated files.

It also finds nothing in a wav whose recorder was interrupted before it wrote the length. A corrected header in front of
the same bytes solves both.
"""

from __future__ import annotations

import io
import os
import struct
from typing import BinaryIO, NamedTuple

_KBPS_V1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)
_KBPS_V2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0)
_RATES = (44100, 48000, 32000, 0)
_INDEX_KBPS = 9  # 128 or 80 kbit/s: a frame large enough for an index at every sampling rate


class SplicedFile(io.RawIOBase):
    """`prefix` followed by `file` from byte `skip` on, up to byte `end`, as one readable file."""

    def __init__(self, prefix: bytes, file: BinaryIO, skip: int, end: int | None = None) -> None:
        super().__init__()
        self._prefix = prefix
        self._file = file
        self._skip = skip
        end = os.fstat(file.fileno()).st_size if end is None else end
        self._size = len(prefix) + max(0, end - skip)
        self._at = 0
        self.fault: OSError | None = None  # kept, since libsndfile does not pass it on

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position from the start of the prefix."""
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        """Set the position."""
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        """Fill `buffer`; fewer bytes at the end of the file."""
        view = memoryview(buffer).cast("B")
        data = self._prefix[self._at : self._at + len(view)]
        if len(data) < len(view):
            at = self._at + len(data)
            try:
                self._file.seek(self._skip + max(0, at - len(self._prefix)))
                data += self._file.read(max(0, min(len(view) - len(data), self._size - at)))
            except OSError as error:
                self.fault = error
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


def unfinished_wav(file: BinaryIO) -> SplicedFile | None:
    """A wav whose length was left at 0 although audio follows, with a header that extends to the end of the file."""
    file.seek(0)
    head = file.read(65536)
    at = head.find(b"data\0\0\0\0", 12)
    rest = head[at + 8 : at + 16]
    if head[:4] != b"RIFF" or at < 0 or len(rest) < 8 or rest[:4] in (b"LIST", b"id3 ", b"bext", b"fact", b"afsp"):
        return None
    size = min(os.fstat(file.fileno()).st_size - at - 8, 0xFFFFFFF0)
    return SplicedFile(head[: at + 4] + struct.pack("<I", size), file, at + 8)


class Mp3Frame(NamedTuple):
    """The fields of an mp3 frame header."""

    head: bytes
    size: int  # bytes
    samples: int
    version1: bool
    mono: bool


def parse_frame(head: bytes) -> Mp3Frame | None:
    """The layer III frame that starts with these four bytes, if any."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version = head[1] >> 3 & 3  # 3: MPEG 1, 2: MPEG 2, 0: MPEG 2.5
    kbps = (_KBPS_V1 if version == 3 else _KBPS_V2)[head[2] >> 4]
    rate = _RATES[head[2] >> 2 & 3] // {3: 1, 2: 2, 0: 4, 1: 1}[version]
    if version == 1 or not kbps or not rate:
        return None
    samples = 1152 if version == 3 else 576
    size = samples // 8 * kbps * 1000 // rate + (head[2] >> 1 & 1)
    return Mp3Frame(head[:4], size, samples, version == 3, head[3] >> 6 == 3)


def whole_mp3(file: BinaryIO, frames: int) -> SplicedFile | None:
    """The mp3 with an index of its true length if `frames` (by its own index, or estimated) is wrong; else None.

    An index that declares more than exists is kept: the file is truncated.
    """
    start, first, count, indexed = _scan_mp3(file)
    if first is None or not count:
        return None
    surplus = count - frames / first.samples
    if abs(surplus) <= 4 or (indexed and surplus < 0):
        return None
    head = bytes([first.head[0], first.head[1] | 1, _INDEX_KBPS << 4 | first.head[2] & 0x0C, first.head[3]])
    index = parse_frame(head)
    if index is None:
        return None
    side = (17 if first.mono else 32) if first.version1 else (9 if first.mono else 17)
    size = os.fstat(file.fileno()).st_size - start
    tag = head + bytes(side) + b"Xing" + struct.pack(">III", 3, count, min(size + index.size, 2**32 - 1))
    return SplicedFile(tag.ljust(index.size, b"\0"), file, start)


def _scan_mp3(file: BinaryIO) -> tuple[int, Mp3Frame | None, int, bool]:
    """Offset and header of the first audio frame, the number of frames, and whether an index precedes them."""
    file.seek(0, os.SEEK_END)
    end = file.tell()
    at, start, count = 0, 0, 0
    first: Mp3Frame | None = None
    indexed = False
    while at < end - 4:
        file.seek(at)
        head = file.read(4)
        frame = parse_frame(head)
        if frame is None:
            at = _next_frame(file, at, head)
            continue
        if count == 0 and not indexed:
            body = file.read(64)
            start, first = at, frame
            if b"Xing" in body or b"Info" in body or b"VBRI" in body:
                at = start = at + frame.size
                indexed = True
                continue
        count += at + frame.size <= end
        at += frame.size
    return start, first, count, indexed


def _next_frame(file: BinaryIO, at: int, head: bytes) -> int:
    """Where to look next after bytes at `at` that are not a frame: after a tag, or at the next pair of frames."""
    if head[:3] == b"ID3":
        file.seek(at + 6)
        digits = file.read(4).ljust(4, b"\0")
        return at + 10 + sum((digit & 0x7F) << shift for digit, shift in zip(digits, (21, 14, 7, 0), strict=True))
    file.seek(at)
    block = file.read(65536)
    offset = block.find(b"\xff", 1)
    while offset >= 0:
        frame = parse_frame(block[offset : offset + 4])
        follower = block[offset + frame.size : offset + frame.size + 4] if frame else b""
        if frame and (len(follower) < 4 or parse_frame(follower)):
            return at + offset
        offset = block.find(b"\xff", offset + 1)
    return at + max(1, len(block) - 3)
