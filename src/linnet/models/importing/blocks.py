"""Dequantize ggml's blocks of 32 weights to float32.

A block is a scale d (float16), in some formats a minimum m (float16), the fifth bits of its 32 values as one u32, and
the lower four bits, with values i and i + 16 in one byte; q8_0 holds signed bytes. Values are d * (q - offset), or d *
q + m (ggml-org/ggml, src/ggml-common.h and ggml-quants.c, `dequantize_row_*`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK = 32  # values


@dataclass(frozen=True)
class BlockFormat:
    """The block layout of one quantized type of ggml. `offset` is subtracted from stored values."""

    name: str
    has_minimum: bool = False
    has_fifth_bits: bool = False
    offset: int = 0
    whole_bytes: bool = False

    @property
    def block_bytes(self) -> int:
        """Bytes of one block."""
        return 2 + 2 * self.has_minimum + 4 * self.has_fifth_bits + (BLOCK if self.whole_bytes else BLOCK // 2)


BLOCK_FORMATS = {
    2: BlockFormat("q4_0", offset=8),
    3: BlockFormat("q4_1", has_minimum=True),
    6: BlockFormat("q5_0", has_fifth_bits=True, offset=16),
    7: BlockFormat("q5_1", has_minimum=True, has_fifth_bits=True),
    8: BlockFormat("q8_0", whole_bytes=True),
}  # by ggml's type number


def dequantize(data: NDArray[np.uint8], form: BlockFormat) -> NDArray[np.float32]:
    """The values of whole blocks [blocks * block_bytes] as float32 [blocks * 32]."""
    blocks = data.reshape(-1, form.block_bytes)
    scale, rest = _half(blocks[:, :2]), blocks[:, 2:]
    minimum = None
    if form.has_minimum:
        minimum, rest = _half(rest[:, :2]), rest[:, 2:]
    values = _values(rest, form)
    values *= scale
    if minimum is not None:
        values += minimum
    return values.reshape(-1)


def _values(rest: NDArray[np.uint8], form: BlockFormat) -> NDArray[np.float32]:
    """The stored integers [blocks, 32] minus the offset."""
    if form.whole_bytes:
        return rest.view(np.int8).astype(np.float32)
    packed = rest[:, -BLOCK // 2 :]
    values = np.concatenate((packed & 15, packed >> 4), axis=1)
    if form.has_fifth_bits:
        fifth = np.unpackbits(np.ascontiguousarray(rest[:, :4]), axis=1, bitorder="little")
        values |= fifth << 4
    return values.astype(np.float32) - np.float32(form.offset)


def _half(pair: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.ascontiguousarray(pair).view(np.float16).astype(np.float32)
