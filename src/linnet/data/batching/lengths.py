"""The length of each utterance in seconds and tokens, which is all that planning needs.

N utterances, numbered by row
"""

from __future__ import annotations

import json
import os
import zipfile
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from linnet.data.batching.arrays import Seconds, Tokens, digest_of
from linnet.data.manifest import Utterance
from linnet.errors import OptionError, OutputError
from linnet.files import whole_file

_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Lengths:
    """Durations and token counts of a corpus.

    `durations` [N] are seconds (float32), `tokens` [N] label tokens (int32). `parts` are the names and numbers of rows
    of each source or shard, in order. `about` says how tokens were counted, such as the tokenizer, as part of the
    identity.

    >>> lengths = Lengths(np.float32([1.5, 2.0]), np.int32([4, 7]))
    >>> len(lengths), lengths.hours * 3600
    (2, 3.5)

    Raises:
        OptionError: arrays of unequal length, an invalid duration or token count, or parts that do not add up.
    """

    durations: Seconds
    tokens: Tokens
    parts: tuple[tuple[str, int], ...] = ()
    about: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "durations", np.ascontiguousarray(self.durations, np.float32))
        object.__setattr__(self, "tokens", np.ascontiguousarray(self.tokens, np.int32))
        if self.durations.ndim != 1 or self.durations.shape != self.tokens.shape:
            shapes = f"{self.durations.shape} and {self.tokens.shape}"
            raise OptionError(f"durations and tokens must be two lists of equal length, got shapes {shapes}.")
        bad = np.flatnonzero(~(np.isfinite(self.durations) & (self.durations >= 0) & (self.tokens >= 0)))
        if len(bad):
            row = int(bad[0])
            values = f"{self.durations[row]} s and {self.tokens[row]} tokens"
            raise OptionError(f"row {row} has {values}: both must be zero or more ({len(bad)} such rows).")
        if self.parts and sum(count for _, count in self.parts) != len(self):
            raise OptionError(f"the parts hold {sum(n for _, n in self.parts)} rows, the table {len(self)}.")
        if len({name for name, _ in self.parts}) < len(self.parts):
            raise OptionError(f"each part needs its own name, got {[name for name, _ in self.parts]}.")

    def __len__(self) -> int:
        return len(self.durations)

    @property
    def hours(self) -> float:
        """Hours of audio."""
        return float(self.durations.sum(dtype=np.float64)) / 3600

    @cached_property
    def digest(self) -> str:
        """Hash of durations, tokens, parts and `about`."""
        return digest_of(json.dumps([_FORMAT, self.parts, self.about]), self.durations, self.tokens)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table as .npz with its digest, atomically."""
        meta = {"format": _FORMAT, "parts": self.parts, "about": self.about, "digest": self.digest}
        try:
            with whole_file(Path(path)) as file:
                np.savez(file, durations=self.durations, tokens=self.tokens, meta=np.array(json.dumps(meta)))
        except OSError as error:
            raise OutputError(f"{path}: cannot write the lengths: {error.strerror}.") from error


def load_lengths(path: str | os.PathLike[str]) -> Lengths:
    """Read a table that `Lengths.save` wrote.

    Raises:
        OptionError: no such file, another kind of file, or content that does not match its digest.
    """
    try:
        with Path(path).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            meta = json.loads(str(file["meta"]))
            parts = tuple((str(name), int(count)) for name, count in meta["parts"])
            lengths = Lengths(file["durations"], file["tokens"], parts, meta["about"])
    except FileNotFoundError as error:
        raise OptionError(f"{path}: no such table of lengths; make it from the manifest again.") from error
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise OptionError(f"{path}: not a table of lengths ({error}); make it from the manifest again.") from error
    if lengths.digest != meta.get("digest"):
        raise OptionError(f"{path}: the table does not match its digest, so it is damaged; make it again.")
    return lengths


def measure_lengths(
    utterances: Iterable[Utterance], count_tokens: Callable[[str], int] | None = None, about: str = ""
) -> Lengths:
    """The table of a manifest's utterances, in their order.

    `count_tokens` should use the tokenizer of the trained model; the default of four UTF-8 bytes per token is close for
    English and enough to compare batching methods.

    Raises:
        OptionError: an utterance without a duration or a text; names the first.
    """
    count = count_tokens or estimated_tokens
    durations, tokens = array("f"), array("i")
    for utterance in utterances:
        for key, what in (("duration", "its seconds"), ("text", 'an empty one, "", where nothing is spoken')):
            if getattr(utterance, key) is None:
                raise OptionError(f"utterance {utterance.id!r} has no {key}: give {what}, batches are planned by it.")
        durations.append(float(utterance.duration or 0))
        tokens.append(count(utterance.text or ""))
    made = about or ("estimated: four bytes a token" if count_tokens is None else "")
    return Lengths(np.asarray(durations, np.float32), np.asarray(tokens, np.int32), about=made)


def estimated_tokens(text: str) -> int:
    """One token per four bytes of UTF-8, rounded up."""
    return -(-len(text.encode()) // 4)


def join_lengths(tables: Mapping[str, Lengths]) -> Lengths:
    """Concatenate the tables of several sources; each becomes a part.

    Raises:
        OptionError: no table, or tables whose tokens were counted in different ways.
    """
    if not tables:
        raise OptionError("no table of lengths to join.")
    ways = sorted({table.about for table in tables.values()})
    if len(ways) > 1:
        raise OptionError(f"the tables' tokens were counted differently ({'; '.join(ways)}): count them in one way.")
    return Lengths(
        np.concatenate([table.durations for table in tables.values()]),
        np.concatenate([table.tokens for table in tables.values()]),
        tuple((name, len(table)) for name, table in tables.items()),
        ways[0],
    )
