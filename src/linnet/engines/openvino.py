"""The OpenVINO engine: Whisper-family models on a CPU, at two to four times the speed of PyTorch.

Shapes: B windows, T mel frames, M mel bands, P encoder positions, N hypothesis rows, L tokens, V vocabulary,
H heads, C channels of a head.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from linnet.engines.checks import check_features, check_heads, check_kept, check_max_length, check_spread, check_tokens
from linnet.engines.openvino_cache import Converted
from linnet.engines.openvino_export import Shape
from linnet.engines.openvino_runtime import compile_model, encoder_compute, import_openvino
from linnet.engines.padding import Layout, best_sound, condense

_NOTHING = ("places", np.zeros(1, np.int64)), ("bias", np.zeros(1, np.float32))


@dataclass(frozen=True)
class OpenVinoEncoded:
    """Of B windows, for each decoder layer, the cross-attention keys [B, H, C, P] and values [B, H, P, C] in turn.

    They stay in the number format that the decoder computes in: turning them into it at each step would cost more than
    the rest of the step. `bias` [B, P] is added to cross-attention scores: of condensed padding what each position
    counts, and minus infinity where a window has fewer positions than others of its batch.
    """

    cross: tuple[Tensor, ...]
    bias: Tensor

    @property
    def batch(self) -> int:
        """How many windows are held."""
        return self.cross[0].shape[0]

    def select(self, rows: Sequence[int]) -> Self:
        """The same results for these windows only, in this order, repeats allowed."""
        if list(rows) == list(range(self.batch)):
            return self
        if list(rows) == list(range(len(rows))):  # the first ones lie together: no copy
            return type(self)(tuple(each[: len(rows)] for each in self.cross), self.bias[: len(rows)])
        index = torch.as_tensor(list(rows), dtype=torch.long)
        return type(self)(tuple(each.index_select(0, index) for each in self.cross), self.bias.index_select(0, index))


class OpenVinoState:
    """The tokens so far of N rows; their keys and values are the variables of an inference request of its own."""

    def __init__(self, request: Any, encoded: OpenVinoEncoded, max_length: int) -> None:
        self.request = request
        self.encoded = encoded  # whose memory the request reads
        self.max_length = max_length
        self.length = 0
        self.order = np.arange(encoded.batch, dtype=np.int32)  # the row that each row continues at the next step

    @property
    def rows(self) -> int:
        """How many rows are held."""
        return len(self.order)

    def reorder(self, rows: Tensor) -> None:
        """Make row i continue what row `rows[i]` held; each window may thereby get more or fewer rows, all the same."""
        check_spread(rows, self.encoded.batch)
        if self.length:
            self.order = self.order[rows.numpy()]
        else:  # nothing is held that could be taken over
            self.order = np.arange(len(rows), dtype=np.int32)

    def keep(self, rows: Sequence[int]) -> bool:
        """Go on with these windows only, each of one row. Raises `ValueError` for others."""
        check_kept(rows, self.rows, self.encoded.batch)
        self.encoded = self.encoded.select(rows)
        self.order = self.order[list(rows)]
        self.attach()
        return True

    def attach(self) -> None:
        """Let the request read the encoder results where they are."""
        for index, tensor in enumerate(self.encoded.cross):
            self.request.set_tensor(f"cross.{index}", _shared(tensor))
        self.request.set_tensor("bias", _shared(self.encoded.bias))


class OpenVinoEngine:
    """Runs a converted Whisper-family model; an `Engine`.

    The weights are held once, by the two compiled models. Each decode has an inference request with states of its own,
    so one engine serves many decodes, also of several threads.
    """

    def __init__(self, converted: Converted, *, label: str, threads: int | None = None) -> None:
        """`label` names the compute type in reports; `threads` are all cores by default."""
        compute = converted.numbers.compute
        self._shape = converted.shape
        self._dtype, self._label = converted.numbers.dtype, label
        self._condenses = converted.numbers.weights != "f32"  # float32 stays exact
        self._encoder = compile_model(converted.encoder, encoder_compute(compute), threads)
        self._decoder = compile_model(converted.decoder, compute, threads)
        self._encoders: deque[Any] = deque()
        self._decoders: deque[Any] = deque()
        # OpenVINO 2026.4: an encoder whose first window has one position reads every longer one wrongly from then on
        self.encode(torch.zeros(1, min(4, self._shape.frames), self._shape.bands))

    @property
    def name(self) -> str:
        """For reports: `openvino cpu int8`."""
        return f"openvino cpu {self._label}"

    own_threads = True

    @property
    def best_sound(self) -> int | None:
        """Mel frames of sound that a window best holds, where padding is condensed."""
        return best_sound(self._shape.frames // 2) if self._condenses else None

    def encode(self, features: Tensor, sound: Sequence[int] | None = None) -> OpenVinoEncoded:
        """Encode log-mel features [B, T, M], T from 1 to the model's window. Raises `ValueError` for other shapes.

        `sound`: how many of each window's frames are not padding. Padding is condensed (`padding.condense`) but where
        everything is computed in float32, which stays exact. One window after the other: together they would not be
        faster, only hold several times the memory.
        """
        shape = self._shape
        check_features(features, shape.frames, shape.bands)
        batch, positions = features.shape[0], (features.shape[1] + 1) // 2
        known = sound if sound is not None and self._condenses else [features.shape[1]] * batch
        layouts = [condense(positions, one) for one in known]
        longest = max(map(len, layouts))
        sizes = (shape.channels, longest), (longest, shape.channels)
        new = torch.empty if min(map(len, layouts)) == longest else torch.zeros  # what is masked must be finite
        cross = tuple(
            new(batch, shape.heads, *sizes[index % 2], dtype=self._dtype) for index in range(2 * shape.layers)
        )
        bias = torch.full((batch, longest), float("-inf"))
        request = _take(self._encoders, self._encoder)
        features = features.float().contiguous()
        for row, layout in enumerate(layouts):
            bias[row, : len(layout)] = layout.bias
            own = [_positions(each[row : row + 1], index, len(layout)) for index, each in enumerate(cross)]
            found = [each if each.is_contiguous() else torch.empty(each.shape, dtype=self._dtype) for each in own]
            _encode(request, features[row : row + 1], layout, found)
            for place, result in zip(own, found, strict=True):
                if place is not result:
                    place.copy_(result)
        _let_go(request, shape, self._dtype)
        for name, empty in (("features", np.zeros((1, 1, shape.bands), np.float32)), *_NOTHING):
            request.set_tensor(name, _owned(empty))
        self._encoders.append(request)
        return OpenVinoEncoded(cross, bias)

    def start(self, encoded: OpenVinoEncoded, *, max_length: int) -> OpenVinoState:
        """A decoder state with one row for each window, for up to `max_length` tokens."""
        check_max_length(max_length, self._shape.tokens)
        request = _take(self._decoders, self._decoder)
        request.reset_state()
        state = OpenVinoState(request, encoded, max_length)
        state.attach()
        weakref.finalize(state, _give_back, self._decoders, request, self._shape, self._dtype).atexit = False
        return state

    def step(self, state: OpenVinoState, tokens: Tensor) -> Tensor:
        """Feed tokens [N, L] to the state; returns the float32 logits [N, V] after the last of them."""
        self._feed(state, tokens)
        return torch.from_numpy(state.request.get_tensor("logits").data.copy())

    def align(self, encoded: OpenVinoEncoded, tokens: Tensor, heads: Sequence[tuple[int, int]]) -> Tensor:
        """Cross-attention probabilities [B, H, L, P], float32, of these (layer, head) pairs over tokens [B, L]."""
        check_heads(heads, (self._shape.layers, self._shape.heads))
        state = self.start(encoded, max_length=max(tokens.shape[1], 1))
        self._feed(state, tokens)
        layers = {layer for layer, _ in heads}
        queries = {layer: torch.from_numpy(state.request.get_tensor(f"query.{layer}").data) for layer in layers}
        found = [queries[layer][:, head] @ encoded.cross[2 * layer][:, head].float() for layer, head in heads]
        return (torch.stack(found, 1) + encoded.bias[:, None, None]).softmax(-1)

    def _feed(self, state: OpenVinoState, tokens: Tensor) -> None:
        check_tokens(state, tokens)
        rows, length = tokens.shape
        request = state.request
        request.set_tensor("tokens", _owned(tokens.numpy().astype(np.int32)))
        request.set_tensor("rows", _owned(state.order))
        request.infer()
        state.length += length
        state.order = np.arange(rows, dtype=np.int32)


def _encode(request: Any, features: Tensor, layout: Layout, found: Sequence[Tensor]) -> None:
    """Encode one window [1, T, M] into `found`, contiguous."""
    for index, tensor in enumerate(found):
        request.set_tensor(f"cross.{index}", _shared(tensor))
    inputs = {"features": features, "places": layout.places, "bias": layout.bias}
    for name, tensor in inputs.items():
        request.set_tensor(name, _shared(tensor))
    request.infer()


def _positions(tensor: Tensor, index: int, count: int) -> Tensor:
    """The first `count` positions of cross-attention keys (even `index`) [B, H, C, P] or values [B, H, P, C]."""
    return tensor[:, :, :count] if index % 2 else tensor[..., :count]


def _take(idle: deque[Any], compiled: Any) -> Any:
    try:
        return idle.pop()
    except IndexError:
        return compiled.create_infer_request()


def _give_back(idle: deque[Any], request: Any, shape: Shape, dtype: torch.dtype) -> None:
    _let_go(request, shape, dtype)
    request.set_tensor("bias", _owned(np.zeros((1, 1), np.float32)))
    idle.append(request)


def _let_go(request: Any, shape: Shape, dtype: torch.dtype) -> None:
    """Give an idle request small tensors, so that it points at no window that may be gone."""
    openvino = import_openvino()
    kind = openvino.Type.bf16 if dtype == torch.bfloat16 else openvino.Type.f32
    for index in range(2 * shape.layers):
        size = (1, shape.channels) if index % 2 else (shape.channels, 1)
        request.set_tensor(f"cross.{index}", openvino.Tensor(kind, openvino.Shape([1, shape.heads, *size])))


def _owned(array: Any) -> Any:
    """A copy that OpenVINO owns."""
    return import_openvino().Tensor(array, shared_memory=False)


def _shared(tensor: Tensor) -> Any:
    """The same memory as an OpenVINO tensor, which does not keep it: `tensor` must live as long as it is used.

    NumPy knows no bfloat16, so its bits go as integers.
    """
    openvino = import_openvino()
    if tensor.dtype == torch.bfloat16:
        return openvino.Tensor(tensor.view(torch.int16).numpy(), openvino.Shape(tensor.shape), openvino.Type.bf16)
    return openvino.Tensor(tensor.numpy(), shared_memory=True)
