"""The speech recognition pipeline of Transformers."""

from __future__ import annotations

import time
from typing import Any

from linnet.audio.types import SAMPLE_RATE, Audio
from linnet.errors import ModelError, OptionError
from linnet.evaluation.providers.local import (
    LocalProvider,
    failures_of,
    no_model,
    pick_device,
    refuse_service_options,
    torch_threads,
)
from linnet.evaluation.providers.protocol import Identity, ProviderOptions, ProviderTranscript, main_code
from linnet.models.families import CTC, WHISPER, family_of
from linnet.models.loading import quiet
from linnet.models.resolve import resolve

_CHUNK = 30.0  # seconds of a long recording per pass of a CTC model


class TransformersPipeline(LocalProvider):
    """`transformers:openai/whisper-small`: any model that `pipeline("automatic-speech-recognition")` runs.

    Models are Hub ids, folders or embedded names. Whisper models decode long recordings sequentially, CTC models in
    chunks of 30 s. The pipeline's defaults apply (a beam of 5 for Whisper) unless `fields`, arguments of its call,
    override them.
    """

    kind = "transformers"

    def __init__(self, model: str, options: ProviderOptions) -> None:
        from transformers import __version__, pipeline

        refuse_service_options(self.kind, options)
        device = pick_device(options)
        try:
            found = resolve(model)
            self._family = family_of(found.path)
            with quiet():
                self._pipeline: Any = pipeline(
                    "automatic-speech-recognition", model=str(found.path), device=device, dtype=options.compute_type
                )
        except (ModelError, RuntimeError, ValueError, OSError, KeyError) as error:
            raise no_model(self.kind, model, error) from error
        self._fields = dict(options.fields)
        self.identity = Identity(
            self.kind,
            model,
            f"transformers {__version__}, model {found.revision}",
            device=device,
            dtype=str(self._pipeline.model.dtype).removeprefix("torch."),
            threads=options.threads,
            fields=self._fields,
        )

    def transcribe(self, audio: Audio, *, language: str | None = None, prompt: str | None = None) -> ProviderTranscript:
        """Recognize one recording; only Whisper models take a language, none takes a prompt."""
        if prompt is not None:
            raise OptionError(f"{self.identity.name} takes no prompt")
        begun = time.perf_counter()
        with failures_of(self.identity.name, audio), torch_threads(self.identity.threads), quiet():
            raw = {"raw": audio.samples, "sampling_rate": SAMPLE_RATE}
            result = self._pipeline(raw, **self._settings(audio, language))
        return ProviderTranscript(str(result["text"]).strip(), None, (), time.perf_counter() - begun)

    def _settings(self, audio: Audio, language: str | None) -> dict[str, Any]:
        settings = dict(self._fields)
        if self._family is WHISPER:
            if audio.duration > self._pipeline.feature_extractor.chunk_length:
                settings.setdefault("return_timestamps", True)
            if language is not None and getattr(self._pipeline.model.generation_config, "is_multilingual", False):
                result = {"language": main_code(language), "task": "transcribe"}
                settings["generate_kwargs"] = {**result, **settings.get("generate_kwargs", {})}
        elif self._family is CTC and audio.duration > _CHUNK:
            settings.setdefault("chunk_length_s", _CHUNK)
        return settings
