"""What a fusion model is made of, as a Transformers config."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from transformers import AutoConfig, PretrainedConfig


class FusionConfig(PretrainedConfig):  # type: ignore[misc]
    """A speech encoder, a projector and a language model in one config.

    `audio_config` and `text_config` are those of the two base models; `projector` the fields of
    `projectors.ProjectorOptions`. The rows of a clip stand between the tokens `prompt_before` and `prompt_after`, and
    the answer ends with `answer_end`. `normalize` is the encoder's `do_normalize`. A clip is encoded in windows of
    `window_seconds` that overlap by `overlap_seconds` on each side of a seam. Whisper's encoder gets each window padded
    to a multiple of `pad_seconds` instead of its whole 30 s, where that is not 0.

    `bases` names the base models, `{"encoder": {"name": ..., "revision": ...}, "language_model": {...}}`, where the
    folder holds only what was trained; None where it holds everything. `adapters` are the LoRA options of each part
    that has some.

    `when_made` is called once, before the first config is: the Auto classes learn of the model then, which is slow to
    import, and not sooner (`auto.register_when_used`).
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
        told, FusionConfig.when_made = FusionConfig.when_made, None
        if told is not None:
            told()
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
