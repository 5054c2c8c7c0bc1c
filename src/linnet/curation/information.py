"""Mutual information of the sounds and transcripts of a corpus, and the contribution of each recording, in bits per
frame.

    I = sum over j, l of P(j, l) log2 [P(j, l) / (P(j) P(l))]

with P(j, l) the share of all speech frames with sound unit j in the span of token l. Spans need no model: the tokens of
a transcript divide its speech frames evenly and in order. A recording x has the share w_x of the frames and its own
p_x(j, l); with i(x) = sum p_x log2 [P(j, l) / (P(j) P(l))] the sum of w_x i(x) is exactly I. If a transcript belongs to
another recording, i(x) is low: a transcript check without a model.

Shapes: N rows, S segments (stretches of one unit within one token), G groups.
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

WORD_BITS = 10  # bits of a hash of words: more kinds of words would need more frames than most corpora have
STRENGTH = 256.0  # frames at which counts weigh as much as what is expected without them: a stretch's are alike
_UNHEARD = 4.0  # bits
_ADDED = 0.5


def fold_words(words: Ragged) -> Ragged:
    """Hash words to tokens of 10 bits."""
    return words.replace(mix(words.values, WORD_BITS).astype(np.int64))


# --- segments


@dataclass(frozen=True, eq=False)
class Segments:
    """The units (below 2**16) of each row aligned with its tokens (below 2**16), with the number of frames."""

    units: Ragged
    tokens: Ragged
    frames: Integers  # [S]
    places: Integers  # [S]: index of the token in its row, from 0
    expected: Integers  # [N]: number of tokens per row, including those without frames

    @classmethod
    def spread(cls, units: Ragged, runs: Ragged, tokens: Ragged) -> Self:
        """Spread the tokens of each row evenly over its frames; `runs` are the frames of each unit.

        Frame t of T belongs to token floor((t + 1/2) L / T) of L, so each frame counts once. A row without frames or
        tokens has no segments.
        """
        frames, count = runs.sums().astype(np.int64), tokens.lengths
        rows = runs.rows
        usable = (frames[rows] > 0) & (count[rows] > 0) & (runs.values > 0)
        rows, length = rows[usable], runs.values.astype(np.int64)[usable]
        ends = (np.cumsum(runs.values, dtype=np.int64) - (np.cumsum(frames) - frames)[runs.rows])[usable]
        starts = ends - length
        total, share = frames[rows], count[rows]
        first = (2 * starts + 1) * share // (2 * total)
        last = (2 * ends - 1) * share // (2 * total)
        pieces = Ragged.from_lengths(np.zeros(0), last - first + 1)  # tokens that overlap each run
        of_piece = np.repeat(np.arange(len(rows)), pieces.lengths)
        token = first[of_piece] + np.arange(len(of_piece)) - pieces.offsets[:-1][of_piece]
        begin = np.maximum(starts[of_piece], _first_frame(token, total[of_piece], share[of_piece]))
        end = np.minimum(ends[of_piece], _first_frame(token + 1, total[of_piece], share[of_piece]))
        kept = end > begin  # more tokens than frames: some have no frames
        of_piece, token = of_piece[kept], token[kept]
        row = rows[of_piece]
        lengths = np.bincount(row, minlength=len(units))
        return cls(
            Ragged.from_lengths(units.values[usable][of_piece], lengths),
            Ragged.from_lengths(tokens.values[tokens.offsets[row] + token], lengths),
            (end - begin)[kept],
            token,
            count,
        )

    @cached_property
    def joint(self) -> Grouped:
        """The frames of each unit with each token, by row."""
        keys = pack((self.units.values, 16), (self.tokens.values, 16))
        return group(self.units.replace(keys), self.frames)

    @cached_property
    def by_unit(self) -> Grouped:
        """The frames of each unit, by row."""
        return group(self.units, self.frames)

    @cached_property
    def by_token(self) -> Grouped:
        """The frames of each token, by row."""
        return group(self.tokens, self.frames)

    @cached_property
    def totals(self) -> Integers:
        """The frames of each row, [N]."""
        return self.units.replace(self.frames).sums().astype(np.int64)


def _first_frame(token: Integers, frames: Integers, tokens: Integers) -> Integers:
    """The first frame t of a token k: the smallest with (2 t + 1) L >= 2 T k."""
    return -((tokens - 2 * frames * token) // (2 * tokens))


# --- the corpus


@dataclass(frozen=True, eq=False)
class JointCounts:
    """Frames of a corpus by group, unit and token, and their number of segments."""

    joint: Tally = field(default_factory=Tally)  # (group, unit, token)
    segments: Tally = field(default_factory=Tally)  # (group)

    def add(self, segments: Segments, groups: Integers) -> None:
        """Count the segments of a shard, whose rows' groups are [N]."""
        of_segments = groups[segments.units.rows]
        keys = pack((of_segments, 12), (segments.units.values, 16), (segments.tokens.values, 16))
        self.joint.add(keys, segments.frames)
        self.segments.add(groups, segments.units.lengths)

    def together(self) -> JointCounts:
        """The counts with all groups merged as number 0."""
        found = JointCounts()
        joint, segments = self.joint.counts, self.segments.counts
        found.joint.add(joint.keys & np.uint64(0xFFFFFFFF), joint.counts)
        found.segments.add(np.zeros(len(segments), np.int64), segments.counts)
        return found

    def merge(self, other: JointCounts) -> None:
        """Add other counts."""
        self.joint.merge(other.joint.counts)
        self.segments.merge(other.segments.counts)


@dataclass(frozen=True, eq=False)
class Information:
    """The information of units about tokens in each group of rows, from merged counts."""

    joint: Counts  # (group, unit, token)
    units: Counts  # (group, unit)
    tokens: Counts  # (group, token)
    totals: Integers  # frames of each group [G]
    segments: Integers  # [G]
    parent: Information | None = None
    strength: float = STRENGTH

    @classmethod
    def of(cls, counts: JointCounts, groups: int, *, parent: Information | None = None) -> Self:
        """From the counts of all shards, for groups 0 to `groups` - 1.

        `parent` is that of all groups together, if a token means the same in each: it complements rare counts of a
        group.
        """
        joint = counts.joint.counts
        owner, unit, token = _parts(joint.keys)
        totals = np.zeros(groups, np.int64)
        np.add.at(totals, owner, joint.counts)
        return cls(
            joint,
            Counts.of(pack((owner, 12), (unit, 16)), joint.counts),
            Counts.of(pack((owner, 12), (token, 16)), joint.counts),
            totals,
            counts.segments.counts.lookup(np.arange(groups)),
            parent,
        )

    @cached_property
    def _of_pairs(self) -> Table:
        return Table(self.joint, (12, 16, 16))

    @cached_property
    def _of_units(self) -> Table:
        return Table(self.units, (12, 16))

    @cached_property
    def _of_tokens(self) -> Table:
        return Table(self.tokens, (12, 16))

    def total(self) -> Floats:
        """I of each group, [G]; 0 for one without frames."""
        owner, unit, token = _parts(self.joint.keys)
        bits = self._bits(owner, unit, token)
        sums: Floats = np.bincount(owner, self.joint.counts * bits, len(self.totals)) / np.maximum(self.totals, 1)
        return sums

    def bias(self) -> Floats:
        """The bias of I, [G]: (K - 1) (V - 1) / (2 S ln 2), for K units, V tokens and S segments.

        Frames of one segment are alike, so there are fewer samples than frames.
        """
        kinds = [
            np.bincount((one.keys >> np.uint64(16)).astype(np.int64), minlength=len(self.totals)) - 1
            for one in (self.units, self.tokens)
        ]
        bits: Floats = (
            np.maximum(kinds[0], 0) * np.maximum(kinds[1], 0) / (2.0 * np.log(2) * np.maximum(self.segments, 1))
        )
        return bits

    def shares(self, segments: Segments, groups: Integers) -> Floats:
        """i(x) of each row [N] by the equation: weighted by frames they sum to I. NaN for a row without segments."""
        keys = segments.joint.keys
        bits = self._bits(groups[keys.rows], keys.values >> np.uint64(16), keys.values & np.uint64(0xFFFF))
        return _mean(segments, segments.joint.counts.sums(bits))

    def judge(self, segments: Segments, groups: Integers) -> Floats:
        """log2 [P(j | l) / P(j)] of each segment [S] by the other rows of its group: `per_frame` is i(x) of each row.

        P(j | l) without x is shrunk toward P(j), so that a pair seen nowhere else counts against x, but to a limited
        extent.
        """
        bits: Floats = np.log2(self._lift(segments, groups[segments.units.rows]))
        return bits

    def _lift(self, segments: Segments, of_segments: Integers) -> Floats:
        """P(j | l) / P(j) of each segment without its row, [S], shrunk toward the parent's, and that toward 1.

        What a group shares with all others is how much likelier a sound is with a token, not how often it is heard:
        voices and channels differ.
        """
        usual: Floats | float = 1.0
        if self.parent is not None:
            usual = self.parent._lift(segments, np.zeros_like(of_segments))
        joint = self._of_pairs.get(of_segments, segments.units.values, segments.tokens.values) - segments.joint.own
        token = self._of_tokens.get(of_segments, segments.tokens.values) - segments.by_token.own
        alone = self._unit_chance(segments, of_segments)
        lift: Floats = (joint / alone + self.strength * usual) / (token + self.strength)
        return lift

    def rarity(self, segments: Segments, groups: Integers) -> Floats:
        """-log2 P(unit) of each row's frames [N], by the other rows: called information in HEEP's code."""
        chance = self._unit_chance(segments, groups[segments.units.rows])
        return _mean(segments, segments.units.replace(segments.frames * -np.log2(chance)).sums())

    def _unit_chance(self, segments: Segments, of_segments: Integers) -> Floats:
        """P(j) of each segment without its row, [S], shrunk toward the parent's."""
        count = self._of_units.get(of_segments, segments.units.values) - segments.by_unit.own
        rest = self.totals[of_segments] - segments.totals[segments.units.rows]
        if self.parent is not None:
            usual = self.parent._unit_chance(segments, np.zeros_like(of_segments))
            return np.asarray((count + self.strength * usual) / (rest + self.strength), np.float64)
        kinds = np.bincount((self.units.keys >> np.uint64(16)).astype(np.int64), minlength=len(self.totals))
        chance: Floats = (count + _ADDED) / (rest + _ADDED * (kinds[of_segments] + 1))
        return chance

    def _bits(self, owner: Integers, unit: NDArray[Any], token: NDArray[Any]) -> Floats:
        """log2 [P(j, l) / (P(j) P(l))] without smoothing, for pairs in the corpus."""
        joint = self._of_pairs.get(owner, unit, token).astype(np.float64)
        alone = self._of_units.get(owner, unit).astype(np.float64)
        spoken = self._of_tokens.get(owner, token).astype(np.float64)
        bits: Floats = np.log2(joint * self.totals[owner] / (alone * spoken))
        return bits


def per_frame(segments: Segments, bits: Floats) -> Floats:
    """The mean over the frames of each row [N] of the bits of segments [S]; NaN for a row without segments."""
    return _mean(segments, segments.units.replace(segments.frames * bits).sums())


def per_token(segments: Segments, bits: Floats) -> Floats:
    """The mean over the tokens of each row [N] of their bits per frame; NaN for a row without segments.

    The mean over frames is low if spoken words are not in the transcript; this one if words of the transcript are not
    spoken: in a truncated recording the last tokens have few frames that do not fit, or none, which counts as -4 bits.
    """
    begins = np.ones(len(bits), np.bool_)
    begins[1:] = segments.places[1:] != segments.places[:-1]
    begins[segments.units.offsets[:-1][segments.units.lengths > 0]] = True
    inside = np.cumsum(begins) - 1
    frames = np.bincount(inside, segments.frames)
    means = np.bincount(inside, segments.frames * bits) / np.maximum(frames, 1.0)
    rows, count = segments.units.rows[begins], len(segments.units)
    heard = np.bincount(rows, minlength=count)
    sums = np.bincount(rows, means, count) - _UNHEARD * (segments.expected - heard)
    found: Floats = np.where(heard > 0, sums / np.maximum(segments.expected, 1), np.nan)
    return found


def _mean(segments: Segments, sums: NDArray[Any]) -> Floats:
    """Means per frame, [N]; NaN without frames."""
    means: Floats = np.where(segments.totals > 0, sums / np.maximum(segments.totals, 1), np.nan)
    return means


def _parts(keys: Keys) -> tuple[Integers, Keys, Keys]:
    return (
        (keys >> np.uint64(32)).astype(np.int64),
        (keys >> np.uint64(16)) & np.uint64(0xFFFF),
        keys & np.uint64(0xFFFF),
    )
