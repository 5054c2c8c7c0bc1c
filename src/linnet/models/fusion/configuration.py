"""The config of a fusion model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from transformers import AutoConfig, PretrainedConfig


class FusionConfig(PretrainedConfig):  # type: ignore[misc]
    """A speech encoder, a projector and a language model in one config.

    `audio_config` and `text_config` are those of the two base models; `projector` the fields of
    `projectors.ProjectorOptions`. A clip's rows go between the tokens `prompt_before` and `prompt_after`; the answer
    ends with `answer_end`. `normalize` is the encoder's `do_normalize`. Clips are encoded in windows of
    `window_seconds` that overlap by `overlap_seconds` on each side of a seam. With `pad_seconds`, Whisper's encoder
    pads windows to a multiple of it instead of 30 s.

    `bases` names the base models, `{"encoder": {"name": ..., "revision": ...}, "language_model": {...}}`, if the folder
    holds only the trained weights, else None. `adapters` are the LoRA options of each part that has some.

    `when_made` is called once, before the first config is created, to register the model, which is slow to import
    (`auto.register_when_used`).
    """

    when_made: ClassVar[Callable[[], None] | None] = None
    model_type = "linnet_fusion"
    sub_configs = {"audio_config": AutoConfig, "text_config": AutoConfig}  # noqa: RUF012 (as Transformers has it)

    def __init__(  # noqa: PLR0913 (a config is all fields)
        self,
        audio_config: dict[str, Any] | PretrainedConfig | None = None,
        text_config: dict[str, Any] | PretrainedConfig | None = None,
        projector: dict[str, Any] | None = None,
        prompt_before: list[int] | None = None,
        prompt_after: list[int] | None = None,
        answer_end: int = 0,
        normalize: bool = False,
        window_seconds: float = 30.0,
        overlap_seconds: float = 1.0,
        pad_seconds: float = 0.0,
        bases: dict[str, dict[str, Any]] | None = None,
        adapters: dict[str, dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        hook, FusionConfig.when_made = FusionConfig.when_made, None
        if hook is not None:
            hook()
        self.audio_config = _config(audio_config, "hubert")
        self.text_config = _config(text_config, "llama")
        self.projector = dict(projector or {})
        self.prompt_before = list(prompt_before or [])
        self.prompt_after = list(prompt_after or [])
        self.answer_end = answer_end
        self.normalize = normalize
        self.window_seconds = window_seconds
        self.overlap_seconds = overlap_seconds
        self.pad_seconds = pad_seconds
        self.bases = bases
        self.adapters = adapters
        super().__init__(**kwargs)


def _config(given: dict[str, Any] | PretrainedConfig | None, default: str) -> PretrainedConfig:
    if isinstance(given, PretrainedConfig):
        return given
    values = dict(given or {})
    made: PretrainedConfig = AutoConfig.for_model(values.pop("model_type", default), **values)
    return made
