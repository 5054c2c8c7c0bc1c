"""The components of a score: statistics over a corpus, and their values for each row, in bits.

Shapes: N rows of a shard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from linnet.curation import paper
from linnet.curation.blocks import Block
from linnet.curation.context import DomainCounts, DomainModel
from linnet.curation.counting import Counts, Tally
from linnet.curation.entropy import ESTIMATORS, RAREFIED_TO, find_estimator, rarefied
from linnet.curation.information import Information, JointCounts, per_frame, per_token
from linnet.curation.markov import BigramCounts, BigramModel, ConditionalEntropy
from linnet.curation.ragged import Ragged
from linnet.files import whole_file
from linnet.settings import ONE_OR_MORE, require, require_known

Floats = NDArray[np.float64]

ENTROPIES: Final = ("h_acoustic", "novelty", "h_phonetic", "s_phonetic", "h_linguistic", "s_linguistic", "h_contextual")
COMPONENTS: Final = (*ENTROPIES, "mi", "mi_tokens", "match")
BY_VOICE: Final = (
    "h_phonetic",
    "s_phonetic",
    "mi",
    "mi_tokens",
    "match",
)  # compared within language and phonemizer; others within language
_WORD_BITS: Final = 32


@dataclass(frozen=True)
class EstimatorOptions:
    """The estimators of the components. `paper` is HEEP as published and overrides the other keys."""

    estimators: str = "repaired"
    acoustic: str = "rarefied"  # of sound units; an estimator of `linnet.curation.entropy`
    linguistic: str = "grassberger"  # of words
    rarefied_to: int = RAREFIED_TO  # sound units
    information: str = "pmi"  # "rarity": the rarity of sounds, as in HEEP's code
    tokens: str = "phones"  # tokens aligned with sounds; or "words"
    alignment: str = "learned"  # learned alignment of sounds and phones; or "even": an even spread in order
    context: str = "information-gain"  # or HEEP's "posterior-entropy"

    def __post_init__(self) -> None:
        require_known(self, "estimators", ("repaired", "paper"))
        require_known(self, "acoustic", ESTIMATORS)
        require_known(self, "linguistic", ESTIMATORS)
        require_known(self, "information", ("pmi", "rarity"))
        require_known(self, "tokens", ("phones", "words"))
        require_known(self, "alignment", ("learned", "even"))
        require_known(self, "context", ("information-gain", "posterior-entropy"))
        require(self, ONE_OR_MORE, "rarefied_to")

    @property
    def is_aligned(self) -> bool:
        """Whether sounds and phones are aligned by learning. There are too many words for it."""
        return self.alignment == "learned" and self.tokens == "phones" and not self.is_paper

    @property
    def is_paper(self) -> bool:
        """Whether HEEP's published forms are used."""
        return self.estimators == "paper"


# --- statistics


@dataclass(frozen=True, eq=False)
class Statistics:
    """All statistics of a corpus, as integers: shards sum to the same result in any order."""

    sounds: BigramCounts = field(default_factory=BigramCounts)
    phones: BigramCounts = field(default_factory=BigramCounts)
    words: BigramCounts = field(default_factory=BigramCounts)
    joint: JointCounts = field(default_factory=JointCounts)
    domains: DomainCounts = field(default_factory=DomainCounts)

    def add(self, block: Block, options: EstimatorOptions) -> None:
        """Count the rows of a shard."""
        self.sounds.add(block.sounds, block.languages)
        self.phones.add(block.speech, block.voices)
        self.words.add(block.language, block.languages)
        self.joint.add(block.segments(options.tokens), block.voices)
        self.domains.add(block.language, block.languages, block.domains)

    def merge(self, other: Statistics) -> None:
        """Add other statistics."""
        for name, part in self._parts():
            part.merge(getattr(other, name))

    def save(self, folder: Path) -> Path:
        """Write the counts to a folder atomically as one NumPy file, named by its content."""
        arrays: dict[str, NDArray[Any]] = {}
        digest = blake2b(digest_size=8)
        for name, tally in self._tallies():
            counts = tally.counts
            arrays |= {f"{name}.keys": counts.keys, f"{name}.counts": counts.counts}
            digest.update(counts.keys.tobytes())
            digest.update(counts.counts.tobytes())
        path = folder / f"statistics-{digest.hexdigest()}.npz"
        with whole_file(path) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        return path

    @classmethod
    def load(cls, path: Path) -> Self:
        """Load the output of `save`."""
        found = cls()
        with np.load(path) as arrays:
            for name, tally in found._tallies():
                tally.merge(Counts(arrays[f"{name}.keys"], arrays[f"{name}.counts"]))
        return found

    def _parts(self) -> Iterator[tuple[str, Any]]:
        return ((name, getattr(self, name)) for name in ("sounds", "phones", "words", "joint", "domains"))

    def _tallies(self) -> Iterator[tuple[str, Tally]]:
        for name, part in self._parts():
            for inner, tally in vars(part).items():
                yield f"{name}.{inner}", tally


# --- values of rows


@dataclass(frozen=True, eq=False)
class Corpus:
    """Models from the merged statistics."""

    sounds: BigramModel
    phones: BigramModel
    phone_entropy: ConditionalEntropy
    words: BigramModel
    information: Information
    domains: DomainModel

    @classmethod
    def of(cls, statistics: Statistics, sizes: tuple[int, int, int]) -> Self:
        """From the statistics of all shards, for these numbers of languages, voices and domains."""
        languages, voices, domains = sizes
        everyone = BigramModel.of(statistics.sounds.together(16), 1)
        together = Information.of(statistics.joint.together(), 1)
        phones = BigramModel.of(statistics.phones, voices)
        return cls(
            BigramModel.of(statistics.sounds, languages, parent=everyone),
            phones,
            ConditionalEntropy.of(phones),
            BigramModel.of(statistics.words, languages, _WORD_BITS),
            Information.of(statistics.joint, voices, parent=together),
            DomainModel.of(statistics.domains, languages, domains),
        )

    def estimate(self, block: Block, options: EstimatorOptions) -> dict[str, Floats]:
        """The raw value of each component for each row, [N]; NaN if undefined.

        The block's rows must be among the counted ones: their own counts are subtracted first.
        """
        return {name: find(self, block, options) for name, find in _FORMS.items()} | _match(self, block, options)


def _h_acoustic(_: Corpus, block: Block, options: EstimatorOptions) -> Floats:
    if options.is_paper:
        return paper.acoustic_entropy(block.frames)
    return _entropy(options.acoustic, block.sounds.unigrams.counts, options)


def _novelty(corpus: Corpus, block: Block, _: EstimatorOptions) -> Floats:
    return _mean(block.units, corpus.sounds.surprisal(block.sounds, block.languages))


def _h_phonetic(corpus: Corpus, block: Block, options: EstimatorOptions) -> Floats:
    if options.is_paper:
        return paper.conditional_entropy(block.speech, corpus.phones.types[block.voices])
    return corpus.phone_entropy.measure(block.speech, block.voices)


def _s_phonetic(corpus: Corpus, block: Block, _: EstimatorOptions) -> Floats:
    return _mean(block.phones, corpus.phones.surprisal(block.speech, block.voices))


def _h_linguistic(_: Corpus, block: Block, options: EstimatorOptions) -> Floats:
    if options.is_paper:
        return paper.word_entropy(block.language)
    pairs = np.nan_to_num(_entropy(options.linguistic, block.language.bigrams.counts, options))
    bits: Floats = _entropy(options.linguistic, block.language.unigrams.counts, options) + pairs
    return bits


def _s_linguistic(corpus: Corpus, block: Block, _: EstimatorOptions) -> Floats:
    return _mean(block.words, corpus.words.surprisal(block.language, block.languages))


def _h_contextual(corpus: Corpus, block: Block, options: EstimatorOptions) -> Floats:
    form = corpus.domains.information_gain
    if options.is_paper or options.context == "posterior-entropy":
        form = corpus.domains.posterior_entropy
    return form(block.language, block.languages, block.domains)


def _match(corpus: Corpus, block: Block, options: EstimatorOptions) -> dict[str, Floats]:
    """`mi`, low if what is said is not written, `mi_tokens`, low if what is written is not said, and their mean,
    `match`, which is the surest sign of a text that belongs to another recording."""
    information, segments = corpus.information, block.segments(options.tokens)
    bits = information.judge(segments, block.voices)
    frames, tokens = per_frame(segments, bits), per_token(segments, bits)
    found = {"mi": frames, "mi_tokens": tokens, "match": (frames + tokens) / 2}
    if options.information == "rarity":
        found["mi"] = information.rarity(segments, block.voices)
    elif options.is_paper:
        found["mi"] = information.shares(segments, block.voices)
    return found


_FORMS: Final[Mapping[str, Callable[[Corpus, Block, EstimatorOptions], Floats]]] = dict(
    zip(
        ENTROPIES,
        (_h_acoustic, _novelty, _h_phonetic, _s_phonetic, _h_linguistic, _s_linguistic, _h_contextual),
        strict=True,
    )
)


def _entropy(estimator: str, counts: Ragged, options: EstimatorOptions) -> Floats:
    return rarefied(counts, options.rarefied_to) if estimator == "rarefied" else find_estimator(estimator)(counts)


def _mean(rows: Ragged, values: Floats) -> Floats:
    """Means by row, [N]; NaN for empty rows."""
    lengths = rows.lengths
    means: Floats = np.where(lengths > 0, rows.replace(values).sums() / np.maximum(lengths, 1), np.nan)
    return means
