"""Windows of calibration audio: read one by one, checked, and split for calibration and held-out evaluation.

Where all windows have one length (Whisper), short recordings are joined to full ones, too: else no layer ever sees
speech late in a window, and it is lost there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, MutableSequence, Sequence
from dataclasses import dataclass, field, replace
from typing import overload

import numpy as np
from torch import Tensor

from linnet.audio.detectors import PauseCutter
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.compression.subject import Example, Subject
from linnet.data.manifest import Utterance
from linnet.data.samples import UtteranceReader
from linnet.errors import AudioError, OptionError
from linnet.notices import Notify
from linnet.transcription.windows import WindowPlan
from linnet.urls import public_name

SILENT = 1e-4  # root mean square of a window below which it has no speech
HELD_OUT = 5  # every n-th window is held out
LEAST_WINDOWS = 2 * HELD_OUT
SHORT = 0.75  # share of a window: shorter recordings are joined, too


@dataclass(frozen=True)
class Place:
    """A window: stretches of recordings, one after the other, and whether it is transcribed with times."""

    stretches: tuple[Utterance, ...]
    timed: bool


class ReadWhenAsked(Sequence[Example], ABC):
    """A sequence whose examples are read on each access, one by one, also those of a slice."""

    @abstractmethod
    def read(self, index: int) -> Example:
        """The example with its features, read now."""

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        """See `read`."""
        if isinstance(index, slice):
            return [self.read(one) for one in range(*index.indices(len(self)))]
        return self.read(index)


class Examples(ReadWhenAsked):
    """Windows of files, whose features are rebuilt on each access: memory does not grow with their number."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._places: list[Place] = []

    def add(self, place: Place) -> None:
        """Add a window at the end."""
        self._places.append(place)

    def __len__(self) -> int:
        return len(self._places)

    def read(self, index: int) -> Example:
        """See `ReadWhenAsked`."""
        with UtteranceReader() as reader:
            return self._example(reader, self._places[index])

    def __iter__(self) -> Iterator[Example]:
        """All of them in order: one pass over each recording."""
        with UtteranceReader() as reader:
            for place in self._places:
                yield self._example(reader, place)

    def _example(self, reader: UtteranceReader, place: Place) -> Example:
        samples = np.concatenate([reader.read(one).samples for one in place.stretches])
        return self._subject.example(samples, place.stretches[0].language, timed=place.timed)


@dataclass(eq=False)
class Audio:
    """Windows of speech of a calibration set, as examples: `teaching`, and `held_out`, which nothing is fitted to.

    `seconds` of sound in all of them; `skipped` counts windows and files left out, by the reason. `transcripts` are the
    dense model's, by the place of a window in `teaching`, as far as they were made.
    """

    teaching: MutableSequence[Example] | Examples = field(default_factory=list)
    held_out: MutableSequence[Example] | Examples = field(default_factory=list)
    seconds: float = 0.0
    skipped: dict[str, int] = field(default_factory=dict)
    transcripts: dict[int, Tensor | None] = field(default_factory=dict)

    def skip(self, why: str) -> None:
        """Count a skipped one."""
        self.skipped[why] = self.skipped.get(why, 0) + 1


class Lessons(ReadWhenAsked):
    """The windows that teach, each with its transcript where that was made before."""

    def __init__(self, audio: Audio) -> None:
        self._audio = audio

    def __len__(self) -> int:
        return len(self._audio.teaching)

    def read(self, index: int) -> Example:
        """See `ReadWhenAsked`."""
        return replace(self._audio.teaching[index], tokens=self._audio.transcripts.get(index))


def read_audio(subject: Subject, utterances: Iterable[Utterance], *, most: int, skipped: Notify) -> Audio:
    """Up to `most` windows of these utterances, in order; every second one is transcribed with times where it can be.

    Every fifth window of a recording is held out. Where windows have one length, short ones of one language are also
    joined to full ones, those held out among themselves.

    Files that cannot be read, and windows that are silent or not finite, are counted and told to `skipped`. Raises
    `OptionError` where fewer than 10 windows are left.
    """
    teaching, held_out = Examples(subject), Examples(subject)
    audio, joints = Audio(teaching, held_out), _Joints(subject.window)
    count = 0
    for one in utterances:
        try:
            for start, samples in _windows(one, subject.window):
                if (why := _unfit(samples)) is not None:
                    audio.skip(why)
                    skipped(f"left out a window of {public_name(one.audio)}: {why}")
                    continue
                if len(teaching) + len(held_out) >= most:
                    return audio
                ends = start / SAMPLE_RATE, (start + len(samples)) / SAMPLE_RATE
                stretch = replace(one, start=ends[0], end=ends[1])
                judges = count % HELD_OUT == HELD_OUT - 1
                place = held_out if judges else teaching
                place.add(Place((stretch,), timed=count % 4 >= 2))
                count += 1
                audio.seconds += len(samples) / SAMPLE_RATE
                if subject.fixed_window and (full := joints.add(stretch, len(samples), judges)):
                    place.add(Place(full, timed=joints.made % 2 == 0))
        except AudioError as error:
            audio.skip("unreadable")
            skipped(f"left out: {error}")
    _check_count(audio)
    return audio


class _Joints:
    """Joins short stretches until they fill a window; each language, and what is held out, by itself."""

    def __init__(self, window: int) -> None:
        self._window, self.made = window, 0
        self._waiting: dict[tuple[str | None, bool], tuple[list[Utterance], int]] = {}

    def add(self, stretch: Utterance, length: int, judges: bool) -> tuple[Utterance, ...]:
        """The stretches of a window that this one filled, whose end is cut; none where it is not full yet."""
        if length > SHORT * self._window:
            return ()
        key = stretch.language, judges
        found, filled = self._waiting.pop(key, ([], 0))
        found, filled = [*found, stretch], filled + length
        if filled < self._window:
            self._waiting[key] = found, filled
            return ()
        self.made += 1
        return tuple(found)


def _check_count(audio: Audio) -> None:
    count = len(audio.teaching) + len(audio.held_out)
    if count < LEAST_WINDOWS:
        left_out = ", ".join(f"{number} {why}" for why, number in audio.skipped.items()) or "none"
        raise OptionError(
            f"too little calibration audio: {count} windows of speech ({audio.seconds:.0f} s; left out: {left_out}); "
            f"give at least {LEAST_WINDOWS} utterances, better 100"
        )


def _windows(one: Utterance, limit: int) -> Iterator[tuple[int, Samples]]:
    """Where each window begins, and its samples; an empty one where there is no sound at all.

    Of a stretch of a recording it is the first window alone.
    """
    with UtteranceReader() as reader:
        for source in reader.sources([one]):
            with source:
                if one.start is not None or one.end is not None:
                    yield round((one.start or 0.0) * SAMPLE_RATE), source.read(0, limit)
                    continue
                empty = True
                for window in WindowPlan(source, limit, PauseCutter()):
                    empty = False
                    yield window.start, window.samples
                if empty:
                    yield 0, np.zeros(0, np.float32)


def _unfit(samples: Samples) -> str | None:
    """Why a window is unsuitable for calibration; None if it is suitable."""
    if not np.isfinite(samples).all():
        return "not finite"
    if not len(samples) or float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) < SILENT:
        return "silent"
    return None
