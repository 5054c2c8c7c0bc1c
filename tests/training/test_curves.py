"""The curves that are drawn are the figures of the log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnet.training.curves import draw_curves, points, read_log, running_mean

pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")


def rows(count: int, **more: float) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [
        {"step": 10 * (n + 1), "loss": 5.0 / (n + 1), "rate": 1e-3, "audio_padding": 0.1, "text_padding": 0.2, **more}
        for n in range(count)
    ]
    for n, row in enumerate(made[1::2]):
        row["wer"] = 0.9 / (n + 1) + (n == 3)
    return made


def _panels(figure: Any) -> dict[str, Any]:
    return {axes.get_title(loc="left"): axes for axes in figure.axes if axes.get_visible()}


def test_a_panel_for_each_figure_that_is_there() -> None:
    panels = _panels(draw_curves({"runs/a": rows(8, memory_gb=3.0)}))
    assert list(panels) == [
        "training loss, nats per token",
        "word error rate, %",
        "learning rate",
        "padding, %",
        "peak memory, GB",
    ]
    steps, losses = panels["training loss, nats per token"].lines[0].get_data()
    assert list(steps) == [10, 20, 30, 40, 50, 60, 70, 80]
    assert list(losses) == [5.0 / (n + 1) for n in range(8)]
    audio, text = (line.get_ydata() for line in panels["padding, %"].lines[:2])
    assert list(audio) == [10.0] * 8
    assert list(text) == [20.0] * 8


def test_the_best_error_rate_is_marked_for_each_run() -> None:
    better = rows(8)
    better[5]["wer"] = 0.05
    wer = _panels(draw_curves({"a": rows(8), "b": better}))["word error rate, %"]
    assert [text.get_text() for text in wer.get_legend().get_texts()] == [
        "best 30.00 at step 60",
        "best 5.00 at step 60",
    ]
    assert wer.get_yscale() == "log"
    flat = [{"step": 1, "wer": 0.0}, {"step": 2, "wer": 0.5}]
    assert _panels(draw_curves({"a": flat}))["word error rate, %"].get_yscale() == "linear"


def test_parts_of_the_loss_are_drawn_beside_it() -> None:
    made = rows(4)
    for row in made:
        row |= {"loss_text": row["loss"] - 0.5, "loss_ctc": 0.5}
    loss = _panels(draw_curves({"a": made, "without": rows(4)}))["training loss, nats per token"]
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["all", "text", "ctc"]
    assert [list(line.get_ydata()) for line in loss.lines[:3]] == [
        [5.0 / (n + 1) for n in range(4)],
        [5.0 / (n + 1) - 0.5 for n in range(4)],
        [0.5] * 4,
    ]


def test_several_runs_are_named(tmp_path: Path) -> None:
    figure = draw_curves({"one": rows(4), "$x$": rows(4)})
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "$x$"]
    assert not draw_curves({"one": rows(4)}).legends
    assert draw_curves({"empty": []}).axes  # a run that has not logged yet is an empty picture, not an error


def test_what_is_no_number_is_left_out() -> None:
    odd = [{"step": 1, "loss": None}, {"step": 2, "loss": float("nan")}, {"step": 3, "loss": 1}, {"step": 4}]
    assert points(odd, "loss") == [(3.0, 1.0)]


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30), st.integers(0, 8))
def test_the_running_mean_is_that_of_plain_slices(values: list[float], reach: int) -> None:
    plain = [np.mean(values[max(0, place - reach) : place + reach + 1]) for place in range(len(values))]
    np.testing.assert_allclose(running_mean(values, reach), plain, atol=1e-9)


def test_a_long_noisy_curve_has_its_mean_drawn_over_it() -> None:
    panels = _panels(draw_curves({"a": rows(400)}))
    faint, mean = panels["training loss, nats per token"].lines
    assert list(faint.get_ydata()) == [5.0 / (n + 1) for n in range(400)]
    assert list(mean.get_ydata()) == running_mean([5.0 / (n + 1) for n in range(400)], 8)
    assert len(panels["learning rate"].lines) == 1


def test_a_log_is_read_by_step_up_to_a_line_that_was_cut_short(tmp_path: Path) -> None:
    lines = [json.dumps(row) for row in ({"step": 2, "loss": 1.0}, {"step": 1, "loss": 2.0}, {"step": 2, "loss": 0.5})]
    (tmp_path / "log.jsonl").write_text("\n".join([*lines, '{"step": 3, "lo']))
    assert read_log(tmp_path) == [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 0.5}]
    assert read_log(tmp_path / "log.jsonl") == read_log(tmp_path)
