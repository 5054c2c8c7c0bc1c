"""WebVTT subtitles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from linnet.transcription.subtitles import Cue, SubtitleLayout, Unit, make_cues
from linnet.transcription.transcript import Transcript
from linnet.transcription.writers.base import clock, cue_times, milliseconds

_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


@dataclass(frozen=True)
class VttWriter:
    """Cues after the `WEBVTT` line; `&`, `<`, `>` and `-->` are escaped as required by the W3C's WebVTT.

    Words with times are tagged, so that players highlight them one by one: `<00:00:01.000><c>word</c>`. A tag's time
    must lie after the cue's start and the previous tag, and before the cue's end; words with other times have no time
    tag.
    """

    layout: SubtitleLayout | None = None

    extension = "vtt"

    def render(self, transcript: Transcript) -> str:
        """The header and the cues, each after a blank line."""
        cues = (f"\n{cue_times(cue, '.')}\n{_text(cue)}\n" for cue in make_cues(transcript, self.layout))
        return "WEBVTT\n" + "".join(cues)


def _text(cue: Cue) -> str:
    reached, lines = milliseconds(cue.start), []
    for line in cue.lines:
        text, reached = _line(line, reached, milliseconds(cue.end))
        lines.append(text)
    return "\n".join(lines)


def _line(units: Sequence[Unit], reached: int, end: int) -> tuple[str, int]:
    """The text of a line, and the time of its last tag in milliseconds."""
    parts: list[str] = []
    for place, unit in enumerate(units):
        space = " " if unit.spaced and place else ""
        text = unit.text.translate(_ESCAPES)
        if not unit.timed:
            parts.append(space + text)
            continue
        tag = ""
        if reached < milliseconds(unit.start) < end:
            reached, tag = milliseconds(unit.start), f"<{clock(unit.start, '.')}>"
        parts.append(f"{space}{tag}<c>{text}</c>")
    return "".join(parts), reached
