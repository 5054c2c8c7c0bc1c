"""The block-causal encoder: open it is Transformers' own, masked it never sees a later block."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.errors import ModelError
from linnet.models.causal import CausalSpec, block_ends, encode_causal, read_causal_spec


@pytest.fixture(scope="module")
def encoder():
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=32, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=64, max_source_positions=100
    )
    return WhisperEncoder(config).double().eval()


def test_open_it_is_the_encoder_of_transformers(encoder):
    features = torch.randn(2, 200, 80, dtype=torch.float64)
    ours = encode_causal(encoder, features, torch.full((100,), 100))
    theirs = encoder(features.transpose(1, 2)).last_hidden_state
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=25)
@given(first=st.integers(1, 40), block=st.integers(1, 30), at=st.integers(0, 6), seed=st.integers(0, 99))
def test_a_beginning_that_ends_with_a_block_is_encoded_the_same_alone(encoder, first, block, at, seed):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(1, 200, 80, dtype=torch.float64, generator=generator)
    ends = torch.as_tensor(block_ends(100, [first, block]))
    whole = encode_causal(encoder, features, ends)
    cut = int(ends.unique()[min(at, len(ends.unique()) - 1)])
    changed = features.clone()
    changed[:, 2 * cut + 1 :] = torch.randn(1, 200 - min(2 * cut + 1, 200), 80, dtype=torch.float64)
    torch.testing.assert_close(encode_causal(encoder, changed, ends)[:, :cut], whole[:, :cut], rtol=0, atol=1e-12)


@given(frames=st.integers(1, 200), blocks=st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_block_ends_against_a_loop(frames, blocks):
    wanted, end, place = [], 0, 0
    for index in range(frames):
        if index >= end:
            end += blocks[min(place, len(blocks) - 1)]
            place += 1
        wanted.append(min(end, frames))
    assert block_ends(frames, blocks).tolist() == wanted
    assert np.all(block_ends(frames, blocks) > np.arange(frames))


def test_a_spec_comes_back_and_a_newer_one_is_refused(tmp_path):
    spec = CausalSpec(base="tiny.en", first_block=20, hours=1.5)
    spec.save(tmp_path)
    assert read_causal_spec(tmp_path) == spec
    path = tmp_path / "linnet_causal.json"
    path.write_text(path.read_text().replace('"base"', '"bass"'))
    with pytest.raises(ModelError, match="'bass'"):
        read_causal_spec(tmp_path)
