"""faster-whisper: Whisper models converted for CTranslate2."""

from __future__ import annotations

import time
from pathlib import Path

from linnet.audio.types import Audio
from linnet.evaluation.providers.local import (
    LocalProvider,
    failures_of,
    library,
    no_model,
    pick_device,
    refuse_service_options,
    revision,
)
from linnet.evaluation.providers.protocol import Identity, ProviderOptions, ProviderTranscript, main_code
from linnet.models.hub import offline_reason


class FasterWhisper(LocalProvider):
    """`faster-whisper:small`, a converted model's Hub id, or its folder.

    The library's defaults apply (beam of 5, temperature fallback) unless `fields` override them. With the field
     `batch_size` its batched pipeline is used, which segments by its own VAD.
    """

    kind = "faster-whisper"

    def __init__(self, model: str, options: ProviderOptions) -> None:
        refuse_service_options(self.kind, options)
        package = library("faster_whisper", extra=self.kind)
        compute_type = "default" if options.compute_type == "auto" else options.compute_type
        device = pick_device(options)
        try:
            offline = offline_reason() is not None
            folder = model if Path(model).is_dir() else package.download_model(model, local_files_only=offline)
            self._model = package.WhisperModel(
                folder, device=device, compute_type=compute_type, cpu_threads=options.threads
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise no_model(self.kind, model, error) from error
        self._fields = dict(options.fields)
        batched = "batch_size" in self._fields
        self._runner = package.BatchedInferencePipeline(self._model) if batched else self._model
        self.identity = Identity(
            self.kind,
            model,
            revision("faster-whisper", (path for path in Path(folder).iterdir() if path.is_file())),
            device=device,
            dtype=str(self._model.model.compute_type),
            threads=options.threads,
            fields=self._fields,
        )

    def transcribe(self, audio: Audio, *, language: str | None = None, prompt: str | None = None) -> ProviderTranscript:
        """Recognize one recording."""
        begun = time.perf_counter()
        settings = {"language": main_code(language), "initial_prompt": prompt, **self._fields}
        with failures_of(self.identity.name, audio):
            segments, info = self._runner.transcribe(audio.samples, **settings)
            text = "".join(segment.text for segment in segments).strip()  # segments are decoded lazily
        return ProviderTranscript(text, info.language, (), time.perf_counter() - begun)
