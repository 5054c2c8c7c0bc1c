"""JSON lines: one object per segment; files of several recordings can be joined with `cat`."""

from __future__ import annotations

import json
from dataclasses import asdict

from linnet.transcription.transcript import Transcript
from linnet.transcription.writers.json_document import plain


class JsonLinesWriter:
    """One line per segment, with the recording's `source` and `language`."""

    extension = "jsonl"

    def render(self, transcript: Transcript) -> str:
        """The lines; empty for a transcript without segments."""
        rows = (
            {"source": transcript.source, **asdict(segment), "language": segment.language or transcript.language}
            for segment in transcript.segments
        )
        return "".join(json.dumps(plain(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
