"""Collect the results of a recording window by window: segments, and counts of what was skipped or is uncertain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from linnet.decoding.options import DecodingOptions
from linnet.transcription.backend import Outcome
from linnet.transcription.sentences import without_invented_stops
from linnet.transcription.transcript import Counts, Segment

MUCH_DROPPED = 0.5  # share of a recording that is worth a notice
MANY_LOW_CONFIDENCE = 0.1  # share of the segments


@dataclass
class Ledger:
    """Collects the segments and counts of one recording; `outcome` completes it."""

    counts: Counts = field(default_factory=Counts)
    segments: list[Segment] = field(default_factory=list)

    def add(self, segments: Sequence[Segment], *, fell_back: bool = False) -> None:
        """Add the segments of one window, in any order of windows."""
        counts = self.counts
        self.counts = replace(
            counts,
            windows=counts.windows + 1,
            fallback_windows=counts.fallback_windows + fell_back,
            empty_windows=counts.empty_windows + (not segments),
            low_confidence_segments=counts.low_confidence_segments
            + sum(segment.low_confidence for segment in segments),
        )
        self.segments += segments

    def drop(self, seconds: float) -> None:
        """Count seconds without speech, which are in no window."""
        self.counts = replace(self.counts, nonspeech_seconds=round(self.counts.nonspeech_seconds + seconds, 3))

    def outcome(
        self, duration: float, *, language: str | None = None, probabilities: Mapping[str, float] | None = None
    ) -> Outcome:
        """The outcome in order of time, for a recording of `duration` seconds."""
        ordered = sorted(probabilities.items(), key=lambda item: -item[1]) if probabilities else []
        in_time = sorted(self.segments, key=lambda segment: (segment.start, segment.end))
        return Outcome(
            segments=tuple(without_invented_stops(in_time)),
            language=language,
            language_probability=None if not probabilities or language is None else probabilities.get(language),
            language_probabilities=dict(ordered) or None,
            counts=self.counts,
            notices=tuple(self._notices(duration)),
        )

    def _notices(self, duration: float) -> list[str]:
        dropped, found = self.counts.nonspeech_seconds, []
        if dropped > MUCH_DROPPED * duration:
            silent = not self.segments and not self.counts.windows
            what = "no speech was detected" if silent else "there is little speech"
            found.append(
                f"{what}: {dropped:.1f} of {duration:.1f} s were skipped (--no-vad includes them, as for singing)."
            )
        elif not self.segments and self.counts.windows:
            found.append(
                "no words were recognized in it (--channel selects one of several channels; --no-vad includes singing)."
            )
        low_confidence = self.counts.low_confidence_segments
        if low_confidence > MANY_LOW_CONFIDENCE * len(self.segments):
            found.append(
                f"{low_confidence} of {len(self.segments)} segments have low confidence: improbable or repetitive "
                "(--format json marks them)."
            )
        return found


def is_low_confidence(segment: Segment, options: DecodingOptions) -> bool:
    """Whether text is improbable, repetitive or without detected speech, by the options' thresholds."""

    def beyond(value: float | None, threshold: float | None) -> bool:
        return value is not None and threshold is not None and value > threshold

    log_probability, limit = segment.avg_logprob, options.log_probability_threshold
    return (
        (log_probability is not None and limit is not None and log_probability < limit)
        or beyond(segment.compression_ratio, options.compression_ratio_threshold)
        or beyond(segment.no_speech_prob, options.no_speech_threshold)
    )
