"""Aligning sounds with phones, against all ways there are, and from a flat start."""

from __future__ import annotations

from itertools import combinations_with_replacement, pairwise

import numpy as np
import pytest

from linnet.curation.aligning import FOLDS, Emissions, align, folds_of
from linnet.curation.counting import Counts, pack
from linnet.curation.information import Segments
from linnet.curation.ragged import Ragged
from linnet.curation.symbols import Symbols, read_inventory
from linnet.errors import OptionError

SKIP = 4.0


def counts_of(segments, folds, fold):
    mine = folds[segments.units.rows] == fold
    keys = pack((segments.units.values[mine], 16), (segments.tokens.values[mine], 16))
    return Counts.of(keys, segments.frames[mine])


def made(rows=40, kinds=5, seed=0):
    rng = np.random.default_rng(seed)
    units, runs, tokens, truth = [], [], [], []
    for _ in range(rows):
        said = rng.integers(0, kinds, rng.integers(1, 7))
        lengths = rng.integers(1, 5, len(said))
        owner = np.repeat(said, lengths)
        truth.append(owner)
        units.append(owner * 3 + rng.integers(0, 3, len(owner)))
        runs.append(rng.integers(1, 4, len(owner)))
        tokens.append(said)
    ragged = (Ragged.from_lists(one, np.uint16) for one in (units, runs, tokens))
    return *ragged, Ragged.from_lists(truth, np.uint16)


def learned(units, runs, tokens, rounds=3):
    folds, none = folds_of(np.arange(len(units))), np.zeros(len(units), np.int64)
    segments = Segments.spread(units, runs, tokens)
    for _ in range(rounds):
        emissions = Emissions.of([counts_of(segments, folds, fold) for fold in range(FOLDS)], 1)
        segments = align(units, runs, tokens, none, folds, emissions)
    return segments, emissions, folds


def bits(emissions, fold, unit, token):
    return float(emissions.bits[emissions.starts[fold, 0] + unit * emissions.tokens[0] + token])


def best_score(units, runs, tokens, fold, emissions):
    """Of all ways that a token stays, moves on, or skips one."""
    found = -np.inf
    for path in combinations_with_replacement(range(len(tokens)), len(units)):
        steps = [second - first for first, second in pairwise([0, *path, len(tokens) - 1])]
        if max(steps[1:-1], default=0) > 2 or steps[0] > 1 or steps[-1] > 1:
            continue
        skips = steps[0] + steps[-1] + sum(step == 2 for step in steps[1:-1])
        sounds = zip(units, runs, path, strict=True)
        total = sum(length * bits(emissions, fold, unit, tokens[at]) for unit, length, at in sounds)
        found = max(found, total - SKIP * skips)
    return found


def score_of(units, runs, chosen, tokens, fold, emissions):
    """The score of the tokens chosen, by the cheapest places they may be."""
    scores = {-1: 0.0}
    for at, (unit, length, token) in enumerate(zip(units, runs, chosen, strict=True)):
        reached = {}
        for place in (place for place, one in enumerate(tokens) if one == token):
            ways = [
                score - SKIP * ((place - before) == 2)
                for before, score in scores.items()
                if (0 if at else 1) <= place - before <= 2
            ]
            if ways:
                reached[place] = max(ways) + length * bits(emissions, fold, unit, token)
        scores = reached
    last = len(tokens) - 1
    return max(score - SKIP * (last - place) for place, score in scores.items() if last - place <= 1)


def test_the_best_way_is_the_best_of_all_ways():
    units, runs, tokens, _ = made(seed=1)
    short = np.flatnonzero((units.lengths <= 8) & (tokens.lengths <= 2 * units.lengths))
    segments, emissions, folds = learned(units, runs, tokens, 1)
    assert len(short) > 10
    for at in short:
        row = (units[at].tolist(), runs[at].tolist())
        assert segments.units[at].tolist() == row[0]
        places = segments.places[slice(*segments.units.offsets[at : at + 2])]
        assert tokens[at][places].tolist() == segments.tokens[at].tolist()
        assert set(np.diff(places).tolist()) <= {0, 1, 2}
        mine = score_of(*row, segments.tokens[at].tolist(), tokens[at].tolist(), folds[at], emissions)
        assert mine == pytest.approx(best_score(*row, tokens[at].tolist(), folds[at], emissions), abs=1e-3)


def test_phones_are_found_from_a_flat_start():
    units, runs, tokens, truth = made(400, kinds=12, seed=2)
    even = Segments.spread(units, runs, tokens)
    segments, _, _ = learned(units, runs, tokens)
    right = (segments.tokens.values == truth.values).mean()
    by_frame = np.repeat(truth.values, runs.values) == np.repeat(even.tokens.values, even.frames)
    assert segments.totals.tolist() == even.totals.tolist()
    assert by_frame.mean() < 0.8 < 0.95 < right


def test_a_row_is_aligned_by_other_folds_alone():
    units, runs, tokens, _ = made(60, seed=3)
    segments, _, folds = learned(units, runs, tokens, 1)
    counts = [counts_of(segments, folds, fold) for fold in range(FOLDS)]
    whole = Emissions.of(counts, 1)
    counts[1] = Counts.of(np.zeros(0, np.uint64))
    without = Emissions.of([*counts], 1)
    size = len(whole.bits) // FOLDS
    if len(without.bits) == len(whole.bits):
        assert np.array_equal(whole.bits[size : 2 * size], without.bits[size : 2 * size])
    assert not np.array_equal(whole.bits[:size], without.bits[:size])


def test_rows_in_any_company_and_ones_that_cannot_be_aligned(tmp_path):
    units, runs, tokens, _ = made(30, seed=4)
    _, emissions, folds = learned(units, runs, tokens, 2)
    odd = [
        ([], [], [1, 2]),
        ([1, 2], [3, 3], []),
        ([1], [4], [0, 1, 2, 3]),  # more tokens than sounds may skip
        ([900, 4], [2, 2], [700, 1]),  # never met
        ([1] * 2000, [1] * 2000, [0] * 900),
        ([1, 2, 3] * 10, [1, 1, 90] + [1] * 27, list(range(50))),  # one sound as long as 40 tokens
    ]
    more = [
        Ragged.concatenate([one, Ragged.from_lists([row[at] for row in odd], np.uint16)])
        for at, one in enumerate((units, runs, tokens))
    ]
    rows = len(more[0])
    everywhere, emissions = folds_of(np.arange(rows)), Emissions.load(emissions.save(tmp_path))
    found = align(*more, np.zeros(rows, np.int64), everywhere, emissions)
    alone = align(units, runs, tokens, np.zeros(30, np.int64), folds, emissions)
    assert found.tokens.select(np.arange(30)).values.tolist() == alone.tokens.values.tolist()
    assert found.totals[30:].tolist() == [0, 0, 4, 4, 2000, 119]
    assert found.tokens[32].tolist() == [0, 1, 2, 3]
    assert found.tokens[35].tolist() == Segments.spread(*more).tokens[35].tolist()
    assert len(align(*(one.select([]) for one in more), everywhere[:0], everywhere[:0], emissions).units) == 0


def test_symbols_of_voices_that_are_not_known_are_their_own(tmp_path):
    symbols = Symbols.of({("en", "x"): {"a": 5, "b": 3}}, [("en", "x"), ("fr", "")])
    mapped = symbols.map(Ragged.from_lists([[1, 0], [0, 3]], np.uint16), np.array([0, 1]))
    assert mapped.values.tolist() == [1, 0, 1, 7]
    assert read_inventory(tmp_path) == {}
    (tmp_path / "phones.json").write_text('[{"language": "en", "backend": "x", "symbols": ["a"], "counts": [5]}]')
    assert read_inventory(tmp_path) == {("en", "x"): {"a": 5}}
    (tmp_path / "phones.json").write_text("[1]")
    with pytest.raises(OptionError, match="run the text pass again"):
        read_inventory(tmp_path)
