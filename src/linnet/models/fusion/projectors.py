"""Projectors: the small trained part between a speech encoder and a language model.

The last frames of a clip are padded with zeros, never dropped, and frames after its end are zeroed, so that a clip
yields the same rows alone as in a batch.

Shapes: B clips, T frames, d encoder width, k frames in a row, N rows = ceil(T / k), D width of the language model.
"""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN

from .errors import ModelError

ROWS_PER_SECOND = 12.5  # default: as good as 25 in the ablations of Voxtral, better than 6.25


@dataclass(frozen=True)
class ProjectorOptions:
    """The kind of projector and its sizes; `queries` and `layers` are the Q-Former's, per window of `stack` *
    `queries`.

    `normalize` puts an RMS norm before it.
    """

    kind: str = "mlp"
    stack: int = 4
    hidden: int = 2048
    activation: str = "gelu"
    normalize: bool = True
    queries: int = 4
    layers: int = 2
    heads: int = 8

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a config."""
        return asdict(self)


def projector_options(given: dict[str, Any], *, frames_per_second: float) -> ProjectorOptions:
    """Options from plain values; `stack` defaults to the value closest to 12.5 rows per second.

    Raises `ModelError` for an unknown key or kind (names the nearest) and for invalid sizes.

    >>> projector_options({"kind": "mlp"}, frames_per_second=50.0).stack
    4
    """
    names = [field.name for field in fields(ProjectorOptions)]
    for key in given:
        if key not in names:
            raise ModelError(f"projector: unknown key {key!r}{_near(key, names)}; known are {', '.join(names)}")
    options = ProjectorOptions(**{"stack": max(1, round(frames_per_second / ROWS_PER_SECOND)), **given})
    if options.kind not in PROJECTORS:
        raise ModelError(
            f"unknown projector {options.kind!r}{_near(options.kind, list(PROJECTORS))}; use {', '.join(PROJECTORS)}"
        )
    for name in ("stack", "hidden", "queries", "layers", "heads"):
        if not isinstance(value := getattr(options, name), int) or value < 1:
            raise ModelError(f"projector: {name} must be a whole number of at least 1, got {value!r}")
    if options.activation not in ACT2FN:
        raise ModelError(f"projector: unknown activation {options.activation!r}; use gelu, relu or silu")
    if options.kind == "qformer" and options.hidden % options.heads:
        raise ModelError(f"projector: hidden {options.hidden} is not divisible by {options.heads} heads")
    return options


def _near(word: str, known: list[str]) -> str:
    found = difflib.get_close_matches(str(word), known, n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""


class Projector(nn.Module, ABC):
    """Maps frames [B, T, d] of clips with `lengths` frames to rows [B, N, D]."""

    last: nn.Linear  # the output layer, scaled by `calibrate`

    def __init__(self, width: int, options: ProjectorOptions) -> None:
        super().__init__()
        self.stack = options.stack
        self.norm = nn.RMSNorm(width, eps=1e-6) if options.normalize else nn.Identity()

    def rows(self, frames: int) -> int:
        """The number of rows for `frames`."""
        return -(-frames // self.stack)

    def forward(self, frames: Tensor, lengths: list[int]) -> Tensor:
        """Rows [B, N, D] for the longest clip; the first `rows(length)` are those of a clip."""
        whole = max(self.rows(length) for length in lengths) * self.stack
        frames = nn.functional.pad(frames, (0, 0, 0, whole - frames.shape[1]))
        inside = _inside(frames, lengths)
        return self.project(self.norm(frames * inside), inside)

    @abstractmethod
    def project(self, frames: Tensor, inside: Tensor) -> Tensor:
        """Rows [B, N, D] of frames [B, k N, d]; `inside` [B, k N, 1] is 1 where a clip has frames."""


class LinearProjector(Projector):
    """y = W [x_1; ...; x_k]."""

    def __init__(self, width: int, out: int, options: ProjectorOptions) -> None:
        super().__init__(width, options)
        self.last = nn.Linear(width * self.stack, out)

    def project(self, frames: Tensor, inside: Tensor) -> Tensor:
        """One matrix."""
        del inside
        rows: Tensor = self.last(_stacked(frames, self.stack))
        return rows


class MlpProjector(Projector):
    """y = W2 act(W1 [x_1; ...; x_k]): k = 5, hidden = 2048, ReLU and no norm is the published recipe of Tiny Audio."""

    def __init__(self, width: int, out: int, options: ProjectorOptions) -> None:
        super().__init__(width, options)
        self.first = nn.Linear(width * self.stack, options.hidden)
        self.act = ACT2FN[options.activation]
        self.last = nn.Linear(options.hidden, out)

    def project(self, frames: Tensor, inside: Tensor) -> Tensor:
        """Two matrices."""
        del inside
        rows: Tensor = self.last(self.act(self.first(_stacked(frames, self.stack))))
        return rows


class SwigluProjector(Projector):
    """y = W3 (SiLU(W1 x) * W2 x) (Shazeer 2020, https://arxiv.org/abs/2002.05202, section 2)."""

    def __init__(self, width: int, out: int, options: ProjectorOptions) -> None:
        super().__init__(width, options)
        self.gate = nn.Linear(width * self.stack, options.hidden, bias=False)
        self.first = nn.Linear(width * self.stack, options.hidden, bias=False)
        self.last = nn.Linear(options.hidden, out, bias=False)

    def project(self, frames: Tensor, inside: Tensor) -> Tensor:
        """Gate and value."""
        del inside
        stacked = _stacked(frames, self.stack)
        rows: Tensor = self.last(nn.functional.silu(self.gate(stacked)) * self.first(stacked))
        return rows


class ConvolutionProjector(Projector):
    """A convolution over three frames, one of k frames with stride k, then a matrix."""

    def __init__(self, width: int, out: int, options: ProjectorOptions) -> None:
        super().__init__(width, options)
        self.mix = nn.Conv1d(width, options.hidden, 3, padding=1)
        self.act = ACT2FN[options.activation]
        self.fold = nn.Conv1d(options.hidden, options.hidden, self.stack, stride=self.stack)
        self.last = nn.Linear(options.hidden, out)

    def project(self, frames: Tensor, inside: Tensor) -> Tensor:
        """Two convolutions; the first sees zeros after a clip's end, as for a clip alone."""
        del inside
        mixed = self.act(self.mix(frames.transpose(1, 2)))
        rows: Tensor = self.last(self.act(self.fold(mixed)).transpose(1, 2))
        return rows


class QFormerProjector(Projector):
    """Learned queries attend to windows of k * queries frames, each window separately (Granite Speech, 2505.08699)."""

    def __init__(self, width: int, out: int, options: ProjectorOptions) -> None:
        super().__init__(width, options)
        self.queries = nn.Parameter(torch.randn(options.queries, options.hidden) * 0.02)
        self.enter = nn.Linear(width, options.hidden)
        layer = nn.TransformerDecoderLayer(
            options.hidden, options.heads, 4 * options.hidden, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.attend = nn.TransformerDecoder(layer, options.layers, nn.LayerNorm(options.hidden))
        self.last = nn.Linear(options.hidden, out)

    def rows(self, frames: int) -> int:
        """All queries of each window."""
        count = len(self.queries)
        return -(-frames // (self.stack * count)) * count

    def project(self, frames: Tensor, inside: Tensor) -> Tensor:
        """[B, windows * queries, D]; windows without frames attend to zeros and are ignored."""
        batch, count = len(frames), len(self.queries)
        windows = self.enter(frames).reshape(-1, self.stack * count, self.queries.shape[1])
        outside = inside.reshape(len(windows), -1) == 0
        outside &= ~outside.all(1, keepdim=True)
        queries = self.queries.expand(len(windows), -1, -1)
        made = self.attend(queries, windows, memory_key_padding_mask=outside)
        rows: Tensor = self.last(made.reshape(batch, -1, made.shape[-1]))
        return rows


PROJECTORS: dict[str, Any] = {
    "linear": LinearProjector,
    "mlp": MlpProjector,
    "swiglu": SwigluProjector,
    "convolution": ConvolutionProjector,
    "qformer": QFormerProjector,
}


def make_projector(width: int, out: int, options: ProjectorOptions) -> Projector:
    """A new projector from an encoder of `width` to a language model of width `out`."""
    made: Projector = PROJECTORS[options.kind](width, out, options)
    return made


@torch.no_grad()
def calibrate(projector: Projector, width: int, loudness: float, *, seed: int = 0) -> None:
    """Scale the output layer so that frames of RMS 1 yield rows of RMS `loudness`, that of text embeddings.

    Otherwise rows may be ten times as large as text embeddings at first, and training is unstable.
    """
    if projector.last.bias is not None:
        projector.last.bias.zero_()
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randn(1, 64 * projector.stack, width, generator=generator).to(projector.last.weight)
    rows = projector(frames, [frames.shape[1]])
    projector.last.weight.mul_(loudness / rows.square().mean().sqrt())


def _stacked(frames: Tensor, stack: int) -> Tensor:
    """[B, k N, d] to [B, N, k d]."""
    return frames.reshape(len(frames), -1, stack * frames.shape[-1])


def _inside(frames: Tensor, lengths: list[int]) -> Tensor:
    """1 where a clip has frames, else 0: [B, T, 1]."""
    counts = torch.tensor(lengths, device=frames.device)
    return (torch.arange(frames.shape[1], device=frames.device) < counts[:, None]).unsqueeze(-1).to(frames.dtype)
