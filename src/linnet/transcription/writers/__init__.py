"""Formats of transcripts, one file each: `WRITERS["srt"].render(transcript)`."""

from __future__ import annotations

from collections.abc import Iterable

from linnet.errors import OptionError
from linnet.transcription.subtitles import SubtitleLayout
from linnet.transcription.writers.base import Writer
from linnet.transcription.writers.json_document import JsonWriter
from linnet.transcription.writers.json_lines import JsonLinesWriter
from linnet.transcription.writers.srt import SrtWriter
from linnet.transcription.writers.tsv import TsvWriter
from linnet.transcription.writers.txt import TextWriter
from linnet.transcription.writers.vtt import VttWriter

__all__ = ["WRITERS", "JsonWriter", "Writer", "make_writer", "parse_formats"]

_ALL: tuple[Writer, ...] = (TextWriter(), SrtWriter(), VttWriter(), TsvWriter(), JsonWriter(), JsonLinesWriter())

WRITERS: dict[str, Writer] = {writer.extension: writer for writer in _ALL}


def make_writer(
    name: str, *, layout: SubtitleLayout | None = None, fingerprint: str | None = None, paragraphs: bool = False
) -> Writer:
    """The writer of a format: `layout` is for subtitles, `fingerprint` for JSON, `paragraphs` for txt.

    >>> make_writer("srt", layout=SubtitleLayout(max_line_width=32))
    SrtWriter(layout=SubtitleLayout(max_line_width=32, ...))
    """
    if name == "json":
        return JsonWriter(fingerprint)
    if name == "txt":
        return TextWriter(paragraphs)
    if layout is not None and name in ("srt", "vtt"):
        return SrtWriter(layout) if name == "srt" else VttWriter(layout)
    return WRITERS[name]


def parse_formats(texts: Iterable[str]) -> tuple[str, ...]:
    """Parse names of formats, separate or with commas; each once, in the given order.

    >>> parse_formats(["srt,JSON", "srt"])
    ('srt', 'json')

    Raises:
        OptionError: an unknown format, or no name.
    """
    names = [name for text in texts for part in text.split(",") if (name := part.strip().lower().lstrip("."))]
    for name in names:
        if name not in WRITERS:
            raise OptionError(f"format {name!r} is unknown: use {', '.join(WRITERS)}")
    if not names:
        raise OptionError(f"no format was given: use {', '.join(WRITERS)}")
    return tuple(dict.fromkeys(names))
