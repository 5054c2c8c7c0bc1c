"""openai-whisper: the reference implementation of Whisper."""

from __future__ import annotations

import time
from pathlib import Path

from linnet.audio.types import Audio
from linnet.errors import OptionError
from linnet.evaluation.providers.local import (
    LocalProvider,
    failures_of,
    library,
    no_model,
    pick_device,
    refuse_service_options,
    revision,
    torch_threads,
)
from linnet.evaluation.providers.protocol import Identity, ProviderOptions, ProviderTranscript, main_code


class OpenAIWhisper(LocalProvider):
    """`openai-whisper:small`, or the path of a .pt file; the library downloads named models itself.

    Its defaults apply (greedy, temperature fallback, previous text as prompt) unless `fields` override them.
    """

    kind = "openai-whisper"

    def __init__(self, model: str, options: ProviderOptions) -> None:
        refuse_service_options(self.kind, options)
        package = library("whisper", extra=self.kind)
        if options.compute_type not in ("auto", "float16", "float32"):
            raise OptionError(f"compute_type={options.compute_type!r}: {self.kind} supports auto, float16 and float32")
        device = pick_device(options)
        try:
            self._model = package.load_model(model, device=device)
        except (RuntimeError, ValueError, OSError, KeyError) as error:
            raise no_model(self.kind, model, error) from error
        half = options.compute_type == "float16" or (options.compute_type == "auto" and device == "cuda")
        self._fields = {"fp16": half, **options.fields}
        self.identity = Identity(
            self.kind,
            model,
            revision("openai-whisper", [path] if (path := Path(model)).is_file() else []),
            device=device,
            dtype="float16" if half else "float32",
            threads=options.threads,
            fields=self._fields,
        )

    def transcribe(self, audio: Audio, *, language: str | None = None, prompt: str | None = None) -> ProviderTranscript:
        """Recognize one recording."""
        begun = time.perf_counter()
        settings = {"language": main_code(language), "initial_prompt": prompt, "verbose": None, **self._fields}
        with failures_of(self.identity.name, audio), torch_threads(self.identity.threads):
            result = self._model.transcribe(audio.samples, **settings)
        return ProviderTranscript(str(result["text"]).strip(), result["language"], (), time.perf_counter() - begun)
