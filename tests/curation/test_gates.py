"""Each defect meets its own gate, with the value that failed and a sentence; what is sound passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from linnet.curation.gates import ForeignScript, GateOptions, Mismatch, UnusualRate, gates_of
from linnet.curation.gating import run_gates
from linnet.curation.outliers import length_groups, robust_scores
from linnet.curation.pool import Pool
from linnet.errors import OptionError
from tests.support.pools import pool_of

TEXT = "three one four one five"

DEFECTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "unreadable": ({"errors": [None, "gone.wav: no such file"]}, "unreadable", "cannot be read"),
    "no length": ({"duration": [2.0, np.nan]}, "duration", "nan s"),
    "0 seconds": ({"duration": [2.0, 0.0]}, "duration", "lasts 0.00 s, less than 0.1"),
    "an hour": ({"duration": [2.0, 3600.0]}, "duration", "more than 40"),
    "silent": ({"speech_frames": [100, 0]}, "no-speech", "0.00 s of it are speech"),
    "clipped": ({"clipped": [0.0, 0.4]}, "clipped", "40.0% of its samples are clipped, more than 0.02"),
    "noise": ({"snr_db": [20.0, -3.0]}, "noisy", "-3.0 dB, less than 3"),
    "10,000 words": ({"characters": [23, 50_000]}, "rate", "characters a second, more than 45"),
    "text for a frame": (
        {"characters": [23, 130], "duration": [2.0, 2.0], "speech_frames": [100, 500]},
        "too-long-text",
        "1.30 characters a frame",
    ),
}


def gated(pool: Pool, **options: Any) -> tuple[list[str], list[str]]:
    """The first gate that each recording fails, and why."""
    found = run_gates(pool, gates_of(GateOptions(**options)))
    names = ["" if at < 0 else found.gates[at].name for at in found.first]
    reasons = ["" if at < 0 else found.reason_at(row, int(at)) for row, at in enumerate(found.first)]
    return names, reasons


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_meets_its_gate(name: str) -> None:
    columns, gate, reason = DEFECTS[name]
    names, reasons = gated(pool_of([TEXT, TEXT], **columns))
    assert names == ["", gate]
    assert reason in reasons[1]


@pytest.mark.parametrize("text", [None, "", " ... ", "!?"])
def test_nothing_spoken(text: str | None) -> None:
    names, _ = gated(pool_of([TEXT, text], characters=[23, 20]))
    assert names == ["", "no-text"]


def test_several_scripts_in_one_line() -> None:
    mixed = "नमस्ते дорогой друг hello friends"
    names, reasons = gated(pool_of([TEXT, "मैं office जा रहा हूँ", "今日はサッカー", mixed], duration=[9.0] * 4))
    assert names == ["", "", "", "mixed-scripts"]
    assert "less than 50%" in reasons[3]


def test_the_share_of_the_text_pass_is_taken_and_figures_have_no_script() -> None:
    pool = pool_of(["one"] * 3, script=["Latn", "Zyyy", "Latn"], duration=[2.0] * 3)
    pool.numbers["script_share"] = np.array([1.0, 0.0, 0.4])  # type: ignore[index]
    assert gated(pool)[0] == ["", "", "mixed-scripts"]


def test_a_script_that_the_language_is_not_written_in() -> None:
    scripts = ["Cyrl"] * 60 + ["Latn"] * 20 + ["Grek"]
    pool = pool_of([TEXT] * 81, script=scripts, language=["sr"] * 81)
    verdict = ForeignScript().check(pool, np.ones(81, bool))
    assert np.flatnonzero(verdict.failed).tolist() == [80]
    few = pool_of([TEXT] * 3, script=["Cyrl", "Cyrl", "Latn"], language=["sr"] * 3)
    assert not ForeignScript().check(few, np.ones(3, bool)).failed.any()


def test_a_text_of_another_length_and_a_language_with_three_recordings() -> None:
    rng = np.random.default_rng(0)
    characters = [*rng.integers(22, 27, 100), 80, 5, 25, 25, 80]
    language = ["en"] * 102 + ["fo"] * 3
    pool = pool_of([TEXT] * 105, characters=characters, duration=[2.0] * 105, language=language)
    verdict = UnusualRate(4.0).check(pool, np.ones(105, bool))
    assert np.flatnonzero(verdict.failed).tolist() == [100, 101]
    assert np.isnan(verdict.values[102:]).all()  # too few to say what is usual
    assert "long for its sound" in UnusualRate(4.0).reason(9.0)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2])
def test_wrong_texts_do_not_move_what_is_usual(share: float) -> None:
    rng = np.random.default_rng(1)
    wrong = rng.random(2000) < share
    scores = np.where(wrong, rng.normal(-0.5, 0.4, 2000), rng.normal(2.0, 0.3, 2000))
    pool = pool_of([TEXT] * 2000, language=["en"] * 2000, scores={"mi_raw": scores})
    failed = Mismatch(3.0).check(pool, np.ones(2000, bool)).failed
    assert failed[wrong].all()
    assert failed[~wrong].mean() < 0.01
    assert not Mismatch(3.0, ("none",)).check(pool, np.ones(2000, bool)).failed.any()


def test_robust_scores_are_standard_deviations() -> None:
    rng = np.random.default_rng(2)
    values = np.concatenate([rng.normal(5, 2, 20_000), rng.normal(-1, 0.1, 20_000), [1.0], [np.nan]])
    groups = np.repeat([0, 1, 2, 0], [20_000, 20_000, 1, 1])
    for spread in ("both", "upper"):
        scores = robust_scores(values, groups, np.ones(len(values), bool), spread)  # type: ignore[arg-type]
        assert scores[:40_000] == pytest.approx(
            np.concatenate([(values[:20_000] - 5) / 2, (values[20_000:40_000] + 1) / 0.1]), abs=0.15
        )
        assert np.isnan(scores[40_000:]).all()


def test_lengths_of_which_there_are_few_join_the_shorter_ones() -> None:
    seconds = np.array([1.0] * 40 + [3.0] * 5 + [30.0] * 40)
    groups = length_groups(np.zeros(85, int), seconds, np.ones(85, bool))
    assert len(set(groups[:45])) == 1
    assert groups[0] != groups[-1]


def test_gates_can_be_taken_out() -> None:
    none = {name: None for name in GateOptions.__dataclass_fields__ if name not in ("min_seconds", "foreign_script")}
    pool = pool_of([TEXT, TEXT], clipped=[0.0, 1.0], snr_db=[-50.0, 9.0], duration=[99.0, 99.0])
    assert gated(pool, **none, foreign_script=False)[0] == ["", ""]
    with pytest.raises(OptionError, match="max_clipped must be from 0 to 1"):
        GateOptions(max_clipped=3.0)
