"""The OpenVINO engine: Whisper-family models on a CPU, at two to four times the speed of PyTorch.

Shapes: B windows, T mel frames, M mel bins, P encoder frames, N hypothesis rows, L tokens, V vocabulary, H heads, C
channels of a head.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from linnet.arrays import Array, one_thread
from linnet.audio.types import Samples
from linnet.engines.checks import check_features, check_heads, check_kept, check_max_length, check_spread, check_tokens
from linnet.engines.openvino.cache import CompiledModel
from linnet.engines.openvino.formats import ModelShape
from linnet.engines.openvino.runtime import import_openvino
from linnet.engines.padding import Layout, best_sound, condense

_NOTHING = ("indices", np.zeros(1, np.int64)), ("bias", np.zeros(1, np.float32))


@dataclass(frozen=True)
class OpenVinoEncoderOutput:
    """The cross-attention keys [B, H, C, P] and values [B, H, P, C] of B windows, alternating, for each decoder layer.

    They are in the precision of the decoder: converting them at each step would cost more than the rest of the step.
    NumPy has no bfloat16, so its bits are stored as uint16. `bias` [B, P] is added to cross-attention scores: the
    weight of condensed padding positions, and minus infinity where a window has fewer positions than others in its
    batch.
    """

    cross: tuple[NDArray[Any], ...]
    bias: NDArray[np.float32]

    @property
    def batch(self) -> int:
        """The number of windows."""
        return len(self.bias)

    def select(self, rows: Sequence[int]) -> Self:
        """The results of these windows only, in this order; repetitions are allowed."""
        if list(rows) == list(range(self.batch)):
            return self
        if list(rows) == list(range(len(rows))):  # the first ones are contiguous: no copy
            return type(self)(tuple(each[: len(rows)] for each in self.cross), self.bias[: len(rows)])
        index = list(rows)
        return type(self)(tuple(each[index] for each in self.cross), self.bias[index])


class OpenVinoState:
    """The state of N rows; their keys and values are variables of its own inference request."""

    def __init__(self, request: Any, encoded: OpenVinoEncoderOutput, max_length: int) -> None:
        self.request = request
        self.encoded = encoded  # the request reads its memory
        self.max_length = max_length
        self.length = 0
        self.order = np.arange(encoded.batch, dtype=np.int32)  # the row that each row continues in the next step

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.order)

    def reorder(self, rows: Sequence[int]) -> None:
        """Let row i continue row `rows[i]`; the number of rows per window may change, equally for all windows."""
        check_spread(rows, self.encoded.batch)
        if self.length:
            self.order = self.order[np.asarray(rows)]
        else:  # there is nothing to reorder
            self.order = np.arange(len(rows), dtype=np.int32)

    def keep(self, rows: Sequence[int]) -> bool:
        """Keep only these windows, each with one row. Raises `ValueError` for other states."""
        check_kept(rows, self.rows, self.encoded.batch)
        self.encoded = self.encoded.select(rows)
        self.order = self.order[list(rows)]
        self.attach()
        return True

    def attach(self) -> None:
        """Let the request read the encoder results in place."""
        for index, tensor in enumerate(self.encoded.cross):
            self.request.set_tensor(f"cross.{index}", shared(tensor))
        self.request.set_tensor("bias", shared(self.encoded.bias))


class OpenVinoEngine:
    """Runs a converted Whisper-family model; an `Engine`.

    The two compiled models hold the weights once. Each decode has an inference request with its own states, so one
    engine serves many decodes, also from several threads.
    """

    def __init__(self, model: CompiledModel, *, label: str) -> None:
        """`label` names the compute type in reports."""
        self._shape = model.shape
        self._bits, self._label = model.precision.bits, label
        self._condenses = model.precision.weights != "f32"  # float32 is exact
        self._encoder, self._decoder = model.encoder, model.decoder
        self._encoders: deque[Any] = deque()
        self._decoders: deque[Any] = deque()
        self._begun = False

    @property
    def name(self) -> str:
        """For reports: `openvino cpu int8`."""
        return f"openvino cpu {self._label}"

    @property
    def best_sound(self) -> int | None:
        """The best number of mel frames of audio per window, if padding is condensed."""
        return best_sound(self._shape.frames // 2) if self._condenses else None

    def place(self, samples: Samples) -> Samples:
        """The samples themselves: the engine computes on the CPU."""
        return samples

    def encode(self, features: Array, sound: Sequence[int] | None = None) -> OpenVinoEncoderOutput:
        """Encode log-mel features [B, T, M], T from 1 to the model's window. Raises `ValueError` for other shapes.

        `sound`: the number of frames of each window that are not padding. Padding is condensed (`padding.condense`),
        except in float32, which is exact. Windows are encoded one by one: a batch would not be faster, but needs
        several times the memory.
        """
        shape = self._shape
        features = np.ascontiguousarray(features, np.float32)
        check_features(features, shape.frames, shape.mel_bins)
        batch, positions = features.shape[0], (features.shape[1] + 1) // 2
        known = sound if sound is not None and self._condenses else [features.shape[1]] * batch
        layouts = [condense(positions, one) for one in known]
        longest = max(map(len, layouts))
        if not self._begun:
            self._begun = True
            if len(layouts[0]) == 1:  # OpenVINO 2026.4: else a first window of one position spoils longer ones
                self.encode(np.zeros((1, min(4, shape.frames), shape.mel_bins), np.float32))
        sizes = (shape.channels, longest), (longest, shape.channels)
        new = np.empty if min(map(len, layouts)) == longest else np.zeros  # masked values must be finite
        cross = tuple(new((batch, shape.heads, *sizes[index % 2]), self._bits) for index in range(2 * shape.layers))
        bias = np.full((batch, longest), -np.inf, np.float32)
        request = take(self._encoders, self._encoder)
        for row, layout in enumerate(layouts):
            bias[row, : len(layout)] = layout.bias
            own = [_positions(each[row : row + 1], index, len(layout)) for index, each in enumerate(cross)]
            found = [each if each.flags.c_contiguous else np.empty(each.shape, self._bits) for each in own]
            _encode(request, features[row : row + 1], layout, found)
            for place, result in zip(own, found, strict=True):
                if place is not result:
                    place[...] = result
        _let_go(request, shape, self._bits)
        for name, empty in (("features", np.zeros((1, 1, shape.mel_bins), np.float32)), *_NOTHING):
            request.set_tensor(name, owned(empty))
        self._encoders.append(request)
        return OpenVinoEncoderOutput(cross, bias)

    def start(self, encoded: OpenVinoEncoderOutput, *, max_length: int) -> OpenVinoState:
        """A new decoder state with one row per window, for up to `max_length` tokens."""
        check_max_length(max_length, self._shape.tokens)
        request = take(self._decoders, self._decoder)
        request.reset_state()
        state = OpenVinoState(request, encoded, max_length)
        state.attach()
        weakref.finalize(state, _give_back, self._decoders, request, self._shape, self._bits).atexit = False
        return state

    def step(self, state: OpenVinoState, tokens: Array) -> NDArray[np.float32]:
        """Feed tokens [N, L] to the state; returns the float32 logits [N, V] after the last of them."""
        self._feed(state, tokens)
        logits: NDArray[np.float32] = state.request.get_tensor("logits").data.copy()
        return logits

    def align(
        self, encoded: OpenVinoEncoderOutput, tokens: Array, heads: Sequence[tuple[int, int]]
    ) -> NDArray[np.float32]:
        """Cross-attention probabilities [B, H, L, P], float32, of (layer, head) pairs over tokens [B, L]."""
        check_heads(heads, (self._shape.layers, self._shape.heads))
        state = self.start(encoded, max_length=max(tokens.shape[1], 1))
        self._feed(state, tokens)
        queries = {layer: state.request.get_tensor(f"query.{layer}").data for layer, _ in heads}
        with one_thread():
            found = [queries[layer][:, head] @ floats(encoded.cross[2 * layer][:, head]) for layer, head in heads]
        scores = np.stack(found, 1) + encoded.bias[:, None, None]
        shares: NDArray[np.float32] = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        return shares

    def _feed(self, state: OpenVinoState, tokens: Array) -> None:
        tokens = np.asarray(tokens, np.int32)
        check_tokens(state, tokens)
        request = state.request
        request.set_tensor("tokens", owned(tokens))
        request.set_tensor("rows", owned(state.order))
        request.infer()
        state.length += tokens.shape[1]
        state.order = np.arange(tokens.shape[0], dtype=np.int32)


def _encode(request: Any, features: NDArray[np.float32], layout: Layout, found: Sequence[NDArray[Any]]) -> None:
    """Encode one window [1, T, M] into `found`, contiguous."""
    for index, tensor in enumerate(found):
        request.set_tensor(f"cross.{index}", shared(tensor))
    inputs: dict[str, NDArray[Any]] = {"features": features, "indices": layout.indices, "bias": layout.bias}
    for name, array in inputs.items():
        request.set_tensor(name, shared(array))
    request.infer()


def _positions(tensor: NDArray[Any], index: int, count: int) -> NDArray[Any]:
    """The first `count` positions of cross-attention keys (even `index`) [B, H, C, P] or values [B, H, P, C]."""
    return tensor[:, :, :count] if index % 2 else tensor[..., :count]


def take(idle: deque[Any], compiled: Any) -> Any:
    """An inference request that is idle, or a new one."""
    try:
        return idle.pop()
    except IndexError:
        return compiled.create_infer_request()


def _give_back(idle: deque[Any], request: Any, shape: ModelShape, bits: type[Any]) -> None:
    _let_go(request, shape, bits)
    request.set_tensor("bias", owned(np.zeros((1, 1), np.float32)))
    idle.append(request)


def _let_go(request: Any, shape: ModelShape, bits: type[Any]) -> None:
    """Give an idle request small tensors, so that it does not refer to a window that may be freed."""
    openvino = import_openvino()
    kind = openvino.Type.bf16 if bits is np.uint16 else openvino.Type.f32
    for index in range(2 * shape.layers):
        size = (1, shape.channels) if index % 2 else (shape.channels, 1)
        request.set_tensor(f"cross.{index}", openvino.Tensor(kind, openvino.Shape([1, shape.heads, *size])))


def owned(array: Any) -> Any:
    """A copy that OpenVINO owns."""
    return import_openvino().Tensor(array, shared_memory=False)


def shared(array: NDArray[Any]) -> Any:
    """The same memory as an OpenVINO tensor, which does not own it: keep `array` alive while it is used."""
    openvino = import_openvino()
    if array.dtype == np.uint16:
        return openvino.Tensor(array, openvino.Shape(array.shape), openvino.Type.bf16)
    return openvino.Tensor(array, shared_memory=True)


def floats(array: NDArray[Any]) -> NDArray[np.float32]:
    """Bits of bfloat16 as float32; float32 unchanged."""
    if array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array
