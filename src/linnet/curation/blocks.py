"""Shards as input of the estimators: rows as arrays, with languages, phonemizers and domains as numbers.

Shapes: N rows of a shard.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from linnet.curation.context import MOST_DOMAINS, TOPICS, UNLABELED, Topics
from linnet.curation.counting import GROUPS, Integers, mix
from linnet.curation.information import Segments, fold_words
from linnet.curation.markov import Sequences
from linnet.curation.parquet import parquet, read_table
from linnet.curation.ragged import Ragged
from linnet.curation.symbols import Symbols, Voice
from linnet.errors import OptionError

UNDETERMINED = "und"
_SAMPLED = 2000  # texts of a language for topic clustering
_FEW = 200  # fewer texts have no topics


@dataclass(frozen=True)
class ShardFiles:
    """The files of one shard, and the index of its first row among all rows."""

    measured: Path
    spoken: Path
    start: int = 0
    rows: int = 0


def find_shards(folder: Path) -> list[ShardFiles]:
    """The shards of the audio and text passes in a folder, in order.

    Raises `OptionError` if there are none, or if the text pass is missing.
    """
    pq = parquet()
    shards, start = [], 0
    for measured in sorted(folder.glob("measured-*.parquet")):
        spoken = measured.with_name(measured.name.replace("measured", "spoken", 1))
        if not spoken.exists():
            raise OptionError(f"{spoken}: is missing; run the text pass over {folder} again")
        rows = pq.read_metadata(measured).num_rows
        shards.append(ShardFiles(measured, spoken, start, rows))
        start += rows
    if not shards:
        raise OptionError(f"{folder}: holds no measured-*.parquet; run the audio pass first")
    return shards


# --- names as numbers


@dataclass(frozen=True, eq=False)
class Space:
    """The languages, voices (pairs of language and phonemizer) and domains of a data set, numbered in order.

    With fewer than two known domains, `topics` clusters words instead, per language.
    """

    languages: tuple[str, ...]
    voices: tuple[tuple[str, str], ...]
    domains: tuple[str, ...] = ()
    topics: Mapping[int, Topics] = field(default_factory=dict)
    symbols: Symbols | None = None

    @classmethod
    def survey(
        cls, shards: Sequence[ShardFiles], phones: Mapping[Voice, Mapping[str, int]] | None = None, *, seed: int = 0
    ) -> Self:
        """Collect from all shards; `phones` counts the symbols of each voice in the order of their numbers.

        Raises `OptionError` for more than 4096 languages or voices.
        """
        voices, domains = set[Voice](), Counter[str]()
        for shard in shards:
            table = read_table(shard.measured, ["language", "domain", "source"])
            languages, backends = table["language"], read_table(shard.spoken, ["backend"])["backend"]
            pairs = set(zip(languages.to_pylist(), backends.to_pylist(), strict=True))
            voices |= {(language or UNDETERMINED, backend or "") for language, backend in pairs}
            domains.update(one for one in _domains(table) if one)
        named = tuple(sorted({language for language, _ in voices}))
        if max(len(named), len(voices)) > GROUPS:
            raise OptionError(f"{len(voices)} languages by phonemizer; at most {GROUPS} are supported")
        ordered = tuple(sorted(voices))
        space = cls(named, ordered, _most(domains), symbols=Symbols.of(phones or {}, ordered))
        return space if len(space.domains) > 1 else space.with_topics(shards, seed)

    def with_topics(self, shards: Sequence[ShardFiles], seed: int) -> Self:
        """Replace domains by topics, from up to 2000 texts of each language with at least 200."""
        rows, languages = self._sample(shards, seed)
        texts: dict[int, list[Ragged]] = {}
        for shard in shards:
            inside = slice(*np.searchsorted(rows, [shard.start, shard.start + shard.rows]))
            if inside.start == inside.stop:
                continue
            words = Ragged.from_arrow(read_table(shard.spoken, ["words"])["words"])
            for of in np.unique(languages[inside]).tolist():
                mine = rows[inside][languages[inside] == of] - shard.start
                texts.setdefault(of, []).append(words.select(mine))
        topics = {of: Topics.fit(Ragged.concatenate(parts), seed=seed) for of, parts in sorted(texts.items())}
        return replace(self, domains=tuple(f"topic {at + 1}" for at in range(TOPICS)), topics=topics)

    def _sample(self, shards: Sequence[ShardFiles], seed: int) -> tuple[Integers, Integers]:
        """The rows for topic clustering, in order, and their languages: those with the smallest hashes."""
        columns = [read_table(shard.measured, ["language"])["language"] for shard in shards]
        of = np.concatenate([self.language_numbers(column) for column in columns])
        order = np.lexsort((mix(np.arange(len(of), dtype=np.uint64) ^ mix(np.array([seed]))), of))
        starts = np.searchsorted(of[order], np.arange(len(self.languages) + 1))
        drawn = [order[first : min(last, first + _SAMPLED)] for first, last in pairwise(starts) if last - first >= _FEW]
        rows = np.sort(np.concatenate([np.zeros(0, np.int64), *drawn]))
        return rows, of[rows]

    @property
    def sizes(self) -> tuple[int, int, int]:
        """The numbers of languages, voices and domains."""
        return len(self.languages), len(self.voices), len(self.domains)

    def language_numbers(self, names: Any) -> Integers:
        """The number of each language of an Arrow column, [N]."""
        known = {name: at for at, name in enumerate(self.languages)}
        codes, distinct = _coded(names, UNDETERMINED)
        return np.array([known[name] for name in distinct], np.int64)[codes]

    def voice_numbers(self, names: Any, backends: Any) -> Integers:
        """The number of each voice, by Arrow columns of languages and phonemizers, [N]."""
        known = {voice: at for at, voice in enumerate(self.voices)}
        (languages, named), (of, phonemizers) = _coded(names, UNDETERMINED), _coded(backends, "")
        pairs, back = np.unique(languages * len(phonemizers) + of, return_inverse=True)
        width = len(phonemizers)
        voices = [known[named[pair // width], phonemizers[pair % width]] for pair in pairs.tolist()]
        return np.array(voices, np.int64)[back]

    def domain_numbers(self, names: Sequence[str | None], languages: Integers, words: Ragged) -> Integers:
        """The number of each row's domain, or topic, [N]; `UNLABELED` if it has none."""
        known = {name: at for at, name in enumerate(self.domains)}
        if not self.topics:
            return np.array([known.get(name or "", UNLABELED) for name in names], np.int64)
        numbers = np.full(len(words), UNLABELED, np.int64)
        for language, topics in self.topics.items():
            mine = np.flatnonzero(languages == language)
            numbers[mine] = topics.assign(words.select(mine))
        return numbers


def _most(domains: Counter[str]) -> tuple[str, ...]:
    often = sorted(domains, key=lambda name: (-domains[name], name))[:MOST_DOMAINS]
    return tuple(sorted(often))


def _domains(table: Any) -> Iterator[str | None]:
    """The domain of each row, else its source."""
    pairs = zip(table["domain"].to_pylist(), table["source"].to_pylist(), strict=True)
    return (domain or source for domain, source in pairs)


def _coded(column: Any, otherwise: str) -> tuple[Integers, list[str]]:
    """The texts of an Arrow column as numbers [N], and what each number stands for."""
    found = column.combine_chunks().dictionary_encode()
    codes = found.indices.fill_null(len(found.dictionary)).to_numpy(zero_copy_only=False).astype(np.int64)
    distinct = found.dictionary.to_pylist() + [None] * (found.null_count > 0)
    return codes, [one or otherwise for one in distinct]


# --- rows as arrays


@dataclass(frozen=True, eq=False)
class Block:
    """N rows: numbers, durations, groups and sequences, with shared counts."""

    rows: Integers
    seconds: NDArray[np.float64]
    frames: Integers  # 20 ms each
    languages: Integers
    voices: Integers
    domains: Integers
    snr: NDArray[np.float64]  # dB
    units: Ragged
    runs: Ragged
    phones: Ragged
    words: Ragged
    tokens: Ragged  # phones in the common numbering of all languages
    aligned: Segments | None = None  # units aligned with tokens, if emissions are known

    @classmethod
    def read(cls, shard: ShardFiles, space: Space) -> Self:
        """Read the rows of a shard.

        Raises:
            OptionError: its two files hold different rows, as after a change of the manifest.
        """
        wanted = ["row", "duration", "frames", "language", "domain", "source", "units", "runs", "snr_db"]
        measured = read_table(shard.measured, wanted)
        spoken = read_table(shard.spoken, ["row", "words", "phones", "backend"])
        rows = measured["row"].to_numpy()
        if not np.array_equal(rows, spoken["row"].to_numpy()):
            raise OptionError(f"{shard.spoken}: has different rows than {shard.measured.name}; run the text pass again")
        languages, words = space.language_numbers(measured["language"]), Ragged.from_arrow(spoken["words"])
        voices = space.voice_numbers(measured["language"], spoken["backend"])
        phones = Ragged.from_arrow(spoken["phones"])
        return cls(
            rows=rows.astype(np.int64),
            seconds=_numbers(measured["duration"]),
            frames=np.nan_to_num(_numbers(measured["frames"])).astype(np.int64),
            languages=languages,
            voices=voices,
            domains=space.domain_numbers(list(_domains(measured)), languages, words),
            snr=_numbers(measured["snr_db"]),
            units=Ragged.from_arrow(measured["units"]),
            runs=Ragged.from_arrow(measured["runs"]),
            phones=phones,
            words=words,
            tokens=phones if space.symbols is None else space.symbols.map(phones, voices),
        )

    def select(self, kept: NDArray[np.bool_]) -> Self:
        """Only the rows selected by `kept` [N]."""
        flat = {name: getattr(self, name)[kept] for name in ("rows", "seconds", "frames", "snr", *_GROUPS)}
        lists = {name: getattr(self, name).select(kept) for name in ("units", "runs", "phones", "words", "tokens")}
        return type(self)(**flat, **lists)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def sounds(self) -> Sequences:
        """The sound units with collapsed repetitions."""
        return Sequences(self.units)

    @cached_property
    def speech(self) -> Sequences:
        """The phones."""
        return Sequences(self.phones)

    @cached_property
    def language(self) -> Sequences:
        """The words, or grapheme clusters."""
        return Sequences(self.words, 32)

    def segments(self, tokens: str) -> Segments:
        """Units aligned with "phones" or "words"."""
        if tokens == "words":
            return self._by_words
        return self.aligned or self._by_phones

    @cached_property
    def _by_phones(self) -> Segments:
        return Segments.spread(self.units, self.runs, self.tokens)

    @cached_property
    def _by_words(self) -> Segments:
        return Segments.spread(self.units, self.runs, fold_words(self.words))


_GROUPS = ("languages", "voices", "domains")


def _numbers(column: Any) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = column.to_numpy().astype(np.float64)
    return numbers
