"""Peaks of a step, against closed forms and PyTorch's own tracker of modules."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from linnet.training.estimate.memory_profile import Moments, bytes_of, optimizer_tensors, step_moments

ROWS, WIDE = 1000, 256


class Model(nn.Module):
    """Two stacks; `again` recomputes the first for the gradient."""

    def __init__(self, again: bool = False) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(64, WIDE), nn.ReLU(), nn.Linear(WIDE, WIDE), nn.ReLU())
        self.second = nn.Sequential(nn.Linear(WIDE, 8))
        self.again = again

    def forward(self, x: Tensor) -> Tensor:
        kept = {"use_reentrant": False, "preserve_rng_state": False}
        middle: Any = checkpoint(self.first, x, **kept) if self.again else self.first(x)
        return self.second(middle).square().sum()


def measured(again: bool = False, rows: int = ROWS) -> tuple[Moments, int]:
    torch.manual_seed(0)
    model = Model(again)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, foreach=False)
    sound = torch.randn(rows, 64)

    def step() -> None:
        model(sound).backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    held = bytes_of([*model.parameters(), *optimizer_tensors(optimizer), sound])
    return step_moments(step, model, optimizer, held), held


def test_the_forward_pass_is_that_of_the_closed_form() -> None:
    moments, held = measured()
    weights = 64 * WIDE + WIDE + WIDE * WIDE + WIDE + 8 * WIDE + 8
    tensors = 6  # of three linear layers, each with its own step count of four bytes
    assert held == 4 * (3 * weights + tensors) + 4 * ROWS * 64
    layer = 4 * ROWS * WIDE
    # a Linear's output is given up when its ReLU has its own, since that one's gradient asks for the output only
    assert moments["forward first begins"] == held + 3 * layer
    assert moments["forward second begins"] == held + 2 * layer + 4 * ROWS * 8


def test_recomputing_takes_less_in_the_forward_pass_and_has_moments_of_its_own() -> None:
    plain, held = measured()
    again, same = measured(again=True)
    assert held == same
    assert again["forward second begins"] == plain["forward second begins"] - 4 * ROWS * WIDE
    assert any(name.startswith("backward first") for name in again)
    assert again["optimizer"] == plain["optimizer"]


def test_it_is_the_same_each_time_and_linear_in_the_rows() -> None:
    one, held = measured()
    assert (one, held) == measured()
    two, more = measured(rows=2 * ROWS)
    assert one.keys() == two.keys()
    for name in one:
        if name.startswith("forward"):
            assert two[name] - more == pytest.approx(2 * (one[name] - held), abs=4), name  # the sum itself


def test_the_peak_is_that_of_pytorchs_tracker() -> None:
    """MemTracker follows storages by the tensors that operators give, and adds what it is told of by itself."""
    from torch.distributed._tools.mem_tracker import MemTracker

    moments, _ = measured()
    torch.manual_seed(0)
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, foreach=False)
    sound = torch.randn(ROWS, 64)
    tracker = MemTracker()
    tracker.track_external(model, optimizer, sound)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with tracker:
            for _ in range(2):
                model(sound).backward()
                optimizer.step()
                optimizer.zero_grad()
                tracker.reset_mod_stats()
    peak = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    assert max(moments.values()) == pytest.approx(peak, rel=0.01)


def test_a_storage_counts_once() -> None:
    whole = torch.zeros(100)
    assert bytes_of([whole, whole[:10], whole.view(10, 10), torch.zeros(5, dtype=torch.float64)]) == 440
