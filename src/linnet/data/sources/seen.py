"""A compact set of names, 8 to 27 bytes per name."""

from __future__ import annotations

from array import array
from hashlib import blake2b

_FIRST = 1 << 12
_FULL = 0.6  # load factor at which the table doubles


class IdSet:
    """A set of names stored as 64-bit hashes in an open-addressing table.

    Ten million names take 128 MiB. The probability of a collision among n names is about n^2 / 2^65, 3 in a million for
    ten million names.

    >>> seen = IdSet()
    >>> seen.add("a"), seen.add("b"), seen.add("a"), len(seen)
    (True, True, False, 2)
    """

    def __init__(self) -> None:
        self._table = array("Q", bytes(8 * _FIRST))  # 0: empty
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, name: str) -> bool:
        """Add a name; returns whether it is new."""
        digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        if not self._insert(int.from_bytes(digest, "little") or 1):
            return False
        self._count += 1
        if self._count > _FULL * len(self._table):
            self._grow()
        return True

    def _insert(self, key: int) -> bool:
        table, mask = self._table, len(self._table) - 1
        at = key & mask
        while (found := table[at]) != 0:
            if found == key:
                return False
            at = (at + 1) & mask
        table[at] = key
        return True

    def _grow(self) -> None:
        old = self._table
        self._table = array("Q", bytes(16 * len(old)))
        for key in old:
            if key:
                self._insert(key)
