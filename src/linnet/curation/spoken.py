"""Transcripts -> words and phones, shard by shard: the pass over text alone.

A shard is phonemized separately, with phones numbered in order of appearance; at the end the numbers are replaced by
those of the whole corpus. So the result does not depend on the workers, and a killed run resumes.

    measured-00000.parquet -> heard-00000.parquet -> phones.json -> spoken-00000.parquet
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linnet.curation.parquet import parquet, save_table
from linnet.curation.phonemes.backends import UNKNOWN, PhonemeOptions, Phonemizers, SpokenRow
from linnet.curation.phonemes.base import Phones
from linnet.curation.phonemes.inventory import INVENTORY, Inventory, Key, Tally
from linnet.curation.shards import key_of, table_key, write_table
from linnet.curation.words import TextWords, read_text
from linnet.errors import OptionError

_TALLY = b"linnet.phones"  # in the metadata of a shard: its own numbers of phones and their counts
NO_TEXT = "no transcript"


@dataclass(frozen=True)
class TextRow:
    """A row of the manifest for the text pass; `text` None: no transcript."""

    row: int
    text: str | None
    language: str = UNKNOWN


def shard_paths(folder: Path) -> list[tuple[Path, Path]]:
    """The path of each measured shard of a work folder, in order, and that of its draft."""
    return [(path, _beside(path, "heard")) for path in sorted(folder.glob("measured-*.parquet"))]


def speak_shard(measured: Path, heard: Path, options: PhonemeOptions) -> int:
    """Phonemize the texts of one measured shard to its draft; returns the number of rows.

    An existing draft is kept, unless it was made of other rows, or with other options, lexicons or libraries. Map it
    over `shard_paths` with any number of processes, each with its own backends. Raises `OptionError` for a lexicon that
    cannot be read, `OutputError` for a draft that cannot be written.
    """
    reader, fingerprint = parquet(), options.fingerprint
    key = key_of("heard", fingerprint, str(table_key(measured)))
    if table_key(heard) == key:
        return int(reader.read_metadata(heard).num_rows)
    table = reader.read_table(measured, columns=["row", "text", "language"])
    columns = (table.column(name).to_pylist() for name in ("row", "text", "language"))
    rows = [TextRow(row, text, language or UNKNOWN) for row, text, language in zip(*columns, strict=True)]
    write_table(heard, spoken_table(rows, _phonemizers(options, fingerprint)), key)
    return len(rows)


def finish_shards(folder: Path) -> Inventory:
    """Apply a common numbering of phones to all drafts: writes `phones.json`, and a spoken shard for each measured one.

    Raises `OptionError` if a draft is missing.
    """
    reader = parquet()
    drafts = [heard for _, heard in shard_paths(folder)]
    if missing := next((path for path in drafts if not path.is_file()), None):
        raise OptionError(f"{missing}: this shard has no phones yet: run the text pass again")
    inventory = Inventory.of(tally(reader.read_schema(path).metadata) for path in drafts)
    inventory.save(folder / INVENTORY)
    for path in drafts:
        save_table(_beside(path, "spoken"), renumbered(reader.read_table(path), inventory))
    return inventory


def spoken_table(rows: Sequence[TextRow], phonemizers: Phonemizers) -> Any:
    """The Arrow table of some rows, with phones numbered in order of appearance (`renumbered` makes them final).

    Columns: row, words (a hash of each word, or of each grapheme cluster in scripts without spaces), characters,
    phones, backend, script, script_share (share of the letters), unknown (words without phones), error.
    """
    texts = [None if one.text is None else read_text(one.text, _known(one.language)) for one in rows]
    spoken = _speak(rows, texts, phonemizers)
    numbering = _Numbering()
    phones = [
        numbering.numbers((one.language, said.backend), said) if said else np.zeros(0, np.uint32)
        for one, said in zip(rows, spoken, strict=True)
    ]
    return _table(rows, texts, spoken, phones).replace_schema_metadata({_TALLY: numbering.dump()})


def renumbered(table: Any, inventory: Inventory) -> Any:
    """A table of `spoken_table` with the numbers of an inventory."""
    import pyarrow as pa

    local = {key: list(counts) for key, counts in tally(table.schema.metadata).items()}
    languages, backends = table.column("language").to_pylist(), table.column("backend").to_pylist()
    final = {key: inventory.numbers(key, symbols) for key, symbols in local.items()}
    column = table.column("phones").combine_chunks()
    lengths = column.value_lengths().to_numpy()
    old = column.flatten().to_numpy()
    values = np.zeros(len(old), np.uint16)
    ends = np.cumsum(lengths)
    for row, (end, length) in enumerate(zip(ends, lengths, strict=True)):
        if length:
            part = slice(end - length, end)
            values[part] = final[languages[row], backends[row]][old[part]]
    phones = pa.ListArray.from_arrays(np.concatenate([[0], ends]).astype(np.int32), pa.array(values, pa.uint16()))
    place = table.schema.get_field_index("phones")
    done = table.set_column(place, "phones", phones).replace_schema_metadata({"linnet.inventory": inventory.digest})
    return done.drop_columns(["language"])


def tally(metadata: Mapping[bytes, bytes]) -> Tally:
    """The counts of phones in a shard, in the order of its own numbers."""
    return {(one["language"], one["backend"]): dict(one["counts"]) for one in json.loads(metadata[_TALLY])}


class _Numbering:
    """Numbers phones in order of appearance, by language and backend, and counts them."""

    def __init__(self) -> None:
        self._places: dict[Key, dict[str, int]] = {}
        self._words: dict[Key, dict[Phones, list[int]]] = {}
        self._spoken: dict[Key, Counter[Phones]] = {}

    def numbers(self, key: Key, said: SpokenRow) -> NDArray[np.uint32]:
        """The numbers of all phones of a row, in order."""
        places, words = self._places.setdefault(key, {}), self._words.setdefault(key, {})
        known = [word for word in said.words if word is not None]
        self._spoken.setdefault(key, Counter()).update(known)
        found: list[int] = []
        for word in known:
            if word not in words:
                words[word] = [places.setdefault(phone, len(places)) for phone in word]
            found += words[word]
        return np.array(found, np.uint32)

    def dump(self) -> bytes:
        """The numbering as JSON."""
        rows = []
        for (language, backend), places in self._places.items():
            counts: Counter[str] = Counter()
            for word, times in self._spoken[language, backend].items():
                for phone in word:
                    counts[phone] += times
            tallied = [(phone, counts[phone]) for phone in places]
            rows.append({"language": language, "backend": backend, "counts": tallied})
        return json.dumps(rows).encode()


def _speak(
    rows: Sequence[TextRow], texts: Sequence[TextWords | None], phonemizers: Phonemizers
) -> list[SpokenRow | None]:
    """The phones of each row with a text; rows of one language and script are processed together."""
    groups: dict[tuple[str, str], list[int]] = {}
    for place, (row, text) in enumerate(zip(rows, texts, strict=True)):
        if text is not None:
            groups.setdefault((row.language, text.script), []).append(place)
    spoken: list[SpokenRow | None] = [None] * len(rows)
    for (language, script), places in groups.items():
        words = [text.words for place in places if (text := texts[place]) is not None]
        for place, said in zip(places, phonemizers.speak(language, script, words), strict=True):
            spoken[place] = said
    return spoken


def _table(
    rows: Sequence[TextRow],
    texts: Sequence[TextWords | None],
    spoken: Sequence[SpokenRow | None],
    phones: Sequence[NDArray[np.uint32]],
) -> Any:
    import pyarrow as pa

    hashes = [np.zeros(0, np.uint32) if text is None else text.hashes for text in texts]
    return pa.table(
        {
            "row": pa.array([one.row for one in rows], pa.int64()),
            "language": pa.array([one.language for one in rows], pa.string()),
            "words": pa.array(hashes, pa.list_(pa.uint32())),
            "characters": pa.array([text.characters if text else 0 for text in texts], pa.int32()),
            "phones": pa.array(phones, pa.list_(pa.uint32())),
            "backend": pa.array([said.backend if said else None for said in spoken], pa.string()),
            "script": pa.array([text.script if text else None for text in texts], pa.string()),
            "script_share": pa.array([text.share if text else 0.0 for text in texts], pa.float32()),
            "unknown": pa.array([said.words.count(None) if said else 0 for said in spoken], pa.int32()),
            "error": pa.array([NO_TEXT if text is None else None for text in texts], pa.string()),
        }
    )


def _known(language: str) -> str | None:
    return None if language == UNKNOWN else language


def _beside(path: Path, kind: str) -> Path:
    return path.with_name(f"{kind}-{path.name.partition('-')[2]}")


@cache
def _phonemizers(options: PhonemeOptions, fingerprint: str) -> Phonemizers:
    """The phonemizers of this process: a worker handles many shards, and backends take seconds to load."""
    del fingerprint  # a changed lexicon is read again
    return Phonemizers(options)
