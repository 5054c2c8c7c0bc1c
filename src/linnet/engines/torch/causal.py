"""A causal Whisper on the torch engine: each block of audio goes through the encoder once.

Keys and values of past frames, and the ends of the convolutions' inputs, are kept, so that a block costs its own frames
only; the numbers are those of `models.causal.encode_causal` over the whole segment.

Shapes: T mel frames of a block, M mel bins, n encoder frames of a block, P frames so far, D width, H heads, C channels
of a head, N rows, L tokens, S columns, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from linnet.arrays import Array
from linnet.engines.causal import Columns
from linnet.engines.checks import check_heads
from linnet.engines.torch.decoder import FIRST_CAPACITY, TorchDecoder
from linnet.engines.torch.encoder import TorchEncoder
from linnet.engines.torch.ops import normed, pack
from linnet.models.whisper import WhisperModel

FIRST_FRAMES = 250  # room for 5 s, which doubles: a short segment stays small


@dataclass(frozen=True)
class Mark:
    """Where a memory was."""

    frames: int
    mel: Tensor | None
    conv: Tensor | None
    copies: tuple[Tensor, ...] = ()  # of the last frames of `own` and `cross`


class TorchMemory:
    """One segment: keys and values of the encoder's layers, and what the decoder's look at, [layers, 2, H, room, C].

    `mel` are the last two mel frames [2, M], `conv` the last output [D, 1] of the first convolution.
    """

    def __init__(self, own: Tensor, cross: Tensor, most: int) -> None:
        """`own` and `cross` are empty tensors of the right shape but for the room, which is 0."""
        self.frames = 0
        self.own, self.cross = own, cross
        self.mel: Tensor | None = None
        self.conv: Tensor | None = None
        self._most = most

    def mark(self, since: int | None = None) -> Mark:
        """See `EncoderMemory`."""
        copied = slice(self.frames if since is None else since, self.frames)
        copies = tuple(each[:, :, :, copied].clone() for each in (self.own, self.cross))
        return Mark(self.frames, self.mel, self.conv, copies)

    def rewind(self, mark: Mark) -> None:
        """See `EncoderMemory`."""
        self.frames, self.mel, self.conv = mark.frames, mark.mel, mark.conv
        for held, copied in zip((self.own, self.cross), mark.copies, strict=False):
            held[:, :, :, mark.frames - copied.shape[3] : mark.frames] = copied

    def reserve(self, frames: int) -> None:
        """Make room for this many more frames."""
        wanted = self.frames + frames
        if wanted > self.own.shape[3]:
            room = min(self._most, max(wanted, FIRST_FRAMES, 2 * self.own.shape[3]))
            self.own, self.cross = (self._grown(each, room) for each in (self.own, self.cross))

    def _grown(self, held: Tensor, room: int) -> Tensor:
        grown = held.new_empty(*held.shape[:3], room, held.shape[4])
        grown[:, :, :, : self.frames] = held[:, :, :, : self.frames]
        return grown


class TorchRows:
    """The tokens so far of N rows: self-attention keys and values, and what was asked of the audio, per layer."""

    def __init__(self, memories: Sequence[TorchMemory], layers: int) -> None:
        self.cross = [memory.cross[:, :, :, : memory.frames] for memory in memories]
        self.columns = Columns(len(memories))
        shape = (
            layers,
            2,
            len(memories),
            self.cross[0].shape[2],
            FIRST_CAPACITY,
            self.cross[0].shape[4],
        )
        self.cache = self.cross[0].new_empty(shape)
        self.queries = self.cross[0].new_empty((layers, *shape[2:]))

    def reserve(self, columns: int) -> None:
        """Make room for so many columns in all."""
        if columns > self.cache.shape[4]:
            room = max(columns, 2 * self.cache.shape[4])
            self.cache, self.queries = (_widened(each, room) for each in (self.cache, self.queries))


def _widened(held: Tensor, room: int) -> Tensor:
    grown = held.new_zeros(*held.shape[:-2], room, held.shape[-1])
    grown[..., : held.shape[-2], :] = held
    return grown


class TorchCausalEngine:
    """Runs a causal Whisper on any device of torch; a `CausalEngine`."""

    def __init__(self, model: WhisperModel) -> None:
        parameter = next(model.module.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype
        self._bands = model.n_mels
        with torch.no_grad():
            self._encoder = TorchEncoder(model.module.model.encoder)
            self._decoder = TorchDecoder(model.module.model.decoder, model.module.proj_out)
            self._decoder.pack()
            pack(*(each for layer in self._encoder.layers for each in layer.products))
            for layer in self._decoder.layers:
                pack(layer.cross_key, layer.cross_value)

    @property
    def name(self) -> str:
        """See `CausalEngine`."""
        return f"torch {self.device} {str(self.dtype).removeprefix('torch.')}, causal"

    @property
    def most_frames(self) -> int:
        """See `CausalEngine`."""
        return self._encoder.positions.shape[0]

    def begin(self) -> TorchMemory:
        """See `CausalEngine`."""
        width = self._encoder.positions.shape[1]
        sizes = [(len(each.layers), each.layers[0].heads) for each in (self._encoder, self._decoder)]
        own, cross = (self._encoder.positions.new_empty(layers, 2, heads, 0, width // heads) for layers, heads in sizes)
        return TorchMemory(own, cross, self.most_frames)

    @torch.no_grad()
    def encode(self, memory: TorchMemory, mel: Array) -> None:
        """See `CausalEngine`."""
        if mel.ndim != 2 or mel.shape[1] != self._bands or not len(mel):
            raise ValueError(f"expected mel frames [1 or more, {self._bands}], got {list(mel.shape)}")
        start = memory.frames
        end = start + (len(mel) + (start > 0)) // 2
        if not start < end <= self.most_frames:
            raise ValueError(f"a block of {end - start} frames does not fit after {start} of {self.most_frames}")
        memory.reserve(end - start)
        x, mark = self._stem(memory, torch.as_tensor(mel, device=self.device).to(self.dtype))
        x = x + self._encoder.positions[start:end]
        for layer, cache in zip(self._encoder.layers, memory.own, strict=True):
            x = layer.append(x, cache, start)
        hidden = normed(self._encoder.norm, x)
        for cache, (key, value) in zip(memory.cross, self._decoder.cross(hidden), strict=True):
            cache[0, :, start:end], cache[1, :, start:end] = key[0], value[0]
        memory.rewind(Mark(end, *mark))

    def _stem(self, memory: TorchMemory, new: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The convolutions' outputs [1, n, D] for a block, and what the next one needs of this one.

        Encoder frame i reads outputs 2 i - 1 to 2 i + 1 of the first convolution, which read the mel frames around
        them: a block begins with the last output and the last two mel frames of the one before.
        """
        if memory.mel is None or memory.conv is None:
            mel, before = functional.pad(new, (0, 0, 1, 0)), new.new_zeros(self._encoder.positions.shape[1], 1)
        else:
            mel, before = torch.cat([memory.mel, new]), memory.conv
        if len(mel) % 2:  # the window ends: zeros follow
            mel = functional.pad(mel, (0, 0, 0, 1))
        first, second = self._encoder.conv1, self._encoder.conv2
        inner = functional.gelu(functional.conv1d(mel.T, first.weight, first.bias))  # [D, 2 n]
        inner = torch.cat([before, inner], 1)
        made = functional.gelu(functional.conv1d(inner, second.weight, second.bias, stride=2))
        return made.T[None], (mel[-2:], inner[:, -1:])

    def start(self, memories: Sequence[TorchMemory]) -> TorchRows:
        """See `CausalEngine`."""
        return TorchRows(memories, len(self._decoder.layers))

    @torch.no_grad()
    def feed(self, state: TorchRows, tokens: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]) -> Tensor:
        """See `CausalEngine`."""
        counts = [len(row) for row in tokens]
        start, longest = state.columns.count, max(counts)
        state.reserve(start + longest)
        positions, hidden = state.columns.add(counts)
        mask = None if hidden is None else torch.from_numpy(hidden[:, None]).to(self.device)
        padded = np.array([[*row, *[0] * (longest - len(row))] for row in tokens], np.int64)
        x = functional.embedding(torch.from_numpy(padded).to(self.device), self._decoder.tokens)
        last = self._decoder.positions.shape[0] - 1
        x = x + self._decoder.positions[torch.from_numpy(positions.clip(max=last)).to(self.device)]
        for index, layer in enumerate(self._decoder.layers):
            cross = [each[index] for each in state.cross]
            x, query = layer.ragged(x, state.cache[index], start, mask, cross, counts)
            state.queries[index, :, :, start : start + longest] = query
        rows = [row for row, places in enumerate(wanted) for _ in places]
        chosen = x[rows, [place for places in wanted for place in places]]
        logits: Tensor = self._decoder.output(normed(self._decoder.norm, chosen))
        return logits.float()

    @torch.no_grad()
    def look(
        self, state: TorchRows, row: int, places: Sequence[int], heads: Sequence[tuple[int, int]]
    ) -> NDArray[np.float32]:
        """See `CausalEngine`."""
        check_heads(heads, (len(self._decoder.layers), self._decoder.layers[0].heads))
        columns = state.columns.of(row)[list(places)].tolist()
        found = [state.queries[layer, row, head, columns] @ state.cross[row][layer, 0, head].T for layer, head in heads]
        shares: NDArray[np.float32] = torch.stack(found).float().softmax(-1).cpu().numpy()
        return shares
