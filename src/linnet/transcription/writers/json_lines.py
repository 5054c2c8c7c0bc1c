"""JSON lines: one object for each segment, to be joined over many recordings with `cat`."""

from __future__ import annotations

import json
from dataclasses import asdict

from linnet.transcription.transcript import Transcript
from linnet.transcription.writers.json_document import plain


class JsonLinesWriter:
    """One line for each segment, each with the recording's `source` and `language`."""

    extension = "jsonl"

    def render(self, transcript: Transcript) -> str:
        """The lines; nothing at all for a transcript without segments."""
        rows = (
            {"source": transcript.source, **asdict(segment), "language": segment.language or transcript.language}
            for segment in transcript.segments
        )
        return "".join(json.dumps(plain(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
