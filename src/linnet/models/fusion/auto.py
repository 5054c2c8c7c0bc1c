"""Register fusion models with the Auto classes of Transformers, immediately or on first use.

On first use, config and processor are registered when the module of their Auto class is imported
(`linnet.models.when_imported`), the model itself when the first config of its type is created.
"""

from __future__ import annotations

from collections.abc import Callable

from linnet.models.when_imported import when_imported


def register() -> None:
    """Register the type `linnet_fusion` with `AutoConfig`, `AutoModelForSpeechSeq2Seq` and `AutoProcessor`."""
    for step in (_register_config, _register_model, _register_processor):
        step()


def register_when_used() -> None:
    """Register each of them when it is imported, or now if it already is."""
    for module, step in _STEPS.items():
        when_imported(module, step)


def _register_config() -> None:
    from transformers import AutoConfig

    from linnet.models.fusion.configuration import FusionConfig

    AutoConfig.register(FusionConfig.model_type, FusionConfig, exist_ok=True)
    FusionConfig.register_for_auto_class()
    FusionConfig.when_made = _register_model


def _register_model() -> None:
    from transformers import AutoModelForSpeechSeq2Seq

    from linnet.models.fusion.configuration import FusionConfig
    from linnet.models.fusion.modeling import FusionForConditionalGeneration

    FusionConfig.when_made = None
    AutoModelForSpeechSeq2Seq.register(FusionConfig, FusionForConditionalGeneration, exist_ok=True)
    FusionForConditionalGeneration.register_for_auto_class("AutoModelForSpeechSeq2Seq")


def _register_processor() -> None:
    from transformers import AutoProcessor

    from linnet.models.fusion.configuration import FusionConfig
    from linnet.models.fusion.processing import FusionProcessor

    AutoProcessor.register(FusionConfig, FusionProcessor, exist_ok=True)
    FusionProcessor.register_for_auto_class("AutoProcessor")


_STEPS: dict[str, Callable[[], None]] = {
    "transformers.models.auto.configuration_auto": _register_config,
    "transformers.models.auto.processing_auto": _register_processor,
}
