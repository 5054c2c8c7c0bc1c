"""What rounding asks of recordings: how the inputs of each matrix vary, and how much the loss feels its outputs.

No texts are needed: the labels are the model's own, and the gradients are those of labels drawn from its predictions,
so that their squares are the Fisher information and not the errors of one transcript.
"""

# T positions, P encoder frames, D width, V vocabulary, O outputs of a layer

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

HEAD = "model.decoder.embed_tokens.weight"  # also the vocabulary's projection
_CROSS = ("encoder_attn.k_proj", "encoder_attn.v_proj")


@dataclass(frozen=True)
class Window:
    """One recording: log-mel `features` [1, mels, 2 P], `tokens` [T] from start to end, `frames` of P that it fills."""

    features: Tensor
    tokens: Tensor
    frames: int


@dataclass
class Moments:
    """Sums over the inputs x and output gradients g of one layer: of x x' [D, D], of g^2 [O], and of rows."""

    inputs: Tensor
    outputs: Tensor
    rows: int = 0


@dataclass
class Statistics:
    """Of all layers by the names of their weights, and of the token table in its two uses.

    `hidden` [D, D]: sum of h h' at the vocabulary's projection; `embedding` [D, D]: sum of g g' at the token table's
    outputs; `heard` [V]: sum of p (1 - p), the Fisher information of each logit; `used` [V]: how often each token was
    an input.
    """

    layers: dict[str, Moments] = field(default_factory=dict)
    hidden: Tensor = field(default_factory=lambda: torch.zeros(()))
    embedding: Tensor = field(default_factory=lambda: torch.zeros(()))
    heard: Tensor = field(default_factory=lambda: torch.zeros(()))
    used: Tensor = field(default_factory=lambda: torch.zeros(()))
    windows: int = 0
    tokens: int = 0


def gather(model: Any, windows: Iterable[Window], *, seed: int = 0) -> Statistics:
    """The statistics of a `WhisperForConditionalGeneration` in float32 on these windows."""
    statistics, generator, now = Statistics(), torch.Generator().manual_seed(seed), [0]
    hooks = []
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv1d) and name != "proj_out":
            moments = statistics.layers[f"{name}.weight"] = Moments(torch.zeros(()), torch.zeros(()))
            from_encoder = name.startswith("model.encoder") or name.endswith(_CROSS)
            hooks.append(layer.register_forward_hook(_sees(moments, now if from_encoder else None)))
            hooks.append(layer.register_full_backward_hook(_feels(moments)))
    try:
        for window in windows:
            now[0] = window.frames
            _add(statistics, model, window, generator)
    finally:
        for hook in hooks:
            hook.remove()
    return statistics


def rows_of(layer: nn.Module, x: Tensor) -> Tensor:
    """The inputs of a layer as rows [T, D] of a matrix product; of a convolution, what each of its steps sees."""
    if isinstance(layer, nn.Conv1d):
        size, stride, padding = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
        x = functional.unfold(x[:, :, None], (1, size), padding=(0, padding), stride=(1, stride)).transpose(1, 2)
    return x.reshape(-1, x.shape[-1])


def _sees(moments: Moments, frames: list[int] | None) -> Callable[[nn.Module, tuple[Tensor, ...], Any], None]:
    def hook(layer: nn.Module, inputs: tuple[Tensor, ...], _: Any) -> None:
        x = rows_of(layer, inputs[0].detach())
        if frames is not None:  # what lies behind the recording is silence; the first convolution has twice the steps
            x = x[: frames[0] * (2 if isinstance(layer, nn.Conv1d) and layer.stride[0] == 1 else 1)]
        moments.inputs = moments.inputs + (x.T @ x).double()
        moments.rows += len(x)

    return hook


def _feels(moments: Moments) -> Callable[[nn.Module, Any, tuple[Tensor, ...]], None]:
    def hook(layer: nn.Module, _: Any, outputs: tuple[Tensor, ...]) -> None:
        g = outputs[0].transpose(1, 2) if isinstance(layer, nn.Conv1d) else outputs[0]
        moments.outputs = moments.outputs + g.reshape(-1, g.shape[-1]).double().square().sum(0)

    return hook


def _add(statistics: Statistics, model: Any, window: Window, generator: torch.Generator) -> None:
    tokens, table = window.tokens[:-1], model.model.decoder.embed_tokens.weight
    embedded = table[tokens][None].detach().requires_grad_(True)
    features = window.features.detach().requires_grad_(True)  # without, the hooks of the first layer warn
    encoded = model.model.encoder(features).last_hidden_state
    hidden = model.model.decoder(inputs_embeds=embedded, encoder_hidden_states=encoded).last_hidden_state
    logits = (hidden @ table.detach().T)[0]
    shares = logits.detach().softmax(-1)
    drawn = torch.multinomial(shares, 1, generator=generator)[:, 0]
    model.zero_grad(set_to_none=True)
    functional.cross_entropy(logits, drawn, reduction="sum").backward()  # type: ignore[no-untyped-call]
    shares, rows = shares.double(), hidden[0].detach().double()
    assert embedded.grad is not None
    gradients = embedded.grad[0].double()
    statistics.heard = statistics.heard + (shares * (1 - shares)).sum(0)
    statistics.used = statistics.used + torch.bincount(tokens, minlength=len(table)).double()
    statistics.hidden = statistics.hidden + rows.T @ rows
    statistics.embedding = statistics.embedding + gradients.T @ gradients
    statistics.windows += 1
    statistics.tokens += len(tokens)
