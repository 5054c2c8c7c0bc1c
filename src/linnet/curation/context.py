"""Information of a text about its domain, in bits.

HEEP uses the entropy of p(domain | text), which is largest for a text that could be from any domain. The default here
is the information gain, the divergence of p(d | x) from p(d), which is 0 for such a text. Domains are labels of the
user, or topics by k-means.

Shapes: N rows, V words in all, D domains, K topics, H hashed words.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from linnet.curation.counting import Counts, Integers, Tally, group, mix, pack
from linnet.curation.markov import Sequences
from linnet.curation.ragged import Ragged

Floats = NDArray[np.float64]

UNLABELED: Final = 255
MOST_DOMAINS: Final = 64
TOPICS: Final = 8
_WORDS: Final = 8.0  # maximum number of words that a text counts as, since its words are not independent
_STRENGTH: Final = 64.0
_HASHED: Final = 1024
_ITERATIONS: Final = 20


@dataclass(frozen=True, eq=False)
class DomainCounts:
    """Words and rows of each domain, by group of rows (a language)."""

    words: Tally = field(default_factory=Tally)  # (group, word, domain)
    rows: Tally = field(default_factory=Tally)  # (group, domain)

    def add(self, words: Sequences, groups: Integers, domains: Integers) -> None:
        """Count rows with words of 32 bits, of groups [N] and domains [N] (`UNLABELED`: not known)."""
        of_words = words.symbols.rows
        self.words.add(pack((groups[of_words], 12), (words.symbols.values, 32), (domains[of_words], 8)))
        self.rows.add(pack((groups, 12), (domains, 8)))

    def merge(self, other: DomainCounts) -> None:
        """Add other counts."""
        self.words.merge(other.words.counts)
        self.rows.merge(other.rows.counts)


@dataclass(frozen=True, eq=False)
class DomainModel:
    """p(domain | text) by the other rows of the group: naive Bayes, with a text's words counted as at most eight."""

    keys: NDArray[np.uint64]  # (group, word), ascending: words with two or more occurrences
    counts: Integers  # [., D]
    everywhere: Integers  # the same for all rows, including unlabeled ones
    words: Integers  # [G, D]
    rows: Integers  # [G, D]
    totals: Integers  # [G] words of all rows

    @classmethod
    def of(cls, counts: DomainCounts, groups: int, domains: int) -> Self:
        """From merged counts, for groups 0 to `groups` - 1 and domains 0 to `domains` - 1."""
        found = counts.words.counts
        word, domain = found.keys >> np.uint64(8), (found.keys & np.uint64(0xFF)).astype(np.int64)
        owner = (found.keys >> np.uint64(40)).astype(np.int64)
        all_words = Counts.of(word, found.counts)
        often = all_words.counts > 1
        keys, labeled = all_words.keys[often], domain < domains
        place = np.minimum(np.searchsorted(keys, word), max(len(keys) - 1, 0))
        known = labeled & (keys[place] == word) if len(keys) else np.zeros(len(word), np.bool_)
        table = np.zeros((len(keys), domains), np.int64)
        np.add.at(table, (place[known], domain[known]), found.counts[known])
        totals, by_domain = np.zeros(groups, np.int64), np.zeros((groups, domains), np.int64)
        np.add.at(totals, owner, found.counts)
        np.add.at(by_domain, (owner[labeled], domain[labeled]), found.counts[labeled])
        cells = pack((np.repeat(np.arange(groups), domains), 12), (np.tile(np.arange(domains), groups), 8))
        rows = counts.rows.counts.lookup(cells).reshape(groups, domains)
        return cls(keys, table, all_words.counts[often], by_domain, rows, totals)

    def information_gain(self, words: Sequences, groups: Integers, domains: Integers) -> Floats:
        """The divergence of p(d | x) from p(d) of each row, [N]; NaN for fewer than two known domains."""
        prior, posterior = self._chances(words, groups, domains)
        return self._known(words, groups, (posterior * np.log2(posterior / prior)).sum(axis=1))

    def posterior_entropy(self, words: Sequences, groups: Integers, domains: Integers) -> Floats:
        """The entropy of p(d | x) of each row, [N], as in HEEP; NaN for fewer than two known domains."""
        _, posterior = self._chances(words, groups, domains)
        return self._known(words, groups, -(posterior * np.log2(posterior)).sum(axis=1))

    def _known(self, words: Sequences, groups: Integers, bits: Floats) -> Floats:
        several = (self.rows > 0).sum(axis=1)[groups] > 1
        known: Floats = np.where(several & (words.symbols.lengths > 0), bits + 0.0, np.nan)
        return known

    def _chances(self, words: Sequences, groups: Integers, domains: Integers) -> tuple[Floats, Floats]:
        """p(d) and p(d | x) without row x itself, [N, D] each."""
        size = words.symbols.lengths
        mine = domains[:, None] == np.arange(self.rows.shape[1])
        rows = self.rows[groups] - mine
        known = (self.rows[groups] > 0) | ~(self.rows[groups] > 0).any(axis=1, keepdims=True)
        prior = (rows + 0.5) * known
        prior = np.maximum(prior / np.maximum(prior.sum(axis=1, keepdims=True), 1e-300), 1e-300)
        evidence = Ragged(self._log_ratios(words, groups, mine), words.symbols.offsets).sums()
        weight = np.minimum(size, _WORDS) / np.maximum(size, 1)
        logs = np.log(prior) + weight[:, None] * evidence
        posterior = np.exp(logs - logs.max(axis=1, keepdims=True)) if logs.shape[1] else logs
        posterior = posterior / np.maximum(posterior.sum(axis=1, keepdims=True), 1e-300)
        return prior, np.maximum(posterior, 1e-300)

    def _log_ratios(self, words: Sequences, groups: Integers, mine: NDArray[np.bool_]) -> Floats:
        """log [p(w | d) / p(w)] of each word, [V, D], p(w | d) shrunk toward p(w)."""
        of_words = words.symbols.rows
        owner, own = groups[of_words], words.unigrams.own
        size = words.symbols.lengths[of_words]
        keys = pack((owner, 12), (words.symbols.values, 32))
        everywhere = Counts(self.keys, self.everywhere).lookup(keys)
        known = everywhere > 0
        place = np.searchsorted(self.keys, keys) * known
        everywhere = (everywhere - own) * known
        chance = (everywhere + 0.5) / (self.totals[owner] - size + 1.0)
        of_domain = mine[of_words]
        count = (self.counts[place] - own[:, None] * of_domain) * known[:, None] if len(self.keys) else 0
        total = self.words[owner] - size[:, None] * of_domain
        ratio = (count + _STRENGTH * chance[:, None]) / ((total + _STRENGTH) * chance[:, None])
        # a word in no other row carries no information, also not against domains with many words
        return np.where((everywhere > 0)[:, None], np.log(ratio), 0.0)


# --- topics, without known domains


@dataclass(frozen=True, eq=False)
class Topics:
    """Topics of texts: spherical k-means of hashed TF-IDF vectors. Deterministic for any number of threads."""

    centroids: Floats  # [H, K]
    weights: Floats  # [H]: inverse document frequency

    @classmethod
    def fit(cls, words: Ragged, *, topics: int = TOPICS, seed: int = 0) -> Self:
        """Fit on a sample of texts as 32-bit words, a few thousand rows of one language."""
        hashed = group(_hashed(words.select(words.lengths > 0)))
        documents = np.bincount(hashed.keys.values.astype(np.int64), minlength=_HASHED)
        weights = np.log((1.0 + len(hashed.keys)) / (1.0 + documents))
        rows = len(hashed.keys)
        vectors = np.zeros((rows, _HASHED))
        vectors[hashed.keys.rows, hashed.keys.values.astype(np.int64)] = _values(hashed.keys, hashed.counts, weights)
        rng = np.random.default_rng(seed)
        centroids = vectors[rng.permutation(rows)[: min(topics, rows)]].T.copy()
        found = cls(centroids, weights)
        for _ in range(_ITERATIONS):
            labels = found.assign(words)[words.lengths > 0]
            sums = np.zeros((_HASHED, centroids.shape[1]))
            np.add.at(sums.T, labels, vectors)
            length = np.sqrt((sums * sums).sum(axis=0))
            found = cls(np.where(length > 0, sums / np.maximum(length, 1e-12), found.centroids), weights)
        return found

    def assign(self, words: Ragged) -> Integers:
        """The topic of each row, [N]; `UNLABELED` for rows without words."""
        if not self.centroids.shape[1]:
            return np.full(len(words), UNLABELED, np.int64)
        hashed = group(_hashed(words))
        values = _values(hashed.keys, hashed.counts, self.weights)
        nearness = hashed.keys.replace(values[:, None] * self.centroids[hashed.keys.values.astype(np.int64)]).sums()
        return np.where(words.lengths > 0, nearness.argmax(axis=1), UNLABELED)


def _hashed(words: Ragged) -> Ragged:
    return words.replace(mix(words.values, 10))


def _values(keys: Ragged, counts: Ragged, weights: Floats) -> NDArray[Any]:
    """TF-IDF of the distinct hashed words of each row, each row of length 1."""
    values = (1.0 + np.log(counts.values)) * weights[keys.values.astype(np.int64)]
    length = np.sqrt(keys.replace(values * values).sums())
    normed: NDArray[Any] = values / np.maximum(length, 1e-12)[keys.rows]
    return normed
