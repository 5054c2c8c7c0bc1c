"""ElevenLabs' speech-to-text service (Scribe)."""

from __future__ import annotations

from linnet.audio.types import Audio
from linnet.errors import OptionError
from linnet.evaluation.providers.http import HttpProvider, form, text_of
from linnet.evaluation.providers.parsing import parse_language, parse_words
from linnet.evaluation.providers.protocol import ProviderTranscript, main_code
from linnet.evaluation.providers.upload import FILE_NAME, MIME, flac


class ElevenLabs(HttpProvider):
    """POST {url}/v1/speech-to-text, a multipart form; returns {"text": ..., "language_code": ..., "words": [...]}.

    Audio events such as (laughter) are turned off, since references do not contain them.
    """

    kind = "elevenlabs"
    home = "https://api.elevenlabs.io"
    key_variable = "ELEVENLABS_API_KEY"
    header = ("xi-api-key", "{}")
    defaults = {"tag_audio_events": False}  # noqa: RUF012 (a ClassVar of the base)

    def transcribe(self, audio: Audio, *, language: str | None = None, prompt: str | None = None) -> ProviderTranscript:
        """Recognize one recording; takes no prompt (use the field `keyterms`)."""
        if prompt is not None:
            raise OptionError(f"{self.identity.name} takes no prompt; use the field keyterms")
        fields = {"model_id": self.identity.model, "language_code": main_code(language), **self.fields}
        files = {"file": (FILE_NAME, flac(audio), MIME)}
        answer = self.server.ask("POST", "v1/speech-to-text", data=form(fields), files=files)
        data = answer.data
        words = parse_words(data.get("words"), kind="word")
        return ProviderTranscript(
            text_of(self.server, data), parse_language(data.get("language_code")), words, answer.seconds
        )
