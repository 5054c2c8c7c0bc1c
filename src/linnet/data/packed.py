"""Compact utterances: a corpus of millions that worker processes share."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from linnet.data.manifest import Utterance, from_line, to_line

_FILES = ("lines.npy", "ends.npy")


class PackedUtterances(Sequence[Utterance]):
    """Utterances as manifest lines in one block of bytes, parsed on access.

    A list of objects costs a kilobyte each, and forked processes end up copying it because reference counting writes to
    it. Here an utterance takes as many bytes as its line, and all processes share them.

    >>> PackedUtterances.of([Utterance("a.wav", "one"), Utterance("b.wav", "")])[1].audio
    'b.wav'
    """

    def __init__(self, lines: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64]) -> None:
        self._lines, self._ends = lines, ends

    @classmethod
    def of(cls, utterances: Sequence[Utterance]) -> PackedUtterances:
        """Pack them."""
        packer = Packer()
        for utterance in utterances:
            packer.add(utterance)
        return packer.made()

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, row: int) -> Utterance: ...

    @overload
    def __getitem__(self, row: slice) -> list[Utterance]: ...

    def __getitem__(self, row: int | slice) -> Utterance | list[Utterance]:
        if isinstance(row, slice):
            return [self[each] for each in range(*row.indices(len(self)))]
        at = range(len(self))[row]
        line = self._lines[int(self._ends[at - 1]) if at else 0 : int(self._ends[at])]
        return from_line(line.tobytes().decode("utf-8", "surrogatepass"))

    def __iter__(self) -> Iterator[Utterance]:
        return (self[row] for row in range(len(self)))

    def save(self, folder: Path) -> None:
        """Write it as .npy files."""
        np.save(folder / _FILES[0], self._lines, allow_pickle=False)
        np.save(folder / _FILES[1], self._ends, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> PackedUtterances:
        """Load what `save` wrote, memory-mapped and shared between processes."""
        lines, ends = (np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in _FILES)
        return cls(lines, ends)


class Packer:
    """Packs utterances one at a time."""

    def __init__(self) -> None:
        self._lines, self._ends = bytearray(), array("q")

    def __len__(self) -> int:
        return len(self._ends)

    def add(self, utterance: Utterance) -> None:
        """Add an utterance."""
        self._lines += to_line(utterance).encode("utf-8", "surrogatepass")
        self._ends.append(len(self._lines))

    def made(self) -> PackedUtterances:
        """The packed utterances."""
        return PackedUtterances(np.frombuffer(self._lines, np.uint8), np.asarray(self._ends, np.int64))
