"""Outputs of `linnet stream`: a redrawn screen, text as it becomes final, JSON lines, subtitles."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from linnet.cli.console import shown
from linnet.streaming.events import Event, Final, Partial
from linnet.transcription.transcript import Segment, Transcript, Word

if TYPE_CHECKING:
    from rich.console import Console

Write = Callable[[str], None]


class Output(Protocol):
    """Displays or writes the events of one stream."""

    def take(self, event: Event) -> None:
        """Process an event."""
        ...

    def close(self) -> None:
        """Finish at the end of the stream."""
        ...


class Lines:
    """Writes each event as a line of JSON immediately."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def take(self, event: Event) -> None:
        """See `Output`."""
        self._write(json.dumps(event.to_dict(), ensure_ascii=False) + "\n")

    def close(self) -> None:
        """See `Output`."""


class Text:
    """Writes final text as it arrives, one line per segment."""

    def __init__(self, write: Write) -> None:
        self._write, self._open = write, False

    def take(self, event: Event) -> None:
        """See `Output`."""
        if not isinstance(event, Final):
            return
        self._write(event.text if self._open else event.text.lstrip())
        self._open = self._open or bool(event.text)
        if event.last:
            self.close()

    def close(self) -> None:
        """See `Output`."""
        if self._open:
            self._write("\n")
        self._open = False


class Screen:
    """On a terminal: final text plain, followed by preliminary text, dim and redrawn in place."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._console, self._final, self._tail = console, "", ""
        self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
        self._live.start()

    def take(self, event: Event) -> None:
        """See `Output`."""
        if isinstance(event, Partial):
            self._tail = event.text
        elif isinstance(event, Final):
            self._final += event.text
            self._tail = ""
            if event.last:
                self._print()
            self._let_go()
        else:
            return
        self._draw()

    def _draw(self) -> None:
        from rich.text import Text as Styled

        line = Styled(shown(self._final.lstrip()))
        line.append(shown(self._tail if self._final else self._tail.lstrip()), style="dim")
        self._live.update(line, refresh=True)

    def _let_go(self) -> None:
        """Print full lines permanently while the speaker does not pause: the redrawn part must fit the screen."""
        width = max(self._console.width, 20)
        while len(self._final) > 2 * width:
            line, _, _ = self._final[:width].rpartition(" ")
            line = line if line.strip() else self._final[:width]
            rest = self._final[len(line) :]
            self._final = line
            self._print()
            self._final = rest

    def _print(self) -> None:
        """Print the text of the segment permanently."""
        from rich.text import Text as Styled

        if self._final.strip():
            self._live.update(Styled(""), refresh=True)
            self._console.print(Styled(shown(self._final.strip())))
        self._final = self._tail = ""

    def close(self) -> None:
        """See `Output`."""
        self._print()
        self._live.stop()


class Whole:
    """Writes a transcript at the end of the stream, in a format of `linnet transcribe`."""

    def __init__(self, write: Write, name: str) -> None:
        self._write, self._name = write, name
        self._words: list[Word] = []
        self._text = ""
        self._segments: list[Segment] = []
        self._duration = 0.0

    def take(self, event: Event) -> None:
        """See `Output`."""
        self._duration = event.time
        if isinstance(event, Final):
            self._words += event.words
            self._text += event.text
            if event.last:
                self._end_segment()

    def _end_segment(self) -> None:
        if self._words:
            start, end = self._words[0].start, self._words[-1].end
            self._segments.append(Segment(start, end, self._text.strip(), words=tuple(self._words)))
        self._words, self._text = [], ""

    def close(self) -> None:
        """See `Output`."""
        from linnet.transcription.writers import WRITERS

        self._end_segment()
        self._write(WRITERS[self._name].render(Transcript(tuple(self._segments), duration=self._duration)))
