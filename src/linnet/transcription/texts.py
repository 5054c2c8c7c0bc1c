"""The plain text of many recordings, for comparing models: greedy and deterministic."""

from __future__ import annotations

from collections.abc import Sequence

from linnet.audio.types import Audio
from linnet.transcription.options import TranscriptionOptions
from linnet.transcription.recognizer import Recognizer


def greedy_texts(recognizer: Recognizer, recordings: Sequence[Audio], languages: Sequence[str | None]) -> list[str]:
    """The text of each recording at temperature 0, in this language (None: detected).

    Raises the error of the first recording that cannot be transcribed.
    """
    texts = [""] * len(recordings)
    for language in dict.fromkeys(languages):
        rows = [row for row, own in enumerate(languages) if own == language]
        options = TranscriptionOptions(language=language, temperatures=(0.0,))
        for result in recognizer.transcribe_many([recordings[row] for row in rows], options=options):
            if result.transcript is None:
                raise result.error or AssertionError("a result holds a transcript or an error")
            texts[rows[result.index]] = result.transcript.text
    return texts
