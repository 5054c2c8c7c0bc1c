"""One decoder step on fixed memory, which a GPU replays as one CUDA graph instead of some hundred launches.

Shapes: B windows, N hypothesis rows, V vocabulary.
"""

from __future__ import annotations

import logging
import threading
import weakref
from dataclasses import dataclass

import torch
from torch import Tensor

from linnet.engines.checks import check_tokens
from linnet.engines.torch.decoder import TorchDecoder, TorchState

log = logging.getLogger(__name__)
ROOM = 64  # the capacity of a step is a multiple of this, so that decodes of similar length share one
KEPT = 4  # idle steps kept for later decodes


@dataclass(frozen=True)
class StepShape:
    """What two decodes must have in common to reuse the same memory."""

    rows: int
    windows: int
    room: int
    positions: int


class StaticStep:
    """Memory for a decode of one shape, and the step over it: a CUDA graph on a GPU, a plain call elsewhere."""

    def __init__(self, decoder: TorchDecoder, shape: StepShape, like: TorchState) -> None:
        self.shape = shape
        self._decoder = decoder
        layers, _, _, heads, _, channels = like.cache.shape
        cache = like.cache
        # zeros: masked values are still multiplied by 0 and must not be NaN
        self.cache = cache.new_zeros(layers, 2, shape.rows, heads, shape.room, channels)
        self.cross = tuple((torch.empty_like(key), torch.empty_like(value)) for key, value in like.encoded.cross)
        self.tokens = torch.zeros(shape.rows, 1, dtype=torch.long, device=cache.device)
        self.place = torch.zeros(1, dtype=torch.long, device=cache.device)
        self._logits: Tensor | None = None
        self._graph: torch.cuda.CUDAGraph | None = None

    def take(self, state: TorchState) -> None:
        """Copy the content of `state` here and let it continue in this memory."""
        for (key, value), (new_key, new_value) in zip(self.cross, state.encoded.cross, strict=True):
            key.copy_(new_key)
            value.copy_(new_value)
        self.cache[..., : state.length, :] = state.cache[..., : state.length, :]
        state.cache = self.cache
        if self._graph is None and self.cache.is_cuda:
            self.place.fill_(state.length)
            self._capture()

    def __call__(self, length: int, tokens: Tensor) -> Tensor:
        """Feed tokens [N, 1] after `length` others; returns logits [N, V] that the next call does not overwrite."""
        self.tokens.copy_(tokens)
        self.place.fill_(length)
        if self._graph is None:
            return self._run()
        self._graph.replay()
        assert self._logits is not None
        return self._logits.clone()

    def _run(self) -> Tensor:
        return self._decoder.static_step(self.tokens, self.place, self.cache, self.cross)

    def _capture(self) -> None:
        """Record the step. The warm-up runs write only where the first real step writes again."""
        stream = torch.cuda.Stream(self.cache.device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self.cache.device))
        with torch.cuda.stream(stream):
            for _ in range(2):
                self._run()
        torch.cuda.current_stream(self.cache.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._logits = self._run()
        self._graph = graph


class StaticSteps:
    """The static steps of one engine: each serves one decode at a time and is then reused for its shape."""

    def __init__(self, decoder: TorchDecoder) -> None:
        self._decoder = decoder
        self.idle: list[StaticStep] = []
        self._lock = threading.Lock()
        self._usable = True

    def step(self, state: TorchState, tokens: Tensor) -> Tensor | None:
        """The logits [N, V] after tokens [N, 1]; None if the device cannot record the step."""
        if not self._usable:
            return None
        check_tokens(state, tokens)
        if state.static is None:
            try:
                self._enter(state)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                self._usable = False
                log.warning("CUDA graphs are not available, decoding continues without them: %s", error)
                return None
        assert state.static is not None
        logits: Tensor = state.static(state.length, tokens)
        state.length += 1
        return logits

    def _enter(self, state: TorchState) -> None:
        room = -(-state.max_length // ROOM) * ROOM
        shape = StepShape(state.rows, state.encoded.batch, room, state.encoded.hidden.shape[1])
        with self._lock:
            found = next((step for step in self.idle if step.shape == shape), None)
            if found is not None:
                self.idle.remove(found)
        step = found or StaticStep(self._decoder, shape, state)
        step.take(state)
        state.static = step
        state.leave = weakref.finalize(state, self._give_back, step)
        state.leave.atexit = False

    def _give_back(self, step: StaticStep) -> None:
        with self._lock:
            self.idle.append(step)
            del self.idle[:-KEPT]
