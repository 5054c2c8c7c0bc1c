"""WebVTT subtitles."""

from __future__ import annotations

from linnet.transcription.transcript import Transcript
from linnet.transcription.writers.base import cue_times, lines

_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


class VttWriter:
    """Cues after the `WEBVTT` line; `&`, `<` and `>` are escaped as the W3C's WebVTT text asks, and so is `-->`."""

    extension = "vtt"

    def render(self, transcript: Transcript) -> str:
        """The header and the cues, a blank line before each."""
        spoken = ((segment, text) for segment in transcript.segments if (text := "\n".join(lines(segment))))
        cues = (f"\n{cue_times(segment, '.')}\n{text.translate(_ESCAPES)}\n" for segment, text in spoken)
        return "WEBVTT\n" + "".join(cues)
