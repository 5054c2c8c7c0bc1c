"""OpenAI's transcription service, and compatible servers (vLLM, Speaches, LocalAI, Groq, ...)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from linnet.audio.types import Audio
from linnet.evaluation.providers.http import HttpProvider, form, text_of
from linnet.evaluation.providers.parsing import parse_language, parse_words
from linnet.evaluation.providers.protocol import ProviderOptions, ProviderTranscript, main_code
from linnet.evaluation.providers.upload import FILE_NAME, MIME, flac


class OpenAI(HttpProvider):
    """POST {url}/audio/transcriptions, a multipart form; returns {"text": ...}.

    A URL without a path gets `/v1`. Servers other than OpenAI's work without a key.
    """

    kind = "openai"
    home = "https://api.openai.com/v1"
    key_variable = "OPENAI_API_KEY"
    defaults = {"response_format": "json"}  # noqa: RUF012 (a ClassVar of the base)
    keyless = True

    def __init__(self, model: str, options: ProviderOptions) -> None:
        super().__init__(model, options)
        self._path = "audio/transcriptions" if urlsplit(self.server.url).path else "v1/audio/transcriptions"

    def transcribe(self, audio: Audio, *, language: str | None = None, prompt: str | None = None) -> ProviderTranscript:
        """Recognize one recording."""
        fields: dict[str, Any] = {
            "model": self.identity.model,
            "language": main_code(language),
            "prompt": prompt,
            **self.fields,
        }
        files = {"file": (FILE_NAME, flac(audio), MIME)}
        answer = self.server.ask("POST", self._path, data=form(fields), files=files)
        data = answer.data  # language and words come only with response_format=verbose_json
        words = parse_words(data.get("words"), text="word")
        return ProviderTranscript(
            text_of(self.server, data), parse_language(data.get("language")), words, answer.seconds
        )
