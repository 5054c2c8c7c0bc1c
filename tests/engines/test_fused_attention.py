"""Attention over what all heads share in one kernel, and the choice of the fastest form on a GPU."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from linnet.engines.torch import fused_attention
from linnet.engines.torch.encoder import TorchEncoder
from linnet.engines.torch.fastest import FastestAttention, seconds_of
from linnet.models.lowrank.attention import ReducedAttention
from tests.support import interpreted_attention
from tests.support.low_rank_models import compress
from tests.support.tiny_whispers import random_features, random_whisper, small_tokenizer

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed: pip install triton (Linux)"
)


@needs_triton
def test_the_kernel_is_attention() -> None:
    """In Triton's interpreter against the float64 twin."""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    program = str(Path(interpreted_attention.__file__))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", program], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    errors = json.loads(done.stdout)
    assert len(errors) == 2 * len(interpreted_attention.CASES)
    for case, error in errors.items():
        assert error < (2e-6 if "float32" in case else 2e-3), case


@needs_triton
@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
@pytest.mark.parametrize("kind", ["fp16", "fp32"])
def test_the_kernel_compiles_for_a_gpu(kind: str) -> None:
    """To PTX for compute capability 8.0; no GPU is needed for that."""
    from triton import compiler
    from triton.backends.compiler import GPUTarget

    sizes = fused_attention.block_sizes(48, 24)
    tensors = dict.fromkeys(("query", "key", "value", "out"), f"*{kind}")
    numbers = {"scale": "fp32", **dict.fromkeys(("length", "key_share", "value_share"), "i32")}
    given = {**tensors, **numbers, **dict.fromkeys(sizes, "constexpr")}
    made = compiler.compile(
        compiler.ASTSource(fused_attention.kernel(), given, constexprs=sizes), target=GPUTarget("cuda", 80, 32)
    )
    assert ".target sm_80" in made.asm["ptx"]


def test_with_a_mask_it_is_the_function_of_pytorch() -> None:
    query, key, value = torch.randn(3, 1, 2, 7, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 1, 1, 7)
    mask[..., 5:] = -torch.inf
    got = fused_attention.attend(query, key, value, mask, scale=0.5)
    want = functional.scaled_dot_product_attention(query, key[..., :5, :], value[..., :5, :], scale=0.5)
    torch.testing.assert_close(got, want)


# --- the choice


def encoder_of(rank: int) -> Any:
    module = random_whisper(small_tokenizer(), seed=4)
    compress(module, ".encoder.", rank=rank, forms=["pair"], bias=True)
    return module.model.encoder


class Clock:
    """Tells these times, in the order in which the forms are tried, over and over."""

    def __init__(self, *seconds: float) -> None:
        self.seconds, self.calls = seconds, 0

    def __call__(self, run: Callable[[], object], device: torch.device) -> float:
        run()
        self.calls += 1
        return self.seconds[(self.calls - 1) % len(self.seconds)]


def exact(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *, scale: float) -> Tensor:
    return interpreted_attention.twin(query, key, value, scale).to(query.dtype)


def failing(*_: Tensor, **__: Any) -> Tensor:
    raise RuntimeError("no such GPU")


def wrong(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *, scale: float) -> Tensor:
    return exact(query, key, value, scale=2 * scale)


@pytest.mark.parametrize(
    ("seconds", "fused", "taken"),
    [
        ((3.0, 2.0, 1.0), exact, exact),
        ((3.0, 1.0, 2.0), exact, functional.scaled_dot_product_attention),
        ((1.0, 2.0, 3.0), exact, None),
        ((3.0, 2.0), None, functional.scaled_dot_product_attention),
        ((3.0, 2.0), failing, functional.scaled_dot_product_attention),
        ((3.0, 2.0), wrong, functional.scaled_dot_product_attention),
    ],
)
@torch.no_grad()
def test_the_fastest_form_that_is_right_is_taken(seconds: tuple[float, ...], fused: Any, taken: Any) -> None:
    encoder, features, clock = encoder_of(12), random_features(2), Clock(*seconds)
    want = TorchEncoder(encoder)(features)
    chosen = TorchEncoder(encoder, reduce=FastestAttention(100, fused=fused, seconds=clock))
    assert [None if layer.reduced is None else layer.reduced.attend for layer in chosen.layers] == [taken] * len(
        chosen.layers
    )
    assert clock.calls == len(seconds)  # two layers of the same ranks
    assert (chosen(features) - want).abs().max() < 1e-5 * want.abs().max()


def test_layers_of_other_ranks_are_timed_for_themselves() -> None:
    fastest, clock = [], Clock(2.0, 1.0)
    choice = FastestAttention(50, seconds=clock)
    for rank in (8, 12, 8):
        layer = encoder_of(rank).layers[0].self_attn
        reduced = ReducedAttention(layer)
        fastest.append(choice.choose(lambda x, layer=layer: layer(x)[0], reduced))
    assert all(fastest)
    assert clock.calls == 4


def test_seconds_are_those_of_one_run() -> None:
    import time

    taken = seconds_of(lambda: time.sleep(0.002), torch.device("cpu"))
    assert 0.002 <= taken < 1.0
