"""The one result type of transcription."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

MOST_LANGUAGES = 5  # in a transcript's JSON


@dataclass(frozen=True)
class Word:
    """One word including punctuation, with its times in seconds from the start of the recording.

    `interpolated`: its times are not from the audio but divide the time between its neighbors.
    """

    word: str
    start: float
    end: float
    probability: float | None = None  # mean over its tokens; None if the model has none
    interpolated: bool = False


@dataclass(frozen=True)
class Segment:
    """A piece of transcript with its times in seconds from the start of the recording.

    `words`, if requested, are in order, do not overlap and lie within the segment; joined by spaces (or directly, in
    scripts without spaces) they are the segment's text. `tokens` are those of the text, as decoded, without timestamps
    and CTC blanks; empty if the system yields only text.
    """

    start: float
    end: float
    text: str
    tokens: tuple[int, ...] = ()
    avg_logprob: float | None = None
    no_speech_prob: float | None = None
    compression_ratio: float | None = None
    temperature: float | None = None
    words: tuple[Word, ...] = ()
    language: str | None = None  # if detected per window
    low_confidence: bool = False  # improbable, repetitive, or without detected speech


@dataclass(frozen=True)
class Counts:
    """Counts of windows and segments of a recording, and of what was skipped or has low confidence."""

    windows: int = 0
    fallback_windows: int = 0  # decoded again at a temperature above 0
    empty_windows: int = 0  # without recognized words
    low_confidence_segments: int = 0
    nonspeech_seconds: float = 0.0  # of the recording without speech, which are in no window


@dataclass(frozen=True)
class Transcript:
    """The transcript of one recording, and how it was made.

    >>> Transcript(segments=(Segment(0.0, 1.0, "one two"), Segment(1.5, 2.0, "three"))).text
    'one two three'
    """

    segments: tuple[Segment, ...]
    language: str | None = None
    language_probability: float | None = None
    language_probabilities: Mapping[str, float] | None = None  # of each language, most probable first
    counts: Counts | None = None
    duration: float = 0.0  # seconds of audio
    source: str = "audio"
    model: str = ""
    revision: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The segments' texts, joined by single spaces."""
        return " ".join(text for segment in self.segments if (text := segment.text.strip()))

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of all segments, if word times were requested."""
        return tuple(word for segment in self.segments for word in segment.words)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: `text` first, then every field; only the five most probable languages."""
        told = self.language_probabilities
        likeliest = None if told is None else dict(sorted(told.items(), key=lambda one: -one[1])[:MOST_LANGUAGES])
        return {"text": self.text, **asdict(self), "language_probabilities": likeliest}
