"""Bigrams of a corpus, the surprisal of a row, and its conditional entropy, in bits.

A row is scored by the rest of its corpus: its own counts are subtracted (leave-one-out), otherwise surprisal would be
smallest in the smallest corpus.

Shapes: N rows, V symbols in all, P pairs in all (V minus one per non-empty row).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from linnet.curation.counting import Counts, Grouped, Integers, Keys, Table, Tally, group, mix, pack
from linnet.curation.ragged import Ragged

Floats = NDArray[np.float64]

STRENGTH = 8.0  # pseudo-counts of the less specific distribution
_ADDED = 0.5  # added to each symbol's count, including one unseen symbol (Krichevsky and Trofimov 1981)


@dataclass(frozen=True, eq=False)
class Sequences:
    """Rows of symbols (below 2**`bits`), with cached counts.

    Bigrams of symbols with more than 16 bits are identified by a 40-bit hash: 45 of ten million collide.
    """

    symbols: Ragged
    bits: int = 16

    @cached_property
    def unigrams(self) -> Grouped:
        """The counts of symbols in each row."""
        return group(self.symbols)

    @cached_property
    def pairs(self) -> Ragged:
        """The bigrams of each row as keys [P], of `pair_bits`."""
        both = self.symbols.pairs()
        return both.replace(join(both.values[:, 0], both.values[:, 1], self.bits))

    @cached_property
    def bigrams(self) -> Grouped:
        """The counts of bigrams in each row."""
        return group(self.pairs)

    @cached_property
    def is_first(self) -> NDArray[np.bool_]:
        """Whether a symbol begins its row, [V]."""
        return _marks(len(self.symbols.values), self.symbols.offsets[:-1], self.symbols.lengths)

    @cached_property
    def is_last(self) -> NDArray[np.bool_]:
        """Whether a symbol ends its row, [V]."""
        return _marks(len(self.symbols.values), self.symbols.offsets[1:] - 1, self.symbols.lengths)


def _marks(size: int, places: Integers, lengths: Integers) -> NDArray[np.bool_]:
    marks = np.zeros(size, np.bool_)
    marks[places[lengths > 0]] = True
    return marks


def pair_bits(bits: int) -> int:
    """The number of bits of a bigram's key, for symbols with this number of bits."""
    return 2 * bits if bits <= 16 else 40


def join(first: NDArray[Any], second: NDArray[Any], bits: int) -> Keys:
    """The key of a bigram: both symbols concatenated, or a hash for more than 16 bits."""
    both = pack((first, bits), (second, bits))
    return both if bits <= 16 else mix(both, pair_bits(bits))


# --- the corpus


@dataclass(frozen=True, eq=False)
class BigramCounts:
    """Symbols and bigrams of a corpus, each by the group (below 4096: a language, say) of the row they are in."""

    unigrams: Tally = field(default_factory=Tally)  # (group, symbol)
    bigrams: Tally = field(default_factory=Tally)  # (group, bigram)
    contexts: Tally = field(default_factory=Tally)  # (group, symbol): symbols followed by another one

    def add(self, rows: Sequences, groups: Integers) -> None:
        """Count the rows of a shard, whose groups are [N]."""
        of_symbols, followed = groups[rows.symbols.rows], ~rows.is_last
        keys = pack((of_symbols, 12), (rows.symbols.values, rows.bits))
        self.unigrams.add(keys)
        self.contexts.add(keys[followed])
        self.bigrams.add(pack((of_symbols[followed], 12), (rows.pairs.values, pair_bits(rows.bits))))

    def together(self, bits: int) -> BigramCounts:
        """The counts with all groups merged as number 0; `bits` are those of a symbol."""
        found = BigramCounts()
        for name, width in (("unigrams", bits), ("bigrams", pair_bits(bits)), ("contexts", bits)):
            counts = getattr(self, name).counts
            getattr(found, name).add(counts.keys & np.uint64((1 << width) - 1), counts.counts)
        return found

    def merge(self, other: BigramCounts) -> None:
        """Add other counts."""
        self.unigrams.merge(other.unigrams.counts)
        self.bigrams.merge(other.bigrams.counts)
        self.contexts.merge(other.contexts.counts)


@dataclass(frozen=True, eq=False)
class BigramModel:
    """p(symbol | previous) in each group, smoothed by a Dirichlet prior toward a less specific distribution.

    A bigram backs off to its symbol, or to the bigram in `parent` (all groups together) if given; a symbol to a uniform
    distribution over the symbols of its group and one unseen symbol.
    """

    unigrams: Counts
    bigrams: Counts
    contexts: Counts
    totals: Integers  # symbols in each group
    types: Integers  # distinct ones
    bits: int
    parent: BigramModel | None = None
    strength: float = STRENGTH

    @classmethod
    def of(cls, counts: BigramCounts, groups: int, bits: int = 16, *, parent: BigramModel | None = None) -> Self:
        """From merged counts, for groups 0 to `groups` - 1."""
        unigrams = counts.unigrams.counts
        owner = (unigrams.keys >> np.uint64(bits)).astype(np.int64)
        totals = np.zeros(groups, np.int64)
        np.add.at(totals, owner, unigrams.counts)
        types = np.bincount(owner, minlength=groups)
        return cls(unigrams, counts.bigrams.counts, counts.contexts.counts, totals, types, bits, parent)

    @cached_property
    def _of_symbols(self) -> Table:
        return Table(self.unigrams, (12, self.bits))

    @cached_property
    def _of_contexts(self) -> Table:
        return Table(self.contexts, (12, self.bits))

    @cached_property
    def _of_pairs(self) -> Table:
        hashed = self.bits > 16
        return Table(self.bigrams, (12, pair_bits(self.bits)) if hashed else (12, self.bits, self.bits))

    def count_symbols(self, groups: Integers, symbols: NDArray[Any]) -> Integers:
        """The counts of symbols [V] in groups [V]."""
        return self._of_symbols.get(groups, symbols)

    def count_contexts(self, groups: Integers, symbols: NDArray[Any]) -> Integers:
        """How often the symbols [V] are followed by another one in the groups [V]."""
        return self._of_contexts.get(groups, symbols)

    def count_pairs(self, groups: Integers, pairs: Keys) -> Integers:
        """The counts of bigrams [V], as keys of `join`, in groups [V]."""
        if self.bits > 16:
            return self._of_pairs.get(groups, pairs)
        low = np.uint64((1 << self.bits) - 1)
        return self._of_pairs.get(groups, pairs >> np.uint64(self.bits), pairs & low)

    def surprisal(self, rows: Sequences, groups: Integers) -> Floats:
        """-log2 of the probability of each symbol [V] by the rest of the corpus; the first of a row without context.

        `groups` [N] are those of the rows, which must be among the counted rows.
        """
        of_symbols = groups[rows.symbols.rows]
        chance = self._alone(rows, of_symbols)
        chance[~rows.is_first] = self._following(rows, of_symbols, chance[~rows.is_first])
        bits: Floats = -np.log2(chance)
        return bits

    def _alone(self, rows: Sequences, of_symbols: Integers) -> Floats:
        """p(symbol), [V]."""
        own_total = rows.symbols.lengths[rows.symbols.rows]
        count = self.count_symbols(of_symbols, rows.symbols.values) - rows.unigrams.own
        spread = _ADDED * (self.types[of_symbols] + 1)
        chance: Floats = (count + _ADDED) / (self.totals[of_symbols] - own_total + spread)
        return chance

    def _following(self, rows: Sequences, of_symbols: Integers, alone: Floats) -> Floats:
        """p(symbol | previous), [P]."""
        followed = ~rows.is_last
        groups = of_symbols[followed]
        before = alone
        if self.parent is not None:
            everywhere = np.zeros_like(of_symbols)
            fallback = self.parent._alone(rows, everywhere)[~rows.is_first]
            before = self.parent._following(rows, everywhere, fallback)
        own_context = (rows.unigrams.own - _repeats_of_last(rows))[followed]
        context = self.count_contexts(groups, rows.symbols.values[followed]) - own_context
        pair = self.count_pairs(groups, rows.pairs.values) - rows.bigrams.own
        chance: Floats = (pair + self.strength * before) / (context + self.strength)
        return chance


def _repeats_of_last(rows: Sequences) -> Integers:
    """1 for each symbol [V] equal to the last one of its row, which has no successor; else 0."""
    filled = rows.symbols.lengths > 0
    last = np.zeros(len(rows.symbols), rows.symbols.values.dtype)
    last[filled] = rows.symbols.values[rows.symbols.offsets[1:][filled] - 1]
    repeats: Integers = (rows.symbols.values == last[rows.symbols.rows]).astype(np.int64)
    return repeats


# --- the conditional entropy of a row


@dataclass(frozen=True, eq=False)
class ConditionalEntropy:
    """H(symbol | previous) of single rows, each shrunk toward its group's bigrams. p(f | c) = (n_cf + k q(f | c)) /
    (n_c + k): 60 phones are too few for 41 x 41 cells, so the plug-in estimate is near zero for any row.

    The sum over all symbols f of a group is in closed form; only those of the row are visited.
    """

    model: BigramModel
    prior_keys: Keys  # (group, context), ascending
    prior_entropy: Floats  # of q(. | context)

    @classmethod
    def of(cls, model: BigramModel) -> Self:
        """From a model of 16-bit symbols without a parent."""
        contexts = model.contexts
        owner = (contexts.keys >> np.uint64(model.bits)).astype(np.int64)
        symbol_chance, symbol_sums = cls._symbols(model)
        # -sum q log2 q over a context's symbols: observed ones, and all others, which have only the prior's share
        keys = model.bigrams.keys
        group_of = (keys >> np.uint64(2 * model.bits)).astype(np.int64)
        first = (keys >> np.uint64(model.bits)) & np.uint64((1 << model.bits) - 1)
        second = keys & np.uint64((1 << model.bits) - 1)
        place = np.searchsorted(contexts.keys, pack((group_of, 12), (first, model.bits)))
        prior = symbol_chance[np.searchsorted(model.unigrams.keys, pack((group_of, 12), (second, model.bits)))]
        weight: NDArray[Any] = model.strength / (contexts.counts + model.strength)
        met = np.asarray(
            (model.bigrams.counts + model.strength * prior) / (contexts.counts[place] + model.strength), np.float64
        )
        alone: NDArray[Any] = weight[place] * prior
        met_sum = np.bincount(place, _xlogx(met) - _xlogx(alone), len(contexts))
        entropy: NDArray[Any] = -(met_sum + weight * symbol_sums[owner] + _xlogx(weight))
        return cls(model, contexts.keys, entropy)

    @staticmethod
    def _symbols(model: BigramModel) -> tuple[Floats, Floats]:
        """p of each symbol of `unigrams` in its group, without the unseen one, and sum p log2 p of each group."""
        owner = (model.unigrams.keys >> np.uint64(model.bits)).astype(np.int64)
        chance: Floats = (model.unigrams.counts + _ADDED) / (model.totals + _ADDED * model.types)[owner]
        sums: Floats = np.bincount(owner, _xlogx(chance), len(model.totals)).astype(np.float64)
        return chance, sums

    def measure(self, rows: Sequences, groups: Integers) -> Floats:
        """The entropy of each row, [N], with contexts weighted by their counts in the row; NaN without a bigram."""
        model, strength = self.model, self.model.strength
        low = np.uint64((1 << model.bits) - 1)
        found = rows.bigrams
        of_pairs = groups[found.keys.rows]
        first, second = found.keys.values >> np.uint64(model.bits), found.keys.values & low
        chance = self._prior(of_pairs, first, second)
        # n_c of each distinct bigram's context, and the prior's contribution in this context
        by_context = group(found.keys.replace(first), found.counts.values)
        begins = np.concatenate([[True], (first[1:] != first[:-1])]) if len(first) else np.zeros(0, np.bool_)
        begins |= _marks(len(first), found.keys.offsets[:-1], found.keys.lengths)
        inside = np.cumsum(begins) - 1  # the context of each distinct bigram
        n_c = by_context.counts.values.astype(np.float64)
        share = strength / (n_c + strength)
        seen = (found.counts.values + strength * chance) / (n_c[inside] + strength)
        unseen = share[inside] * chance
        change = np.bincount(inside, _xlogx(seen) - _xlogx(unseen), len(n_c))
        own_prior = self._entropy_of(of_pairs[begins], first[begins])
        entropy = -change - _xlogx(share) + share * own_prior
        totals = by_context.counts.sums().astype(np.float64)
        sums = by_context.counts.replace(n_c * entropy).sums()
        return np.where(totals > 0, sums / np.maximum(totals, 1.0), np.nan)

    def _prior(self, groups: Integers, first: Keys, second: Keys) -> Floats:
        """q(second | first) in each group."""
        model = self.model
        spread = model.totals + _ADDED * model.types
        symbol = (model.count_symbols(groups, second) + _ADDED) / spread[groups]
        pair = model.count_pairs(groups, join(first, second, model.bits))
        context = model.count_contexts(groups, first)
        chance: Floats = (pair + model.strength * symbol) / (context + model.strength)
        return chance

    def _entropy_of(self, groups: Integers, contexts: Keys) -> Floats:
        keys = pack((groups, 12), (contexts, self.model.bits))
        return self.prior_entropy[np.searchsorted(self.prior_keys, keys)]


def _xlogx(values: NDArray[Any]) -> Floats:
    result: Floats = values * np.log2(np.where(values > 0, values, 1.0))
    return result
