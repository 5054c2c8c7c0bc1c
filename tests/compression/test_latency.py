"""Budgets of time: what is timed, what lies between, and that the budget holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from linnet.compression import job
from linnet.compression.job import CompressOptions, Study, compress
from linnet.compression.latency import latency_cost
from linnet.compression.sites import Site
from linnet.errors import OptionError
from tests.support.tiny_subjects import audio_of, whisper_subject


def timer(layer: nn.Module, inputs: int, frames: int) -> float:
    """A machine whose time is the weights read, a hundred for each layer that is begun, and a frame's worth of work."""
    begun = sum(isinstance(one, nn.Linear) for one in layer.modules())
    return 100.0 * begun + sum(value.numel() for value in layer.parameters()) + 0.0 * inputs * frames


def test_times_between_those_measured_lie_on_a_line() -> None:
    site = Site("a", 64, 96, "mlp", "a")
    cost = latency_cost([site], "pair", 10, step=4, timer=timer)
    assert cost(site, None) == 100 + 64 * 96 + 96
    for rank in (12, 30, 62):
        assert cost(site, rank) == pytest.approx(200 + rank * (64 + 96) + 96)


def test_a_rank_is_never_faster_than_a_lower_one() -> None:
    times = iter([9.0, 3.0, 5.0, 4.0, 4.0, 4.0, 7.0])
    site = Site("a", 64, 64, "mlp", "a")
    cost = latency_cost([site], "pair", 10, step=4, timer=lambda *_: next(times))
    found = [cost(site, rank) for rank in range(4, 64)]
    assert found == sorted(found)


def test_the_time_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cost(*given: Any, **named: Any) -> Any:
        return latency_cost(*given, **named, timer=timer)

    monkeypatch.setattr(job, "latency_cost", cost)
    subject = whisper_subject(tmp_path / "w")
    options = CompressOptions(latency=0.6, step=4)
    study = Study(subject, audio_of(subject), options)
    made = compress(study, options)
    whole = taken = 0.0
    for one in made.reports:
        layer = subject.model.get_submodule(one.name)
        whole += timer(layer, one.inputs, 1)
        taken += timer(made.layers.get(one.name, layer), one.inputs, 1)
    assert 0.5 < taken / whole <= 0.6
    with pytest.raises(OptionError, match=r"a budget of 0\.01 of the time cannot be met: .* take 0\.\d+ of it"):
        compress(study, CompressOptions(latency=0.01, step=4))
