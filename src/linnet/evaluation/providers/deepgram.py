"""Deepgram's transcription service for recordings."""

from __future__ import annotations

from typing import Any

from linnet.audio.types import Audio
from linnet.errors import OptionError
from linnet.evaluation.providers.http import HttpProvider, form, text_of
from linnet.evaluation.providers.parsing import parse_language, parse_words
from linnet.evaluation.providers.protocol import ProviderTranscript
from linnet.evaluation.providers.upload import MIME, flac


class Deepgram(HttpProvider):
    """POST {url}/v1/listen?model=..., the audio as the body; returns {"results": {"channels": [...]}}.

    Text comes without case and punctuation unless the field `smart_format` is set.
    """

    kind = "deepgram"
    home = "https://api.deepgram.com"
    key_variable = "DEEPGRAM_API_KEY"
    header = ("Authorization", "Token {}")

    def transcribe(self, audio: Audio, *, language: str | None = None, prompt: str | None = None) -> ProviderTranscript:
        """Recognize one recording; takes no prompt (use the field `keyterm`)."""
        if prompt is not None:
            raise OptionError(f"{self.identity.name} takes no prompt; use the field keyterm")
        language_options: dict[str, Any] = {"detect_language": True} if language is None else {"language": language}
        query = form({"model": self.identity.model, **language_options, **self.fields})
        answer = self.server.ask("POST", "v1/listen", params=query, content=flac(audio), headers={"Content-Type": MIME})
        try:
            channel = answer.data["results"]["channels"][0]
            best: dict[str, Any] = dict(channel["alternatives"][0])
            detected = parse_language(channel.get("detected_language"))
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise self.server.error("the response has no alternatives", "check the fields", answer.data) from error
        words = parse_words(best.get("words"), text="punctuated_word") or parse_words(best.get("words"), text="word")
        return ProviderTranscript(text_of(self.server, best, "transcript"), detected or language, words, answer.seconds)
