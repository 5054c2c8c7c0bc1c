"""One JSON document with the whole transcript."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from linnet.transcription.transcript import Transcript


def plain(value: Any) -> Any:
    """`value` with numbers that JSON does not support (NaN, infinity) as `None`, at any depth."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@dataclass(frozen=True)
class JsonWriter:
    """`Transcript.to_dict()`, indented; with the run's `fingerprint` if given."""

    fingerprint: str | None = None

    extension = "json"

    def render(self, transcript: Transcript) -> str:
        """The document and a line end; non-ASCII letters are not escaped."""
        data = plain(transcript.to_dict())
        if self.fingerprint is not None:
            data["fingerprint"] = self.fingerprint
        return json.dumps(data, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
