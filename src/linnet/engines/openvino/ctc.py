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

TOLERANCE = 1e-3  # relative to the largest logit: float32 in another order differs by 1e-5
_EXAMPLE = (1.0, 0.5)  # seconds of the traced windows: all lengths are made dynamic
_OTHERS = ((1.7, 0.6, 1.1), (0.9,))  # seconds of the windows that the result is checked on


@torch.no_grad()
def convert_ctc(speech: SpeechModel, precision: Precision) -> Any:
    """Convert a float32 CTC model to an `openvino.Model` from its processor's tensors to logits [B, T, V].

    The result is compared with the model on windows of other lengths, separately and in a batch. Raises `OptionError`
    for a model that cannot be traced or whose results differ, `OpenVinoMissing`.
    """
    with quiet():
        try:
            model = _traced(speech)
            difference = max(_difference(speech, model, seconds) for seconds in _OTHERS)
        except (RuntimeError, TypeError, ValueError, LookupError, AttributeError, NotImplementedError) as error:
            raise _unfit(speech, first_line(error)) from error
    if not difference <= TOLERANCE:
        raise _unfit(speech, f"its logits would differ by {difference:.1%} of the largest")
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
    """The largest difference of logits, relative to the largest logit."""
    features = _features(speech, seconds)
    wanted = speech.family.encode(speech.model, features)
    found = _run(compile_model(model, "f32", None), features)
    if found.shape != wanted.shape:
        raise ValueError(f"its output is {list(found.shape)} instead of {list(wanted.shape)}")
    return float((found - wanted).abs().max() / wanted.abs().max())


def _run(compiled: Any, features: Mapping[str, Tensor]) -> Tensor:
    found = compiled({name: value.numpy() for name, value in features.items()}, share_outputs=False)
    return torch.from_numpy(found[0])


class _Logits(nn.Module):
    """A model with positional inputs that returns only logits."""

    def __init__(self, model: Any, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: Tensor) -> Tensor:
        logits: Tensor = self.model(**dict(zip(self.names, inputs, strict=True))).logits
        return logits


@dataclass(frozen=True)
class Output:
    """The output of a model: `logits` [B, T, V], float32."""

    logits: Tensor


class OpenVinoCtc:
    """A compiled CTC model with the interface of its Transformers model: features in, logits out.

    Other attributes (the config, the number of output frames) come from `skeleton`, that model without weights.
    """

    def __init__(self, compiled: Any, skeleton: Any) -> None:
        self._compiled, self._skeleton = compiled, skeleton

    def __call__(self, **features: Tensor) -> Output:
        """The logits for the output of the model's processor, on the CPU."""
        return Output(_run(self._compiled, features))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._skeleton, name)
