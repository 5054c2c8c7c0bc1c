"""Checked values of a row: the value under a key, or a reason why it is invalid."""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]

_TOO_LARGE = 2**63  # for NumPy


class BadRow(ValueError):  # noqa: N818  internal: becomes a `Problem` or a `LinnetError`
    """An invalid row; the text is the reason, without the location."""


def parse_json(line: bytes) -> dict[str, Any]:
    """The JSON object of one line. Raises `BadRow`, which names the byte that is not UTF-8."""
    try:
        value = json.loads(decode(line))
    except BadRow:
        raise
    except RecursionError:
        raise BadRow("its JSON is nested too deeply; each line must be one JSON object") from None
    except ValueError as error:  # also an integer of thousands of digits
        raise BadRow(f"not JSON ({error}); each line must be one JSON object") from error
    if not isinstance(value, dict):
        raise BadRow(f"expected a JSON object, got {type(value).__name__}")
    return value


def decode(line: bytes) -> str:
    """The text of a line, without a byte order mark. Raises `BadRow` with the first byte that is not UTF-8.

    >>> decode("naïve".encode("latin-1"))
    Traceback (most recent call last):
    linnet.data.fields.BadRow: byte 3 (0xef) is not UTF-8; convert the file, as in  iconv -f latin1 -t utf-8
    """
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = error.start
        raise BadRow(
            f"byte {at + 1} (0x{error.object[at]:02x}) is not UTF-8; convert the file, as in  iconv -f latin1 -t utf-8"
        ) from error


def shown(value: Any) -> str:
    """A value as short text for a message.

    >>> shown("a" * 1000), shown([[[[[[[1]]]]]]])
    ("'aaaaaaaaaaaa...aaaaaaaaaaaaa'", '[[[[[[...]]]]]]')
    """
    return reprlib.repr(value)


def text(row: Row, *keys: str) -> str | None:
    """The string under the first of `keys` with a value."""
    for key in keys:
        value = row.get(key)
        if value is not None:
            if not isinstance(value, str):
                raise BadRow(f"the key {key!r} must be a string, got {shown(value)}")
            return value
    return None


def label(row: Row, *keys: str) -> str | None:
    """A name: a string, or an integer converted to one."""
    for key in keys:
        value = row.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if value is not None:
            return text(row, key)
    return None


def word(row: Row, key: str) -> str | None:
    """A name as `label` takes it, under a key that other tools use for other things, too: these are no name."""
    value = row.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None


def seconds(row: Row, key: str) -> float | None:
    """Seconds, zero or more."""
    value = number(row, key)
    if value is not None and value < 0:
        raise BadRow(f"the key {key!r} must be seconds, zero or more, got {shown(value)}")
    return value


def number(row: Row, key: str) -> float | None:
    """A finite number."""
    value = row.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _TOO_LARGE:
        raise BadRow(f"the key {key!r} must be a finite number, got {shown(value)}")
    return float(value)


def integer(row: Row, key: str) -> int | None:
    """A whole number, zero or more."""
    value = row.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _TOO_LARGE):
        raise BadRow(f"the key {key!r} must be a whole number, zero or more, got {shown(value)}")
    return value


def resolve(audio: str, folder: Path | str) -> str:
    """A path relative to `folder`; URLs are kept."""
    return audio if "://" in audio else os.path.join(folder, audio)  # noqa: PTH118  a third of a row's time with Path
