"""Lines of plain and gzipped text files."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from linnet.data.fields import BadRow, Row, decode, parse_json
from linnet.data.manifest import Utterance
from linnet.data.sources.base import Found, Problem, Skip
from linnet.errors import OptionError

_GZIP = b"\x1f\x8b"


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The non-blank lines with their numbers from 1, without line breaks.

    Raises:
        OptionError: the file cannot be read, is UTF-16, or its gzip data is damaged.
    """
    try:
        with path.open("rb") as file:
            head = file.read(2)
            file.seek(0)
            if head in (b"\xff\xfe", b"\xfe\xff"):
                raise OptionError(f"{path}: is UTF-16; convert it, as in  iconv -f utf-16 -t utf-8")
            for number, raw in enumerate(gzip.GzipFile(fileobj=file) if head == _GZIP else file, start=1):
                line = raw.rstrip(b"\r\n")
                if line and not line.isspace():
                    yield number, line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise OptionError(f"{path}: its gzip data is damaged or cut short ({error}); copy it again") from error
    except OSError as error:
        raise OptionError(f"{path}: cannot be read: {error.strerror or error}") from error


def read_text_lines(path: Path) -> Iterator[tuple[int, str | Problem]]:
    """The lines as text; one that is not UTF-8 is a problem."""
    for number, line in read_lines(path):
        try:
            yield number, decode(line)
        except BadRow as error:
            yield number, Problem(f"line {number}", str(error))


def read_rows(path: Path, make: Callable[[Row], Utterance | Skip]) -> Iterator[Found]:
    """`make` applied to each line's JSON object; a `BadRow` becomes a problem of that line."""
    for number, line in read_lines(path):
        try:
            yield make(parse_json(line))
        except BadRow as error:
            yield Problem(f"line {number}", str(error))
