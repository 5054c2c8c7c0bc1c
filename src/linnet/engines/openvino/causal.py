"""A causal Whisper on OpenVINO: each block of audio goes through the encoder once, at about twice PyTorch's speed.

Keys and values lie in buffers with room to spare, so that nothing that is past is copied for a block or a decode; what
holds no frame yet is masked.

Shapes: T mel frames of a block, M mel bins, n encoder frames of a block, P frames so far, R room, N rows, L tokens,
S columns, D width, H heads, C channels of a head, V vocabulary.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linnet.arrays import Array, one_thread, to_numpy
from linnet.engines.causal import Columns
from linnet.engines.checks import check_heads
from linnet.engines.openvino.cache import CompiledModel, ConvertedModel, compile_converted
from linnet.engines.openvino.engine import floats, owned, shared, take
from linnet.engines.openvino.formats import ModelShape, Precision

STEP = 250  # frames: 5 s of room at a time, of which half is masked on average


@dataclass(frozen=True)
class CausalSizes:
    """What must be known of a model to run it."""

    shape: ModelShape
    encoder_layers: int
    encoder_heads: int

    @property
    def width(self) -> int:
        """Of the model."""
        return self.shape.heads * self.shape.channels

    @classmethod
    def of(cls, model: CompiledModel) -> CausalSizes:
        """Read off a compiled model."""
        past = [port for port in model.encoder.inputs if any(name.startswith("past.") for name in port.names)]
        return cls(model.shape, len(past) // 2, past[0].get_partial_shape()[1].get_length())


@dataclass(frozen=True)
class Kept:
    """A memory's buffers and room, and copies of the frames in them from `since` on."""

    own: list[NDArray[Any]]
    cross: list[NDArray[Any]]
    room: int
    since: int
    copies: tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class Mark:
    """Where a memory was."""

    frames: int
    mel: NDArray[np.float32]
    last: NDArray[np.float32]
    kept: Kept | None = None


class OpenVinoMemory:
    """One segment: keys and values of the encoder's layers, `own` [1, H, R, C], and what the decoder looks at, `cross`.

    `mel` are the last two mel frames [2, M], or one of zeros before the first block, `last` is the last output of the
    first convolution [1, D, 1].
    """

    def __init__(self, sizes: CausalSizes, bits: type[Any]) -> None:
        self.frames, self.room = 0, 0
        self.mel = np.zeros((1, sizes.shape.mel_bins), np.float32)
        self.last = np.zeros((1, sizes.width, 1), np.float32)
        channels = sizes.width // sizes.encoder_heads
        self.own = [np.zeros((1, sizes.encoder_heads, 0, channels), bits) for _ in range(2 * sizes.encoder_layers)]
        heads, channels = sizes.shape.heads, sizes.shape.channels
        self.cross = [
            np.zeros((1, heads, 0, channels) if index % 2 else (1, heads, channels, 0), bits)
            for index in range(2 * sizes.shape.layers)
        ]
        self._most = sizes.shape.frames // 2
        self.reserve(1)

    def mark(self, since: int | None = None) -> Mark:
        """See `EncoderMemory`."""
        if since is None:
            return Mark(self.frames, self.mel, self.last)
        copies = tuple(each.copy() for each in self.between(since, self.frames))
        return Mark(self.frames, self.mel, self.last, Kept(self.own, self.cross, self.room, since, copies))

    def rewind(self, mark: Mark) -> None:
        """See `EncoderMemory`."""
        self.frames, self.mel, self.last = mark.frames, mark.mel, mark.last
        if (kept := mark.kept) is not None:
            self.own, self.cross, self.room = kept.own, kept.cross, kept.room  # more room rounds other sums
            for held, copied in zip(self.between(kept.since, mark.frames), kept.copies, strict=True):
                held[...] = copied

    def between(self, start: int, end: int) -> list[NDArray[Any]]:
        """Views of these frames in `own` and `cross`."""
        cross = [each[:, :, start:end] if index % 2 else each[..., start:end] for index, each in enumerate(self.cross)]
        return [*(each[:, :, start:end] for each in self.own), *cross]

    def reserve(self, frames: int) -> None:
        """Make room for this many more frames."""
        wanted = self.frames + frames
        if wanted > self.room:
            more = min(-(-wanted // STEP) * STEP, self._most) - self.room
            self.own = [_widened(each, 2, more) for each in self.own]
            self.cross = [_widened(each, 2 if index % 2 else 3, more) for index, each in enumerate(self.cross)]
            self.room += more

    @property
    def bias(self) -> NDArray[np.float32]:
        """Minus infinity where there is no frame yet [R]."""
        bias = np.zeros(self.room, np.float32)
        bias[self.frames :] = -np.inf
        return bias


def _widened(held: NDArray[Any], axis: int, more: int) -> NDArray[Any]:
    widths = [(0, more if place == axis else 0) for place in range(held.ndim)]
    return np.pad(held, widths)


class OpenVinoRows:
    """The tokens so far of N rows; their keys and values are the variables of an inference request of their own."""

    def __init__(self, request: Any, memories: Sequence[OpenVinoMemory]) -> None:
        self.request, self.columns = request, Columns(len(memories), frees=False)
        self.frames = [memory.frames for memory in memories]
        self.queries: list[list[NDArray[np.float32]]] = []  # of each feed, of each layer [N, H, L, C]
        room = max(memory.room for memory in memories)
        self.bias = np.full((len(memories), room), -np.inf, np.float32)
        for row, memory in enumerate(memories):
            self.bias[row, : memory.frames] = 0.0
        self.cross = [
            _stacked([memory.cross[index] for memory in memories], 2 if index % 2 else 3, room)
            for index in range(len(memories[0].cross))
        ]


def _stacked(each: Sequence[NDArray[Any]], axis: int, room: int) -> NDArray[Any]:
    if len(each) == 1:
        return each[0]
    return np.concatenate([_widened(one, axis, room - one.shape[axis]) for one in each])


class OpenVinoCausalEngine:
    """Runs a converted causal Whisper on the CPU; a `CausalEngine`, also for several threads."""

    def __init__(self, model: CompiledModel, *, label: str) -> None:
        """`label` names the compute type in reports."""
        self._sizes, self._bits, self._label = CausalSizes.of(model), model.precision.bits, label
        self._encoder, self._decoder = model.encoder, model.decoder
        self._encoders: deque[Any] = deque()
        self._decoders: deque[Any] = deque()
        self.encode(self.begin(), np.zeros((9, model.shape.mel_bins), np.float32))  # see `OpenVinoEngine.encode`

    @property
    def name(self) -> str:
        """See `CausalEngine`."""
        return f"openvino cpu {self._label}, causal"

    @property
    def most_frames(self) -> int:
        """See `CausalEngine`."""
        return self._sizes.shape.frames // 2

    def begin(self) -> OpenVinoMemory:
        """See `CausalEngine`."""
        return OpenVinoMemory(self._sizes, self._bits)

    def encode(self, memory: OpenVinoMemory, mel: Array) -> None:
        """See `CausalEngine`."""
        bands = self._sizes.shape.mel_bins
        if mel.ndim != 2 or mel.shape[1] != bands or not len(mel):
            raise ValueError(f"expected mel frames [1 or more, {bands}], got {list(mel.shape)}")
        start = memory.frames
        end = start + (len(mel) + (start > 0)) // 2
        if not start < end <= self.most_frames:
            raise ValueError(f"a block of {end - start} frames does not fit after {start} of {self.most_frames}")
        taken = np.concatenate([memory.mel, to_numpy(mel).astype(np.float32)])
        if len(taken) % 2:  # the window ends: zeros follow
            taken = np.concatenate([taken, np.zeros((1, bands), np.float32)])
        memory.reserve(end - start)
        last = self._block(memory, taken, end)
        memory.rewind(Mark(end, taken[-2:], last))

    def _block(self, memory: OpenVinoMemory, mel: NDArray[np.float32], end: int) -> NDArray[np.float32]:
        """Encode a block into the memory's buffers; returns the first convolution's last output."""
        request, start = take(self._encoders, self._encoder), memory.frames
        given = {"mel": mel[None], "before": memory.last, "places": np.arange(start, end), "bias": memory.bias}
        inputs = {name: np.ascontiguousarray(array) for name, array in given.items()}
        inputs |= {f"past.{index}": each for index, each in enumerate(memory.own)}
        for name, array in inputs.items():
            request.set_tensor(name, shared(array))
        names = [f"new.{index}" for index in range(len(memory.own))]
        names += [f"cross.{index}" for index in range(len(memory.cross))]
        places = memory.between(start, end)
        found = [np.empty(place.shape, self._bits) for place in places]
        for name, array in zip(names, found, strict=True):
            request.set_tensor(name, shared(array))
        request.infer()
        for place, array in zip(places, found, strict=True):
            place[...] = array
        last: NDArray[np.float32] = request.get_tensor("last").data.copy()
        self._encoders.append(request)
        return last

    def start(self, memories: Sequence[OpenVinoMemory]) -> OpenVinoRows:
        """See `CausalEngine`."""
        request = take(self._decoders, self._decoder)
        request.reset_state()
        state = OpenVinoRows(request, memories)
        for index, tensor in enumerate(state.cross):
            request.set_tensor(f"cross.{index}", shared(tensor))
        request.set_tensor("bias", shared(state.bias))
        weakref.finalize(state, self._decoders.append, request).atexit = False
        return state

    def feed(
        self, state: OpenVinoRows, tokens: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]
    ) -> NDArray[np.float32]:
        """See `CausalEngine`."""
        counts = [len(row) for row in tokens]
        before, longest = state.columns.count, max(counts)
        positions, hidden = state.columns.add(counts)
        mask = np.zeros((len(tokens), 1, longest, before + longest), np.float32)
        if hidden is not None:
            mask[:, 0][hidden] = -np.inf
        inputs = {
            "tokens": np.array([[*row, *[0] * (longest - len(row))] for row in tokens], np.int32),
            "rows": np.arange(len(tokens), dtype=np.int32),
            "positions": positions.clip(max=self._sizes.shape.tokens - 1),
            "mask": mask,
            "take": np.array([row * longest + place for row, own in enumerate(wanted) for place in own], np.int64),
        }
        for name, array in inputs.items():
            state.request.set_tensor(name, owned(array))
        state.request.infer()
        layers = range(self._sizes.shape.layers)
        state.queries.append([state.request.get_tensor(f"query.{layer}").data.copy() for layer in layers])
        logits: NDArray[np.float32] = state.request.get_tensor("logits").data.copy()
        return logits

    def look(
        self, state: OpenVinoRows, row: int, places: Sequence[int], heads: Sequence[tuple[int, int]]
    ) -> NDArray[np.float32]:
        """See `CausalEngine`."""
        check_heads(heads, (self._sizes.shape.layers, self._sizes.shape.heads))
        columns, frames = state.columns.of(row)[list(places)], state.frames[row]
        queries = {
            layer: np.concatenate([each[layer][row] for each in state.queries], 1)[:, columns] for layer, _ in heads
        }
        with one_thread():
            found = [
                queries[layer][head] @ floats(state.cross[2 * layer][row, head, :, :frames]) for layer, head in heads
            ]
        scores = np.stack(found)
        shares: NDArray[np.float32] = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        return shares


def open_causal(module: Any, precision: Precision, *, label: str, threads: int | None = None) -> OpenVinoCausalEngine:
    """Convert a float32 `WhisperForConditionalGeneration` on the CPU and compile it; nothing is kept.

    Raises `OpenVinoMissing`.
    """
    from linnet.engines.openvino.causal_export import convert_causal  # which takes PyTorch

    converted = ConvertedModel(*convert_causal(module, precision), ModelShape.of(module), precision, None)
    return OpenVinoCausalEngine(compile_converted(converted, threads), label=label)
