"""A disk cache of responses, keyed by the samples and everything else that they depend on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from linnet.audio.types import Audio
from linnet.closing import Closing
from linnet.errors import OutputError
from linnet.evaluation.providers.protocol import Identity, Provider, ProviderTranscript
from linnet.evaluation.providers.upload import digest
from linnet.files import write_atomic
from linnet.models.cache import cache_folder
from linnet.notices import Notify
from linnet.transcription.transcript import Word


class CachedProvider(Closing):
    """A provider whose responses are cached in `<cache>/providers/<kind>/<hash>.json`, with their keys.

    The hash covers model, request and library versions. Damaged entries are requested again, with a notice; failures
    are not cached. A cache that cannot be written is reported once.
    """

    def __init__(self, provider: Provider, notify: Notify, *, folder: Path | None = None) -> None:
        self.provider = provider
        self._notify = notify
        self._folder = (folder or cache_folder()) / "providers" / provider.identity.kind
        self._writable = True

    @property
    def identity(self) -> Identity:
        """The provider's identity."""
        return self.provider.identity

    @property
    def concurrency(self) -> int:
        """The provider's concurrency."""
        return self.provider.concurrency

    def transcribe(self, audio: Audio, *, language: str | None = None, prompt: str | None = None) -> ProviderTranscript:
        """The cached transcript, else the provider's."""
        key = {**asdict(self.identity), "language": language, "prompt": prompt, "samples": digest(audio)}
        key = json.loads(json.dumps(key, sort_keys=True, default=str))
        name = _hash(key)
        path = self._folder / name[:2] / f"{name[2:]}.json"
        if path.exists():
            try:
                return _read(path, key)
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                self._notify(
                    f"{self.identity.name}: the cached response {path} is damaged ({error}): requesting it again"
                )
        transcript = self.provider.transcribe(audio, language=language, prompt=prompt)
        self._keep(path, key, transcript)
        return transcript

    def close(self) -> None:
        """Close the provider."""
        self.provider.close()

    def _keep(self, path: Path, key: dict[str, Any], transcript: ProviderTranscript) -> None:
        answer = asdict(transcript)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, json.dumps({"key": key, "heard": answer, "check": _hash(answer)}, indent=1) + "\n")
        except (OSError, OutputError) as error:
            if self._writable:
                self._notify(f"{self.identity.name}: responses cannot be cached ({error})")
            self._writable = False


def _read(path: Path, key: dict[str, Any]) -> ProviderTranscript:
    data = json.loads(path.read_text(encoding="utf-8"))
    answer = data["heard"]
    if data["key"] != key or data["check"] != _hash(answer):
        raise ValueError("it does not match its key")
    transcript = ProviderTranscript(**{**answer, "words": tuple(map(_word, answer["words"]))})
    return replace(transcript, cached=True)


def _word(data: dict[str, Any]) -> Word:
    return Word(**{"word" if key == "text" else key: value for key, value in data.items()})  # text: the former key


def _hash(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
