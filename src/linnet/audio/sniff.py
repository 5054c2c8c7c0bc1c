"""What a file is by its first bytes, for choosing a decoder's message and for what a header promises."""

from __future__ import annotations

import struct
from typing import BinaryIO

HEAD = 4096  # bytes looked at

_FOREIGN = (  # not sound, and worth its own sentence
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
    """What the file is where it is plainly no sound: `text`, `a web page`, `a PDF document`, ...

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
    """The container that PyAV is needed for, None where the bytes look like none.

    >>> container(b"\\x00\\x00\\x00\\x20ftypM4A ")
    'mp4/m4a'
    """
    for offset, magic, what in _CONTAINERS:
        if head[offset : offset + len(magic)] == magic:
            return what
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "aac"
    return None


def wav_seconds(file: BinaryIO) -> float | None:
    """Seconds that the header of a RIFF wav promises; None for other formats and placeholders."""
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return None
    bytes_per_second = 0
    for _ in range(64):
        chunk = file.read(8)
        if len(chunk) < 8:
            return None
        name, size = chunk[:4], struct.unpack("<I", chunk[4:])[0]
        if name == b"data":
            placeholder = size == 0 or size >= 0x7FFFF000
            return None if placeholder or bytes_per_second < 1 else size / bytes_per_second
        if name == b"fmt " and size >= 16:
            fields = file.read(16)
            bytes_per_second = struct.unpack("<I", fields[8:12])[0] if len(fields) == 16 else 0
            size -= 16
        file.seek(size + (size & 1), 1)
    return None
