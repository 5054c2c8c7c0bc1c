"""Attention whose keys or values all heads share, as one Triton kernel: imported late, on CUDA only.

PyTorch's fused kernels need queries and values of equal width and read shared keys and values once per head. Here the
widths are the ranks, padded to a power of two in registers only. The softmax is computed online over blocks of keys
(Milakov and Gimelshein, arXiv 1805.02867; Dao et al., arXiv 2205.14135), so scores are never written to memory.

Shapes: B windows, H heads, P positions, q the rank of the keys and width of the queries, v the rank of the values.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

try:
    import triton
    import triton.language as tl
except ImportError:  # no Triton for this platform: see `available`
    triton = tl = None

ROWS, KEYS = 64, 64  # per block


def available() -> bool:
    """Whether Triton is installed."""
    return triton is not None


def attend(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *, scale: float) -> Tensor:
    """`scaled_dot_product_attention` of queries and keys [B, H, P, q] and values [B, H, P, v]; returns [B, H, P, v].

    Keys and values shared by all heads are passed expanded (stride 0) and read once. Sums are float32. With a mask,
    PyTorch's own function is used.
    """
    if attn_mask is not None:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=attn_mask, scale=scale)
    batch, heads, length, width = query.shape
    shares = [heads if each.stride(1) == 0 else 1 for each in (key, value)]
    key, value = (
        (each[:, 0] if share > 1 else each).contiguous() for each, share in zip((key, value), shares, strict=True)
    )
    out = query.new_empty(batch, heads, length, value.shape[-1])
    grid = (triton.cdiv(length, ROWS), batch * heads)
    sizes = block_sizes(width, value.shape[-1])
    with torch.cuda.device_of(query):  # type: ignore[no-untyped-call]
        kernel()[grid](query.contiguous(), key, value, out, scale / math.log(2), length, *shares, **sizes)
    return out


def _pad(width: int) -> int:
    """The width of a block: a power of two, at least 16."""
    return max(16, 1 << (width - 1).bit_length())


@cache
def kernel() -> Any:
    """The kernel, compiled by Triton at its first launch."""
    return triton.jit(_block)


def block_sizes(width: int, values: int) -> dict[str, int]:
    """The compile-time constants of the kernel for queries and values of these widths."""
    sizes = {"WIDTH": width, "VALUES": values, "PAD_WIDTH": _pad(width), "PAD_VALUES": _pad(values)}
    return sizes | {"ROWS": ROWS, "KEYS": KEYS}


# One block of queries of one head of one window against all keys. A share is the number of heads with the same keys.
def _block(  # type: ignore[no-untyped-def]  # noqa: PLR0913 (Triton reads annotations, and knows no types but its own)
    query,
    key,
    value,
    out,
    scale,
    length,
    key_share,
    value_share,
    WIDTH: tl.constexpr,  # noqa: N803
    VALUES: tl.constexpr,  # noqa: N803
    PAD_WIDTH: tl.constexpr,  # noqa: N803
    PAD_VALUES: tl.constexpr,  # noqa: N803
    ROWS: tl.constexpr,  # noqa: N803
    KEYS: tl.constexpr,  # noqa: N803
):
    head = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    wide, deep = tl.arange(0, PAD_WIDTH), tl.arange(0, PAD_VALUES)
    real = row < length
    asked = tl.load(
        query + head * length * WIDTH + row[:, None] * WIDTH + wide[None, :],
        mask=real[:, None] & (wide[None, :] < WIDTH),
        other=0.0,
    )
    keys, values = key + head // key_share * length * WIDTH, value + head // value_share * length * VALUES
    most = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    mixed = tl.zeros([ROWS, PAD_VALUES], tl.float32)
    for start in range(0, length, KEYS):
        place = start + tl.arange(0, KEYS)
        there = place < length
        looked = tl.load(
            keys + place[None, :] * WIDTH + wide[:, None], mask=there[None, :] & (wide[:, None] < WIDTH), other=0.0
        )
        score = tl.dot(asked, looked, input_precision="ieee") * scale
        score = tl.where(there[None, :], score, float("-inf"))
        newest = tl.maximum(most, tl.max(score, 1))
        weight, kept = tl.exp2(score - newest[:, None]), tl.exp2(most - newest)
        held = tl.load(
            values + place[:, None] * VALUES + deep[None, :], mask=there[:, None] & (deep[None, :] < VALUES), other=0.0
        )
        mixed = mixed * kept[:, None] + tl.dot(weight.to(held.dtype), held, input_precision="ieee")
        total = total * kept + tl.sum(weight, 1)
        most = newest
    tl.store(
        out + head * length * VALUES + row[:, None] * VALUES + deep[None, :],
        mixed / total[:, None],
        mask=real[:, None] & (deep[None, :] < VALUES),
    )
