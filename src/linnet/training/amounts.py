"""Amounts of memory, as people write them."""

from __future__ import annotations

import re

from linnet.errors import OptionError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_UNITS |= {f"{name}i": 1024**power for power, name in enumerate("kmgt", 1)}


def parse_bytes(text: str) -> int:
    """Bytes from text such as `40GB`, `500 MB` or `24GiB`.

    >>> parse_bytes("1.5 GB"), parse_bytes("2KiB")
    (1500000000, 2048)

    Raises:
        OptionError: it is no such text.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", text, re.IGNORECASE)
    unit = found and _UNITS.get(found[2].lower())
    if not found or not unit or not float(found[1]):
        raise OptionError(f"memory {text!r} is no amount: write it as 40GB, 500MB or 24GiB.")
    return int(float(found[1]) * unit)


def show_bytes(count: float) -> str:
    """Bytes for a person.

    >>> show_bytes(1_234_000_000), show_bytes(56_000)
    ('1.23 GB', '0.06 MB')
    """
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.{1 if count >= 1e6 else 2}f} MB"
