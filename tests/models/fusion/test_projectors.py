"""Projectors: numbers of rows, slow twins, a clip alone as in a batch, and what is no projector."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import relu, silu

from linnet.errors import ModelError
from linnet.models.fusion.projectors import PROJECTORS, ProjectorOptions, calibrate, make_projector, projector_options
from tests.support.tiny_fusion import one_thread

WIDTH, OUT = 6, 10


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def made(kind: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return make_projector(
        WIDTH, OUT, ProjectorOptions(kind=kind, **{"stack": 3, "hidden": 8, "heads": 2, **options})
    ).eval()


@pytest.mark.parametrize("kind", sorted(PROJECTORS))
@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4))
def test_a_clip_alone_is_what_it_is_in_a_batch(kind: str, lengths: list[int]) -> None:
    projector = made(kind)
    frames = torch.randn(len(lengths), max(lengths), WIDTH)  # what lies behind a clip is anything
    with torch.no_grad():
        together = projector(frames, lengths)
        assert together.shape == (len(lengths), max(projector.rows(length) for length in lengths), OUT)
        for row, length in enumerate(lengths):
            alone = projector(frames[row : row + 1, :length], [length])[0]
            assert len(alone) == projector.rows(length)
            torch.testing.assert_close(alone, together[row, : len(alone)], rtol=1e-4, atol=1e-5)


@given(frames=st.integers(1, 10**6), stack=st.integers(1, 8), queries=st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_no_frame_is_dropped(frames: int, stack: int, queries: int) -> None:
    assert made("linear", stack=stack).rows(frames) == ceil(frames / stack)
    assert made("qformer", stack=stack, queries=queries).rows(frames) == ceil(frames / (stack * queries)) * queries


@pytest.mark.parametrize("kind", ["linear", "mlp", "swiglu"])
def test_stacked_projectors_equal_slow_twins(kind: str) -> None:
    projector = made(kind, normalize=False, activation="relu").double()
    frames = torch.randn(7, WIDTH, dtype=torch.float64)
    rows = []
    for start in (0, 3, 6):
        stacked = torch.zeros(3, WIDTH, dtype=torch.float64)
        stacked[: len(frames[start : start + 3])] = frames[start : start + 3]
        x = stacked.flatten()
        weights = {name: value.detach() for name, value in projector.named_parameters()}
        if kind == "mlp":
            x = relu(weights["first.weight"] @ x + weights["first.bias"])
        if kind == "swiglu":
            x = silu(weights["gate.weight"] @ x) * (weights["first.weight"] @ x)
        rows.append(weights["last.weight"] @ x + weights.get("last.bias", 0.0))
    torch.testing.assert_close(projector(frames[None], [7])[0], torch.stack(rows))


@pytest.mark.parametrize("kind", ["convolution", "qformer"])
def test_each_row_hears_the_frames_of_its_place_only(kind: str) -> None:
    projector = made(kind, normalize=False, stack=2, queries=2)
    frames = torch.randn(1, 16, WIDTH, requires_grad=True)
    projector(frames, [16])[0, 2].sum().backward()
    assert frames.grad is not None
    heard = frames.grad[0].abs().sum(1).nonzero().flatten().tolist()
    assert heard == ([3, 4, 5, 6] if kind == "convolution" else [4, 5, 6, 7])


@pytest.mark.parametrize("kind", sorted(PROJECTORS))
def test_fresh_rows_are_as_loud_as_asked(kind: str) -> None:
    projector = made(kind)
    calibrate(projector, WIDTH, 0.02)
    with torch.no_grad():
        rows = projector(torch.randn(1, 600, WIDTH, generator=torch.Generator().manual_seed(5)), [600])
    assert rows.square().mean().sqrt().item() == pytest.approx(0.02, rel=0.3)


def test_the_published_recipe_has_its_number_of_parameters() -> None:
    options = projector_options({"stack": 5, "activation": "relu", "normalize": False}, frames_per_second=50.0)
    with torch.device("meta"):
        projector = make_projector(1024, 2048, options)
    count = sum(value.numel() for value in projector.parameters())
    assert count == 5 * 1024 * 2048 + 2048 + 2048 * 2048 + 2048


@pytest.mark.parametrize(("rate", "stack"), [(50.0, 4), (25.0, 2), (12.5, 1), (100.0, 8)])
def test_twelve_and_a_half_rows_a_second_by_default(rate: float, stack: int) -> None:
    assert projector_options({}, frames_per_second=rate).stack == stack
    assert projector_options({"stack": 3}, frames_per_second=rate).stack == 3


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        ({"stak": 5}, "unknown key 'stak' \\(did you mean 'stack'\\?\\)"),
        ({"kind": "qfomer"}, "unknown projector 'qfomer' \\(did you mean 'qformer'\\?\\); use linear, mlp"),
        ({"stack": 0}, "stack must be a whole number of at least 1, got 0"),
        ({"hidden": "big"}, "hidden must be a whole number of at least 1, got 'big'"),
        ({"activation": "rleu"}, "unknown activation 'rleu'"),
        ({"kind": "qformer", "hidden": 10, "heads": 3}, "hidden 10 is not divisible by 3 heads"),
    ],
)
def test_what_is_no_projector_is_said(given_: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        projector_options(given_, frames_per_second=50.0)
