"""AssemblyAI's transcription service: upload, submit, poll until completed."""

from __future__ import annotations

import time
from typing import Any

from linnet.audio.types import Audio
from linnet.evaluation.providers.http import HttpProvider, text_of
from linnet.evaluation.providers.parsing import parse_language, parse_words
from linnet.evaluation.providers.protocol import ProviderTranscript, main_code
from linnet.evaluation.providers.upload import flac


class AssemblyAI(HttpProvider):
    """POST {url}/v2/upload, POST {url}/v2/transcript, then GET {url}/v2/transcript/{id} until completed or error.

    `assemblyai:universal-3-pro,universal-2` names models in order of preference, as its `speech_models` does.
    """

    kind = "assemblyai"
    home = "https://api.assemblyai.com"
    key_variable = "ASSEMBLYAI_API_KEY"
    header = ("Authorization", "{}")

    def transcribe(self, audio: Audio, *, language: str | None = None, prompt: str | None = None) -> ProviderTranscript:
        """Recognize one recording; the time runs from its upload to its completion as polled."""
        ask = self.server.ask
        content = {"Content-Type": "application/octet-stream"}
        uploaded = ask("POST", "v2/upload", content=flac(audio), headers=content)
        order: dict[str, Any] = {
            "audio_url": text_of(self.server, uploaded.data, "upload_url"),
            "speech_models": self.identity.model.split(","),
            **({"language_detection": True} if language is None else {"language_code": main_code(language)}),
            **({} if prompt is None else {"prompt": prompt}),
            **self.fields,
        }
        ordered = ask("POST", "v2/transcript", json=order)
        begun = time.perf_counter()
        done = self._wait(text_of(self.server, ordered.data, "id"), begun)
        seconds = uploaded.seconds + ordered.seconds + time.perf_counter() - begun
        return ProviderTranscript(
            text_of(self.server, done),
            parse_language(done.get("language_code")),
            parse_words(done.get("words"), unit=1e-3),
            seconds,
        )

    def _wait(self, job: str, begun: float) -> dict[str, Any]:
        while True:
            data = self.server.ask("GET", f"v2/transcript/{job}").data
            status = data.get("status")
            if status == "completed":
                return data
            if status not in ("queued", "processing"):
                problem = "the recording failed" if status == "error" else f"unknown status {status!r}"
                raise self.server.error(problem, "check the recording and the fields", data.get("error") or data)
            if time.perf_counter() - begun > self.options.timeout:
                raise self.server.error(f"still {status} after {self.options.timeout:g} s", "raise the timeout")
            self.server.wait(self.options.pause)
