from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from linnet.engines.padding import MARGIN, STEP, STRIDE, best_sound, condense, full_layout


@given(positions=st.integers(1, 1500), sound=st.integers(0, 3000))
def test_every_position_is_stood_for_once(positions: int, sound: int) -> None:
    layout = condense(positions, sound)
    kept = min(-(-sound // 2) + MARGIN, positions)
    counts = np.exp(layout.bias.astype(np.float64))
    assert abs(counts.sum().item() - positions) < 1e-3
    assert layout.indices[:kept].tolist() == list(range(kept))  # the sound and what follows it, each for itself
    assert (layout.bias[:kept] == 0).all()
    assert (np.diff(layout.indices) > 0).all()
    assert layout.indices[-1] < positions
    assert counts.max() < STRIDE + 1
    assert len(layout) == positions or len(layout) % STEP == 0


def test_a_full_window_is_left_alone() -> None:
    for sound in (2900, 3000):
        assert np.array_equal(condense(1500, sound).indices, full_layout(1500).indices)
    assert len(condense(1500, 0)) == STEP


def test_attention_over_condensed_padding_is_that_over_equal_keys() -> None:
    generator = torch.Generator().manual_seed(3)
    layout = condense(1500, 600)
    kept = int((layout.bias == 0).sum())
    key, value = (torch.randn(1, 2, 1500, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    key[:, :, kept:], value[:, :, kept:] = key[:, :, -1:], value[:, :, -1:]  # silence, everywhere the same
    query = torch.randn(1, 2, 5, 8, generator=generator, dtype=torch.float64)
    wanted = functional.scaled_dot_product_attention(query, key, value)
    few = key[:, :, layout.indices], value[:, :, layout.indices]
    got = functional.scaled_dot_product_attention(
        query, *few, attn_mask=torch.from_numpy(layout.bias).double()[None, None, None]
    )
    assert torch.allclose(got, wanted, atol=1e-6)  # the bias is float32


@pytest.mark.parametrize("positions", [8, 375, 400, 750, 1500])
def test_the_best_window_is_the_fullest_that_needs_two_thirds_of_the_positions(positions: int) -> None:
    limit = 2 * positions // 3 // STEP * STEP
    fitting = [sound for sound in range(2 * positions + 1) if len(condense(positions, sound)) <= limit]
    assert best_sound(positions) == (max(fitting) if fitting and max(fitting) else None)
