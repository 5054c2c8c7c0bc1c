"""Mutual information of units and tokens, against a loop over frames."""

from __future__ import annotations

from collections import Counter
from math import log, log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.curation.information import STRENGTH, Information, JointCounts, Segments, fold_words, per_frame, per_token
from linnet.curation.ragged import Ragged

ROW = st.tuples(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6)), max_size=6), st.lists(st.integers(0, 4), max_size=9)
)


def segments_of(rows):
    return Segments.spread(
        Ragged.from_lists([[unit for unit, _ in runs] for runs, _ in rows], np.uint16),
        Ragged.from_lists([[length for _, length in runs] for runs, _ in rows], np.uint16),
        Ragged.from_lists([tokens for _, tokens in rows], np.uint16),
    )


def frames_of(row):
    runs, tokens = row
    units = [unit for unit, length in runs for _ in range(length)]
    if not tokens:
        return []
    return [(unit, tokens[int((at + 0.5) * len(tokens) / len(units))]) for at, unit in enumerate(units)]


@settings(deadline=None, max_examples=80)
@given(st.lists(ROW, max_size=5))
def test_every_frame_belongs_to_one_token(rows):
    segments = segments_of(rows)
    for at, row in enumerate(rows):
        span = slice(*segments.units.offsets[at : at + 2])
        spread = [
            pair
            for *pair, frames in zip(
                segments.units[at].tolist(), segments.tokens[at].tolist(), segments.frames[span].tolist(), strict=True
            )
            for _ in range(frames)
        ]
        assert [tuple(pair) for pair in spread] == frames_of(row)
    assert segments.totals.tolist() == [len(frames_of(row)) for row in rows]


def corpus(rows=12, seed=0):
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(rows):
        runs = [(int(rng.integers(0, 6)), int(rng.integers(1, 7))) for _ in range(rng.integers(0, 9))]
        made.append((runs, rng.integers(0, 5, rng.integers(0, 8)).tolist()))
    return made, rng.integers(0, 2, rows)


def information(rows, groups):
    counts = JointCounts()
    counts.add(segments_of(rows), groups)
    return Information.of(counts, 2)


def pointwise(found, segments, groups):
    return per_frame(segments, found.judge(segments, groups))


def by_token(found, segments, groups):
    return per_token(segments, found.judge(segments, groups))


def test_shares_sum_to_the_information():
    rows, groups = corpus()
    segments, found = segments_of(rows), information(rows, groups)
    shares = found.shares(segments, groups)
    for one in range(2):
        frames = [frame for row, of in zip(rows, groups, strict=True) if of == one for frame in frames_of(row)]
        joint, n = Counter(frames), len(frames)
        units, tokens = Counter(unit for unit, _ in frames), Counter(token for _, token in frames)
        total = sum(c / n * log2(c * n / (units[j] * tokens[t])) for (j, t), c in joint.items())
        assert found.total()[one] == pytest.approx(total, abs=1e-12)
        mine = (groups == one) & (segments.totals > 0)
        assert (segments.totals[mine] * shares[mine]).sum() / n == pytest.approx(total, abs=1e-12)
    assert np.isnan(shares[segments.totals == 0]).all()


def test_a_row_is_judged_by_the_others():
    rows, groups = corpus(seed=1)
    found, segments = information(rows, groups), segments_of(rows)
    scores, rarity = pointwise(found, segments, groups), found.rarity(segments, groups)
    for at, row in enumerate(rows):
        own = frames_of(row)
        members = [index for index in range(len(rows)) if groups[index] == groups[at]]
        others = [frame for index in members if index != at for frame in frames_of(rows[index])]
        kinds = len({unit for index in members for unit, _ in frames_of(rows[index])})
        joint, tokens = Counter(others), Counter(token for _, token in others)
        units = Counter(unit for unit, _ in others)
        chance = {unit: (units[unit] + 0.5) / (len(others) + 0.5 * (kinds + 1)) for unit, _ in own}
        bits = [log2((joint[j, t] + STRENGTH * chance[j]) / (tokens[t] + STRENGTH) / chance[j]) for j, t in own]
        if not own:
            assert np.isnan(scores[at])
            continue
        assert scores[at] == pytest.approx(np.mean(bits), abs=1e-12)
        assert rarity[at] == pytest.approx(np.mean([-log2(chance[j]) for j, _ in own]), abs=1e-12)


def test_a_group_borrows_from_all_how_much_likelier_a_sound_is_with_a_token():
    rows, groups = corpus(seed=7)
    counts, segments = JointCounts(), segments_of(rows)
    counts.add(segments, groups)
    found = pointwise(Information.of(counts, 2, parent=Information.of(counts.together(), 1)), segments, groups)

    def counted(members):
        frames = [frame for index in members for frame in frames_of(rows[index])]
        return Counter(frames), Counter(j for j, _ in frames), Counter(t for _, t in frames), len(frames)

    kinds = len({j for row in rows for j, _ in frames_of(row)})
    for at, row in enumerate(rows):
        everyone = counted([index for index in range(len(rows)) if index != at])
        group = counted([index for index in range(len(rows)) if index != at and groups[index] == groups[at]])
        bits = []
        for j, t in frames_of(row):
            joint, units, tokens, n = everyone
            alone = (units[j] + 0.5) / (n + 0.5 * (kinds + 1))
            lift = (joint[j, t] / alone + STRENGTH) / (tokens[t] + STRENGTH)
            joint, units, tokens, n = group
            alone = (units[j] + STRENGTH * alone) / (n + STRENGTH)
            bits.append(log2((joint[j, t] / alone + STRENGTH * lift) / (tokens[t] + STRENGTH)))
        assert np.isnan(found[at]) if not bits else found[at] == pytest.approx(np.mean(bits), abs=1e-12)


def test_a_wrong_transcript_stands_out_in_a_language_of_ten_recordings():
    rng = np.random.default_rng(8)
    rows, groups = [], np.repeat(np.arange(30), 10)
    said = [rng.permutation(10)[:4].tolist() for _ in range(300)]
    for at, tokens in enumerate(said):
        own = 40 * (groups[at] % 2)  # every other language has sounds of its own beside the common ones
        sounds = [
            ((3 * token + int(rng.integers(0, 9))) % 30 + own * int(rng.integers(0, 2)), 4)
            for token in tokens
            for _ in range(2)
        ]
        rows.append((sounds, said[at + 1] if at % 10 == 0 else tokens))
    counts, segments = JointCounts(), segments_of(rows)
    counts.add(segments, groups)
    alone = pointwise(Information.of(counts, 30), segments, groups)
    helped = pointwise(Information.of(counts, 30, parent=Information.of(counts.together(), 1)), segments, groups)
    wrong = np.arange(300) % 10 == 0
    areas = [np.mean(found[wrong][:, None] < found[~wrong][None]) for found in (alone, helped)]
    assert areas[1] > 0.98 > 0.92 > areas[0]


def test_by_token_every_token_counts_once():
    rows, groups = corpus(seed=4)
    rows[0] = ([(1, 1), (2, 1)], [0, 1, 2, 3, 3])  # more tokens than frames
    rows[1] = ([(1, 4), (2, 4)], [3, 3])
    found, segments = information(rows, groups), segments_of(rows)
    bits = found.judge(segments, groups)
    for at, row in enumerate(rows):
        span = slice(*segments.units.offsets[at : at + 2])
        if span.start == span.stop:
            assert np.isnan(by_token(found, segments, groups)[at])
            continue
        places, frames = segments.places[span], segments.frames[span]
        assert [row[1][place] for place in places] == segments.tokens[at].tolist()
        means = [np.average(bits[span][places == place], weights=frames[places == place]) for place in set(places)]
        expected = (sum(means) - 4 * (len(row[1]) - len(means))) / len(row[1])
        assert by_token(found, segments, groups)[at] == pytest.approx(expected)


def test_what_is_cut_off_is_missed_by_tokens():
    rng = np.random.default_rng(6)
    rows = []
    for at in range(300):
        tokens = rng.integers(0, 10, 8).tolist()
        sounds = [(int(3 * token + rng.integers(0, 3)), 4) for token in tokens for _ in range(2)]
        rows.append((sounds[:-1], [*tokens, *rng.integers(0, 10, 16).tolist()] if at < 30 else tokens))
    groups = np.zeros(300, np.int64)
    scores = by_token(information(rows, groups), segments_of(rows), groups)
    assert np.mean(scores[:30, None] < scores[None, 30:]) > 0.99


def test_bias_of_independent_sounds_and_words():
    rng = np.random.default_rng(2)
    rows = [
        ([(int(unit), 1) for unit in rng.integers(0, 16, 40)], rng.integers(0, 10, 40).tolist()) for _ in range(250)
    ]
    found = information(rows, np.zeros(250, np.int64))
    assert found.bias()[0] == pytest.approx(15 * 9 / (2 * 10_000 * log(2)))
    assert found.total()[0] == pytest.approx(found.bias()[0], rel=0.25)
    assert abs(np.mean(pointwise(found, segments_of(rows), np.zeros(250, np.int64)))) < 0.02


def test_a_wrong_transcript_has_little_information():
    rng = np.random.default_rng(5)
    rows = []
    for at in range(300):
        tokens = rng.integers(0, 10, rng.integers(3, 8)).tolist()
        sounds = [(int(3 * token + rng.integers(0, 4)) % 30, 4) for token in tokens for _ in range(3)]
        rows.append((sounds, rng.permutation(10)[: len(tokens)].tolist() if at < 30 else tokens))
    groups = np.zeros(300, np.int64)
    scores = pointwise(information(rows, groups), segments_of(rows), groups)
    assert np.mean(scores[:30, None] < scores[None, 30:]) > 0.95


def test_shards_sum_to_the_whole():
    rows, groups = corpus(30, seed=3)
    whole, merged = JointCounts(), JointCounts()
    whole.add(segments_of(rows), groups)
    for shard in (slice(11, None), slice(0, 11)):
        part = JointCounts()
        part.add(segments_of(rows[shard]), groups[shard])
        merged.merge(part)
    assert merged.joint.counts.counts.tolist() == whole.joint.counts.counts.tolist()
    assert merged.joint.counts.keys.tolist() == whole.joint.counts.keys.tolist()
    assert merged.segments.counts.counts.tolist() == whole.segments.counts.counts.tolist()


def test_words_are_folded():
    folded = fold_words(Ragged.from_lists([[1, 2**31], [1]], np.uint32))
    assert folded.values.max() < 1024
    assert folded[0][0] == folded[1][0] != folded[0][1]
