"""Answers on this disk, found again by the samples and by everything else that they depend on."""

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
from linnet.evaluation.providers.sound import digest
from linnet.files import write_atomic
from linnet.models.cache import cache_folder
from linnet.notices import Notify
from linnet.transcription.transcript import Word


class CachedProvider(Closing):
    """A provider that is asked once for each recording.

    An answer is one file, `<cache>/providers/<kind>/<hash>.json`, with what it depends on. A damaged one is asked for
    again, with a notice; so is one of another model, request or library version, whose hash differs. Failures are not
    kept. Where nothing can be written, that is said once.
    """

    def __init__(self, provider: Provider, notify: Notify, *, folder: Path | None = None) -> None:
        self.provider = provider
        self._notify = notify
        self._folder = (folder or cache_folder()) / "providers" / provider.identity.kind
        self._writable = True

    @property
    def identity(self) -> Identity:
        """That of the provider."""
        return self.provider.identity

    @property
    def concurrency(self) -> int:
        """That of the provider."""
        return self.provider.concurrency

    def transcribe(self, audio: Audio, *, language: str | None = None, prompt: str | None = None) -> ProviderTranscript:
        """The kept answer, else the provider's."""
        key = {**asdict(self.identity), "language": language, "prompt": prompt, "samples": digest(audio)}
        key = json.loads(json.dumps(key, sort_keys=True, default=str))
        name = _hash(key)
        path = self._folder / name[:2] / f"{name[2:]}.json"
        if path.exists():
            try:
                return _read(path, key)
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                self._notify(f"{self.identity.name}: the kept answer {path} is damaged ({error}): asking again")
        heard = self.provider.transcribe(audio, language=language, prompt=prompt)
        self._keep(path, key, heard)
        return heard

    def close(self) -> None:
        """Close the provider."""
        self.provider.close()

    def _keep(self, path: Path, key: dict[str, Any], heard: ProviderTranscript) -> None:
        answer = asdict(heard)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, json.dumps({"key": key, "heard": answer, "check": _hash(answer)}, indent=1) + "\n")
        except (OSError, OutputError) as error:
            if self._writable:
                self._notify(f"{self.identity.name}: answers cannot be kept ({error})")
            self._writable = False


def _read(path: Path, key: dict[str, Any]) -> ProviderTranscript:
    data = json.loads(path.read_text(encoding="utf-8"))
    answer = data["heard"]
    if data["key"] != key or data["check"] != _hash(answer):
        raise ValueError("it is not what was written")
    heard = ProviderTranscript(**{**answer, "words": tuple(map(_word, answer["words"]))})
    return replace(heard, cached=True)


def _word(data: dict[str, Any]) -> Word:
    return Word(**{"word" if key == "text" else key: value for key, value in data.items()})  # text: its first name


def _hash(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
