"""The measured waste against plain sums over the batches, and the published gain on a synthetic corpus."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from linnet.data import Utterance, write_manifest
from linnet.data.batching import Cost, Lengths, bench, bench_manifest, bin_utterances
from linnet.data.batching.arrays import stream
from linnet.data.batching.bench import measure_waste
from linnet.data.batching.chart import bars
from tests.support.lengths import WORLDS, batches_of, corpora

COST = Cost(per_second=1.0, per_square_second=0.01, per_token=0.08, fixed=2.0)


@settings(deadline=None, max_examples=50)
@given(corpora(), WORLDS)
def test_waste_is_that_of_plain_sums(lengths: Lengths, world: int) -> None:
    budget = 2.0 + 5 * float(COST.each(lengths.durations, lengths.tokens).max())
    binning = bin_utterances(lengths, COST, budget, groups=3)
    plan = binning.plan(binning.rows, world, stream(0, 0, 0))
    if not plan.steps:
        return
    waste = measure_waste("x", plan, lengths, COST, budget)
    batches = [(lengths.durations[batch].tolist(), lengths.tokens[batch].tolist()) for batch in batches_of(plan)]
    seconds = sum(len(d) * max(d) for d, _ in batches)
    slots = sum(len(t) * max(t) for _, t in batches)
    assert waste.audio_padding == pytest.approx(1 - sum(sum(d) for d, _ in batches) / seconds)
    assert waste.text_padding == pytest.approx(1 - sum(sum(t) for _, t in batches) / slots if slots else 1.0)
    assert waste.batch == pytest.approx(sum(len(d) for d, _ in batches) / len(batches))
    spent = [2.0 + len(d) * (max(d) + 0.01 * max(d) ** 2 + 0.08 * max(t)) for d, t in batches]
    assert waste.budget_used == pytest.approx(sum(spent) / len(spent) / budget)


def speech(count: int) -> Lengths:
    random = np.random.default_rng(0)
    durations = np.clip(random.lognormal(1.7, 0.7, count), 0.5, 40)
    return Lengths(durations, np.maximum(1, durations * random.lognormal(np.log(3.3), 0.25, count)))


def test_each_way_is_better_than_the_one_before() -> None:
    report = bench(speech(20_000), longest=40.0)
    random, grouped, one, two, packed = report.rows
    assert random.audio_padding > 0.5 > 0.1 > grouped.audio_padding
    assert random.batch == pytest.approx(grouped.batch)
    assert 4 * random.batch < one.batch < two.batch < packed.batch
    assert random.steps > one.steps > two.steps > packed.steps
    assert two.text_padding < one.text_padding
    assert packed.audio_padding == packed.text_padding == 0.0
    assert packed.budget_used > 0.97
    assert max(row.budget_used for row in report.rows) <= 1.0


@pytest.mark.parametrize("world", [1, 4])
def test_a_manifest_is_benched(tmp_path: Path, world: int) -> None:
    lengths = speech(600)
    rows = [
        Utterance(f"{row}.wav", "word " * count, duration)
        for row, (duration, count) in enumerate(zip(lengths.durations.tolist(), lengths.tokens.tolist(), strict=True))
    ]
    write_manifest(tmp_path / "m.jsonl", [*rows, Utterance("long.wav", "word " * 300, 90.0)])
    report = bench_manifest(
        tmp_path / "m.jsonl", count_tokens=lambda text: len(text.split()), longest=60.0, world=world
    )
    assert len(report.selection.rows) == 600
    for row in report.rows[2:]:
        assert row.batch * row.steps * world == pytest.approx(600)
    head, *body = report.table()
    assert len(body) == 5
    assert all(len(cells) == len(head) for cells in body)
    plain = json.loads(json.dumps(report.to_dict()))
    assert plain["dropped"]["longer than 60 s"] == 1
    assert [row["name"] for row in plain["rows"]] == [cells[0] for cells in body]
    first = report.picture().axes[0]
    assert [label.get_text() for label in first.get_yticklabels()] == [cells[0] for cells in body]


def test_bars_are_as_long_as_their_values() -> None:
    one, none = bars("a < b", ["x", "y & $", "0"], {"one": [1.0, 4.0, 0.0], "none": [0.0] * 3}).axes
    assert [patch.get_width() for patch in one.patches] == [1.0, 4.0, 0.0]
    assert [patch.get_width() for patch in none.patches] == [0.0] * 3
    assert [label.get_text() for label in one.get_yticklabels()] == ["x", "y & $", "0"]
    assert [text.get_text() for text in one.texts] == ["1.0", "4.0", "0.0"]
    assert one.get_title(loc="left") == "one"
