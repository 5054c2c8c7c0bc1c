"""Encoder, projector and language model as one Transformers model. Nothing heavy is imported until it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from linnet.models.fusion.assembly import build, configure, prompt, skeleton
    from linnet.models.fusion.configuration import FusionConfig
    from linnet.models.fusion.modeling import FusionForConditionalGeneration
    from linnet.models.fusion.processing import FusionProcessor

__all__ = [
    "FusionConfig",
    "FusionForConditionalGeneration",
    "FusionProcessor",
    "build",
    "configure",
    "prompt",
    "skeleton",
]

_HOMES = {
    "FusionConfig": "configuration",
    "FusionForConditionalGeneration": "modeling",
    "FusionProcessor": "processing",
    "build": "assembly",
    "configure": "assembly",
    "prompt": "assembly",
    "skeleton": "assembly",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'linnet.models.fusion' has no attribute {name!r}")
    from importlib import import_module

    from linnet.models.fusion.auto import register

    register()
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
