"""SubRip subtitles."""

from __future__ import annotations

from dataclasses import dataclass

from linnet.transcription.subtitles import SubtitleLayout, line_text, make_cues
from linnet.transcription.transcript import Transcript
from linnet.transcription.writers.base import cue_times


@dataclass(frozen=True)
class SrtWriter:
    """Cues numbered from 1; segments without text are omitted.

    SubRip has no escapes, so an arrow `-->` in a text, which players read as a time line, becomes `->`.
    """

    layout: SubtitleLayout | None = None

    extension = "srt"

    def render(self, transcript: Transcript) -> str:
        """The cues, each followed by a blank line."""
        return "".join(
            f"{number}\n{cue_times(cue, ',')}\n{text.replace('-->', '->')}\n\n"
            for number, cue in enumerate(make_cues(transcript, self.layout), start=1)
            if (text := "\n".join(line_text(line) for line in cue.lines))
        )
