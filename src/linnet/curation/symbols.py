"""A common numbering of the phones of all languages, so that sounds are shared between languages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from linnet.curation.counting import Integers
from linnet.curation.phonemes.inventory import INVENTORY, LARGEST, Inventory
from linnet.curation.ragged import Ragged

Voice = tuple[str, str]  # (language, phonemizer)


@dataclass(frozen=True, eq=False)
class Symbols:
    """Maps the phones of each voice to the symbols of all voices, the most frequent first.

    A voice with unknown symbols has separate numbers.
    """

    numbers: Mapping[int, NDArray[np.int64]]
    voices: int

    @classmethod
    def of(cls, counts: Mapping[Voice, Mapping[str, int]], voices: Sequence[Voice]) -> Self:
        """From the symbols of each voice in the order of their numbers, with their counts.

        >>> symbols = Symbols.of({("en", "x"): {"a": 5, "b": 3}, ("de", "x"): {"b": 4}}, [("de", "x"), ("en", "x")])
        >>> symbols.map(Ragged.from_lists([[0], [0, 1]], np.uint16), np.array([0, 1])).values.tolist()
        [0, 1, 0]
        """
        total: Counter[str] = Counter()
        for mine in counts.values():
            total.update(mine)
        place = {symbol: at for at, symbol in enumerate(sorted(total, key=lambda one: (-total[one], one)))}
        numbers = {
            at: np.array([min(place[symbol], LARGEST) for symbol in counts[voice]], np.int64)
            for at, voice in enumerate(voices)
            if counts.get(voice)
        }
        return cls(numbers, len(voices))

    def map(self, phones: Ragged, voices: Integers) -> Ragged:
        """The phones of rows with voices [N], in the common numbering."""
        of_phones = voices[phones.rows]
        own = phones.values.astype(np.int64)
        tokens = np.minimum(own * self.voices + of_phones, LARGEST)
        for voice, numbers in self.numbers.items():
            mine = np.flatnonzero(of_phones == voice) if self.voices > 1 else slice(None)
            tokens[mine] = numbers[np.minimum(own[mine], len(numbers) - 1)]
        return phones.replace(tokens)


def read_inventory(folder: Path) -> dict[Voice, dict[str, int]]:
    """The counts of symbols per voice, from the inventory of the text pass; empty if there is none.

    Raises `OptionError` if it cannot be read.
    """
    path = folder / INVENTORY
    if not path.exists():
        return {}
    found = Inventory.load(path)
    return {voice: dict(zip(found.symbols[voice], found.counts[voice], strict=True)) for voice in found.symbols}
