"""The torch engine: Whisper-family models on any device of PyTorch.

Shapes: B windows, T mel frames, M mel bins, P encoder frames, N hypothesis rows, L tokens, V vocabulary,
H chosen heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from linnet.arrays import Array
from linnet.audio.types import Samples
from linnet.engines.checks import check_features, check_max_length
from linnet.engines.torch.decoder import TorchDecoder, TorchEncoderOutput, TorchState
from linnet.engines.torch.encoder import TorchEncoder
from linnet.engines.torch.fastest import FastestAttention
from linnet.engines.torch.static import StaticSteps
from linnet.models.whisper import WhisperModel


class TorchEngine:
    """Runs a loaded Whisper-family model with its own forward pass; an `Engine`.

    The module's weights are used in place, in the model's dtype and on its device. In addition it holds a fused copy of
    the query, key and value weights and, on a CPU from the first step with several rows on, a packed copy of the
    decoder's. The state of a decode is separate, so one engine serves many decodes.
    """

    def __init__(self, model: WhisperModel, *, static: bool | None = None, reduce: bool | None = None) -> None:
        """`static`: steps on fixed memory, each as one CUDA graph; by default on a GPU.

        `reduce`: the encoder's attention in the dimension of its ranks where this needs fewer multiply-adds. By default
        never on a CPU, and on a GPU in the layers where it is measured to be faster.
        """
        parameter = next(model.module.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype
        self._frames = model.window_samples // 160
        self._bands = model.n_mels
        self._packed = False
        with torch.no_grad():
            wanted = bool(reduce) if reduce is not None or self.device.type != "cuda" else self._fastest()
            self._encoder = TorchEncoder(model.module.model.encoder, reduce=wanted)
            self._decoder = TorchDecoder(model.module.model.decoder, model.module.proj_out)
        static = self.device.type == "cuda" if static is None else static
        self.static = StaticSteps(self._decoder) if static else None

    def _fastest(self) -> FastestAttention:
        from linnet.engines.torch import fused_attention  # imports Triton

        fused = fused_attention.attend if fused_attention.available() else None
        return FastestAttention(self._frames // 2, fused=fused)

    @property
    def name(self) -> str:
        """For reports: `torch cpu float32`."""
        return f"torch {self.device} {str(self.dtype).removeprefix('torch.')}"

    best_sound = None

    def place(self, samples: Samples) -> Array:
        """The samples themselves on a CPU, else as a tensor on the device."""
        return samples if self.device.type == "cpu" else torch.from_numpy(samples).to(self.device)

    @torch.no_grad()
    def encode(self, features: Array, sound: Sequence[int] | None = None) -> TorchEncoderOutput:  # noqa: ARG002
        """Encode log-mel features [B, T, M], T from 1 to the model's window. Raises `ValueError` for other shapes.

        Padding is encoded exactly, like audio; `sound` is ignored.
        """
        check_features(features, self._frames, self._bands)
        hidden = self._encoder(torch.as_tensor(features, device=self.device))
        return TorchEncoderOutput(hidden, self._decoder.cross(hidden))

    def start(self, encoded: TorchEncoderOutput, *, max_length: int) -> TorchState:
        """A new decoder state with one row per window, for up to `max_length` tokens."""
        check_max_length(max_length, self._decoder.positions.shape[0])
        return TorchState(encoded, max_length)

    @torch.no_grad()
    def step(self, state: TorchState, tokens: Array) -> Tensor:
        """Feed tokens [N, L] to the state; returns the float32 logits [N, V] after the last of them."""
        self._pack_for(state.rows)
        tokens = torch.as_tensor(tokens).to(self.device, non_blocking=True)
        if self.static is not None and tokens.shape == (state.rows, 1):
            logits = self.static.step(state, tokens)
            if logits is not None:
                return logits
        return self._decoder.step(state, tokens)

    @torch.no_grad()
    def align(self, encoded: TorchEncoderOutput, tokens: Array, heads: Sequence[tuple[int, int]]) -> Tensor:
        """Cross-attention probabilities [B, H, L, P], float32, of (layer, head) pairs over tokens [B, L]."""
        self._pack_for(encoded.batch)
        state = self.start(encoded, max_length=max(tokens.shape[1], 1))
        return self._decoder.align(state, torch.as_tensor(tokens).to(self.device), heads)

    def _pack_for(self, rows: int) -> None:
        if rows > 1 and not self._packed:
            self._decoder.pack()
            self._packed = True
