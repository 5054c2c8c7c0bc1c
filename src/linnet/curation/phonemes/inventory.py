"""Numbers for the phones of each language and backend, independent of the distribution of work."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from linnet.errors import OptionError
from linnet.files import write_atomic

INVENTORY: Final = "phones.json"  # in the work folder
LARGEST: Final = 0xFFFF  # the number of all symbols after the 65,535 most frequent ones

Key = tuple[str, str]  # language and backend
Tally = Mapping[Key, Mapping[str, int]]  # count of each symbol


@dataclass(frozen=True)
class Inventory:
    """The symbols of each language and backend, the most frequent first, with counts.

    A symbol's number is its index. Ties are sorted alphabetically, so the numbers depend only on the corpus.

    >>> inventory = Inventory.of([{("de", "g"): {"a": 2, "b": 1}}, {("de", "g"): {"b": 1, "c": 9}}])
    >>> inventory.symbols["de", "g"], inventory.numbers(("de", "g"), ["b", "c"]).tolist()
    (('c', 'a', 'b'), [2, 0])
    """

    symbols: Mapping[Key, tuple[str, ...]]
    counts: Mapping[Key, tuple[int, ...]]

    @classmethod
    def of(cls, tallies: Iterable[Tally]) -> Self:
        """The inventory from partial counts, independent of their order."""
        whole: dict[Key, Counter[str]] = {}
        for tally in tallies:
            for key, counts in tally.items():
                whole.setdefault(key, Counter()).update(counts)
        ranked = {key: sorted(whole[key].items(), key=lambda one: (-one[1], one[0])) for key in sorted(whole)}
        return cls(
            {key: tuple(symbol for symbol, _ in found) for key, found in ranked.items()},
            {key: tuple(count for _, count in found) for key, found in ranked.items()},
        )

    def numbers(self, key: Key, symbols: Sequence[str]) -> NDArray[np.uint16]:
        """The number of each symbol, [symbols]; from the 65,535th on all have the last number. Raises `KeyError`."""
        place = {symbol: min(number, LARGEST) for number, symbol in enumerate(self.symbols[key])}
        return np.array([place[symbol] for symbol in symbols], np.uint16)

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits of the whole content."""
        return hashlib.sha256(self._json().encode(errors="backslashreplace")).hexdigest()[:16]

    def save(self, path: Path) -> None:
        """Write as JSON, atomically. Raises `OutputError`."""
        write_atomic(path, self._json() + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Load the output of `save`. Raises `OptionError`."""
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
            keys = [(row["language"], row["backend"]) for row in rows]
            return cls(
                {key: tuple(row["symbols"]) for key, row in zip(keys, rows, strict=True)},
                {key: tuple(row["counts"]) for key, row in zip(keys, rows, strict=True)},
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OptionError(
                f"{path}: not an inventory of phones ({error}): remove it and run the text pass again"
            ) from error

    def _json(self) -> str:
        rows = [
            {"language": key[0], "backend": key[1], "symbols": self.symbols[key], "counts": self.counts[key]}
            for key in sorted(self.symbols)
        ]
        return json.dumps(rows, ensure_ascii=False)
