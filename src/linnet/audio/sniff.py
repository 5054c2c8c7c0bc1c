"""Detect what a file is by its first bytes, and compare the length in its header with its size."""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

HEAD = 4096  # bytes read
_MOST_CHUNKS = 10_000

_FOREIGN = (  # not audio
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive or office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\x7fELF", "a program"),
)
_CONTAINERS = (  # offset, magic, what PyAV reads beyond libsndfile
    (4, b"ftyp", "mp4/m4a"),
    (4, b"moov", "mp4/m4a"),
    (4, b"mdat", "mp4/m4a"),
    (0, b"\x1a\x45\xdf\xa3", "webm/mkv"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "wma/wmv"),
    (0, b"FLV\x01", "flv"),
    (8, b"AVI ", "avi"),
    (0, b"#!AMR", "amr"),
    (0, b"\x0b\x77", "ac3"),
    (0, b"\x00\x00\x01\xba", "mpeg"),
    (0, b"\x47\x40", "mpeg-ts"),
)
_CONTROLS = frozenset(range(32)) - frozenset(b"\t\n\r\f\x1b")


def foreign(head: bytes) -> str | None:
    """What the file is if it is clearly not audio: `text`, `a web page`, `a PDF document`, ...

    >>> foreign(b"<!DOCTYPE html><html>")
    'a web page'
    """
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "a web page"
    for magic, what in _FOREIGN:
        if head.startswith(magic):
            return what
    if not head.strip(b"\0"):
        return "nothing but zero bytes"
    if _CONTROLS.isdisjoint(head):
        try:
            head[:-4].decode() if len(head) == HEAD else head.decode()
        except UnicodeDecodeError:
            return None
        return "text"
    return None


def container(head: bytes) -> str | None:
    """The container format that needs PyAV; None for anything else.

    >>> container(b"\\x00\\x00\\x00\\x20ftypM4A ")
    'mp4/m4a'
    """
    for offset, magic, what in _CONTAINERS:
        if head[offset : offset + len(magic)] == magic:
            return what
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "aac"
    return None


class _Chunks(NamedTuple):
    """The layout of a chunked format."""

    first: int  # offset of the first chunk
    name: int  # bytes per name
    size: str  # struct format of a chunk's size
    align: int
    data: bytes  # name of the audio chunk
    skip: int = 0  # bytes in it before the audio
    inclusive: bool = False  # whether the size includes name and size


_W64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_FEW = 4096  # bytes after a recording that are not worth a notice
_CHUNKED = {
    b"RIFF": _Chunks(12, 4, "<I", 2, b"data"),
    b"RIFX": _Chunks(12, 4, ">I", 2, b"data"),
    b"RF64": _Chunks(12, 4, "<I", 2, b"data"),
    b"BW64": _Chunks(12, 4, "<I", 2, b"data"),
    b"FORM": _Chunks(12, 4, ">I", 2, b"SSND", skip=8),
    b"caff": _Chunks(8, 4, ">q", 1, b"data", skip=4),
    _W64: _Chunks(40, 16, "<q", 8, b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a", inclusive=True),
}


class _Chunk(NamedTuple):
    """One chunk of a file."""

    name: bytes
    start: int  # of its content
    size: int  # bytes of content by its header
    end: int  # start of the next one


def missing_share(file: BinaryIO) -> float:
    """The size of the audio by its header / the bytes that exist; 1 if nothing is missing.

    For formats whose header states bytes: wav (also over 2 and 4 GB), aiff, caf, w64, au, sph and voc.
    """
    head, end, layout = _survey(file)
    if layout is not None:
        found = _chunk_with_sound(file, layout, end)
    elif head[:4] in (b".snd", b"dns."):
        start, size = struct.unpack_from(">II" if head[:4] == b".snd" else "<II", head.ljust(12, b"\0"), 4)
        found = start, size
    elif head.startswith(b"NIST_1A"):
        found = _nist(file)
    elif head.startswith(b"Creative Voice File\x1a"):
        found = _voc(file, int.from_bytes(head[20:22], "little"))
    else:
        return 1.0
    start, size = found
    there = end - start
    placeholder = size <= 0 or size >= 2**62 or 0x7FFFF000 <= size <= 0x80000000 or 0xFFFFF000 <= size < 2**32
    return 1.0 if placeholder or there <= 0 else max(1.0, size / there)


def left_over(file: BinaryIO) -> int:
    """Unexpected bytes after the end that the header declares, for wav-like formats and FLAC; else 0.

    Another recording was appended, or the length in the header is too short.
    """
    head, end, layout = _survey(file)
    if head.startswith(b"fLaC"):
        return _behind_flac(file, head, end)
    if layout is None:
        return 0
    start, size = _chunk_with_sound(file, layout, end)
    if not 0 < size < end - start:
        return 0
    at = start + _aligned(size, layout)
    for chunk in _chunks(file, layout, at, end):  # a wav may end in chunks of other kinds
        if chunk.name in _CHUNKED or not _is_name(chunk.name[:4]):
            break
        at = chunk.end
    return end - at if end - at >= _FEW else 0


def tell_left_over(file: BinaryIO) -> list[str]:
    """A sentence on what `left_over` finds; empty if nothing."""
    count = left_over(file)
    if not count:
        return []
    return [
        f"{count:,} bytes after the end that its header declares were not read: another recording was appended, or a "
        "wrong length in the header."
    ]


def _is_name(name: bytes) -> bool:
    return all(0x20 <= byte < 0x7F for byte in name)


def _behind_flac(file: BinaryIO, head: bytes, end: int) -> int:
    """Bytes from a second FLAC stream on, or in excess of the uncompressed size."""
    at, last = 4, False
    while not last and at < end:
        file.seek(at)
        block = file.read(4)
        if len(block) < 4:
            return 0
        last, at = bool(block[0] & 0x80), at + 4 + int.from_bytes(block[1:], "big")
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        second = whole.find(b"fLaC\0\0\0\x22", at)
    if second > 0:
        return end - second
    told = int.from_bytes(head[18:26], "big")  # rate, channels, bits and samples of STREAMINFO
    channels, bits, samples = (told >> 41 & 7) + 1, (told >> 36 & 31) + 1, told & 0xFFFFFFFFF
    raw = samples * channels * bits // 8
    surplus = end - at - round(1.05 * raw)
    return surplus if samples and surplus >= _FEW else 0


def _survey(file: BinaryIO) -> tuple[bytes, int, _Chunks | None]:
    """The first bytes of a file, its size, and its layout if it is chunked."""
    end = file.seek(0, 2)
    file.seek(0)
    head = file.read(64)
    return head, end, next((layout for magic, layout in _CHUNKED.items() if head.startswith(magic)), None)


def _chunks(file: BinaryIO, layout: _Chunks, at: int, end: int) -> Iterator[_Chunk]:
    """Yield the chunks from byte `at` on, up to an invalid one."""
    header = layout.name + struct.calcsize(layout.size)
    for _ in range(_MOST_CHUNKS):
        file.seek(at)
        head = file.read(header)
        if len(head) < header:
            return
        size = struct.unpack_from(layout.size, head, layout.name)[0] - (header if layout.inclusive else 0)
        start = at + header
        yield _Chunk(head[: layout.name], start, size, start + _aligned(max(size, 0), layout))
        at = start + _aligned(size, layout)
        if not start <= at < end:
            return


def _aligned(size: int, layout: _Chunks) -> int:
    return -(-size // layout.align) * layout.align


def _chunk_with_sound(file: BinaryIO, layout: _Chunks, end: int) -> tuple[int, int]:
    """The start of the audio and its bytes by the header; size 0 if not stated."""
    long = 0
    for name, start, size, _ in _chunks(file, layout, layout.first, end):
        if name == layout.data:
            return start + layout.skip, (long if long and size == 0xFFFFFFFF else size - layout.skip)
        if name == b"ds64":  # sizes that 32 bits cannot hold
            file.seek(start)
            long = int.from_bytes(file.read(16)[8:], "little")
    return 0, 0


def _nist(file: BinaryIO) -> tuple[int, int]:
    """As `_chunk_with_sound`, for a NIST SPHERE file."""
    file.seek(0)
    head = file.read(1024)
    fields: dict[bytes, bytes] = dict(re.findall(rb"(\w+) -i (\d{1,12})", head))
    size = int(head[8:16]) if head[8:16].strip().isdigit() else 1024
    if b"shorten" in head or b"sample_count" not in fields:
        return size, 0
    frame = int(fields.get(b"channel_count", 1)) * int(fields.get(b"sample_n_bytes", 2))
    return size, int(fields[b"sample_count"]) * frame


def _voc(file: BinaryIO, at: int) -> tuple[int, int]:
    """As `_chunk_with_sound`, for a Creative voice file: to the end of the last block that was started."""
    start = 0
    for _ in range(_MOST_CHUNKS):
        file.seek(at)
        head = file.read(4)
        if len(head) < 4 or head[0] == 0:
            break
        start = start or at + 4
        at += 4 + int.from_bytes(head[1:], "little")
    return start, at - start
