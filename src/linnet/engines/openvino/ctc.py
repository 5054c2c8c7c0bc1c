"""CTC models of Transformers on OpenVINO: one network from features to logits.

Shapes: B windows, T output frames, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from linnet.audio.types import SAMPLE_RATE
from linnet.engines.openvino.export import hold_weights, name_ports, trace
from linnet.engines.openvino.formats import Precision
from linnet.engines.openvino.runtime import compile_model
from linnet.errors import OptionError
from linnet.models.loading import first_line, quiet
from linnet.models.speech import SpeechModel

TOLERANCE = 1e-3  # of the greatest logit: float32 in another order is off by 1e-5
_EXAMPLE = (1.0, 0.5)  # seconds of the windows that are traced: all lengths are made dynamic
_OTHERS = ((1.7, 0.6, 1.1), (0.9,))  # of those that the result is checked on


@torch.no_grad()
def convert_ctc(speech: SpeechModel, precision: Precision) -> Any:
    """Convert a float32 CTC model on the CPU, as an `openvino.Model` from its processor's tensors to logits [B, T, V].

    What was traced is compared with the model on windows of other lengths, alone and together. Raises `OptionError`
    for a model that cannot be traced or does not agree, `OpenVinoMissing`.
    """
    with quiet():
        try:
            model = _traced(speech)
            difference = max(_difference(speech, model, seconds) for seconds in _OTHERS)
        except (RuntimeError, TypeError, ValueError, LookupError, AttributeError, NotImplementedError) as error:
            raise _unfit(speech, first_line(error)) from error
    if not difference <= TOLERANCE:
        raise _unfit(speech, f"its logits would be off by {difference:.1%} of the greatest")
    return hold_weights(model, precision)


def _unfit(speech: SpeechModel, why: str) -> OptionError:
    return OptionError(f"model {speech.name} cannot be converted for OpenVINO ({why}): use --engine torch")


def _traced(speech: SpeechModel) -> Any:
    example = _features(speech, _EXAMPLE)
    model = trace(_Logits(speech.model, list(example)), tuple(example.values()))
    name_ports(model.inputs, list(example))
    name_ports(model.outputs, ["logits"])
    model.reshape({name: [-1, -1, *value.shape[2:]] for name, value in example.items()})
    return model


def _features(speech: SpeechModel, seconds: Sequence[float]) -> dict[str, Tensor]:
    noise = 0.1 * np.random.default_rng(0).standard_normal(round(max(seconds) * SAMPLE_RATE)).astype(np.float32)
    return speech.family.features(speech.processor, [noise[: round(each * SAMPLE_RATE)] for each in seconds])


def _difference(speech: SpeechModel, model: Any, seconds: Sequence[float]) -> float:
    """The greatest difference of logits, as a share of the greatest logit."""
    features = _features(speech, seconds)
    wanted = speech.family.encode(speech.model, features)
    found = _run(compile_model(model, "f32", None), features)
    if found.shape != wanted.shape:
        raise ValueError(f"its output is {list(found.shape)} where it should be {list(wanted.shape)}")
    return float((found - wanted).abs().max() / wanted.abs().max())


def _run(compiled: Any, features: Mapping[str, Tensor]) -> Tensor:
    found = compiled({name: value.numpy() for name, value in features.items()}, share_outputs=False)
    return torch.from_numpy(found[0])


class _Logits(nn.Module):
    """A model that takes its inputs by place and gives nothing but logits."""

    def __init__(self, model: Any, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: Tensor) -> Tensor:
        logits: Tensor = self.model(**dict(zip(self.names, inputs, strict=True))).logits
        return logits


@dataclass(frozen=True)
class Output:
    """What a model gives: `logits` [B, T, V], float32."""

    logits: Tensor


class OpenVinoCtc:
    """A compiled CTC model that is called as the one of Transformers that it was made of: features in, logits out.

    What else is asked of it (its config, how many frames it makes) `skeleton` answers, that model without its weights.
    """

    def __init__(self, compiled: Any, skeleton: Any) -> None:
        self._compiled, self._skeleton = compiled, skeleton

    def __call__(self, **features: Tensor) -> Output:
        """The logits of what the model's processor made, on the CPU."""
        return Output(_run(self._compiled, features))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._skeleton, name)
