"""A recognizer without a model: what it hears is told by the file's name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from linnet.decoding.options import DecodingOptions
from linnet.errors import AudioError, OptionError
from linnet.transcription.schedule import Progress, Recording, Result
from linnet.transcription.transcript import Segment, Transcript
from linnet.urls import public_name


class FakeRecognizer:
    """Says each file's stem, `-` as a space; fails where the name holds `bad`, is interrupted where it holds `stop`.

    Yields in reverse order when `batch_size` > 1.
    """

    device = "cpu"
    engine_name = "fake cpu float32"
    languages = ("en", "de")
    loading_seconds = 0.0

    def __init__(self, name: str = "fake", revision: str | None = "1", dtype: str = "float32") -> None:
        self.name, self.revision, self.dtype = name, revision, dtype
        self.heard: list[str] = []
        self.options: list[DecodingOptions | None] = []

    def transcribe_many(
        self,
        sources: Iterable[Any],
        *,
        options: DecodingOptions | None = None,
        batch_size: int = 1,
        channel: str = "mix",
        in_order: bool = True,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Iterator[Result]:
        language = options.language if options is not None else None
        if language is not None and language not in self.languages:
            raise OptionError(f"language {language!r} is unknown to this model")
        sounds = [public_name(one.sound if isinstance(one, Recording) else one) for one in sources]
        numbered = list(enumerate(sounds))
        for index, source in numbered[::-1] if batch_size > 1 and not in_order else numbered:
            self.heard.append(source)
            self.options.append(options)
            if on_progress is not None:
                on_progress(Progress(index, source, 1.0, 2.0))
            if "stop" in Path(source).name:
                raise KeyboardInterrupt
            if "bad" in Path(source).name:
                yield Result(index, source, source, error=AudioError(f"{source}: not a sound"), seconds=0.5)
            else:
                yield self._result(index, source, language)

    def _result(self, index: int, source: str, language: str | None) -> Result:
        text = Path(source).stem.partition(".")[0].replace("-", " ").replace("silence", "")
        segments = (Segment(0, 2, text),) if text else ()
        transcript = Transcript(segments, language=language or "en", duration=2.0, source=source, model=self.name)
        notices = ("it ends early.",) if "short" in Path(source).name else ()
        return Result(index, source, source, duration=2.0, seconds=0.5, transcript=transcript, notices=notices)
