"""How the Auto classes of Transformers learn of fusion models: at once, or in the moment in which they are first used.

`import linnet` must stay instant and load neither torch nor transformers, and yet `AutoModelForSpeechSeq2Seq` should
know Linnet's models after it. So `register_when_used` leaves a note with Python's import system: when a module of the
Auto classes has been loaded, ours is registered with it; the model itself once the first config of its type is made.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def register() -> None:
    """Make `AutoConfig`, `AutoModelForSpeechSeq2Seq` and `AutoProcessor` know the type `linnet_fusion`."""
    for step in (_register_config, _register_model, _register_processor):
        step()


def register_when_used() -> None:
    """The same for each of them once it is imported, now where it already is. Costs nothing before that."""
    waiting = {}
    for module, step in _STEPS.items():
        if module in sys.modules:
            step()
        else:
            waiting[module] = step
    if waiting and not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport(waiting))


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


class _AfterImport(MetaPathFinder):
    """Lets the other finders find a module, and does something after it has been loaded."""

    def __init__(self, waiting: dict[str, Callable[[], None]]) -> None:
        self._waiting = waiting

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """None for all modules but those that are waited for; each of these once."""
        del path, target
        step = self._waiting.pop(name, None)
        if step is None:
            return None
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _ThenLoader(spec.loader, step)
        return spec


class _ThenLoader(Loader):
    """A loader that loads as another one does, and then takes a step."""

    def __init__(self, loader: Loader, step: Callable[[], None]) -> None:
        self._loader, self._step = loader, step

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the other loader."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """As the other loader, which the module has again afterward."""
        spec = module.__spec__
        if spec is not None:
            spec.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._step()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
