"""The sound of an utterance, decoded: its stretch, its channel, from wherever it lies."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Self

from linnet.audio import SAMPLE_RATE, Audio, AudioSource, open_audio
from linnet.data import Sounds, Utterance
from linnet.errors import AudioError

_EVERYTHING = 2**62


class Listener:
    """Decodes utterances; stretches of one recording that come in the order of their starts cost one pass over it.

    A context manager that owns the files it has open.

    Example:
        >>> with Listener() as listener:
        ...     listener.hear(Utterance("missing.wav"))
        Traceback (most recent call last):
        linnet.errors.AudioError: missing.wav: no such file...
    """

    def __init__(self) -> None:
        self._sounds = Sounds()
        self._held: tuple[tuple[str, int | None], AudioSource] | None = None
        self._from = 0  # the first sample that can still be had of what is held

    def hear(self, utterance: Utterance) -> Audio:
        """Mono samples from the utterance's start to its end (or that of its recording).

        Raises:
            AudioError: the sound cannot be read, or ends before the utterance begins.
        """
        start = round((utterance.start or 0.0) * SAMPLE_RATE)
        count = _EVERYTHING if utterance.end is None else round(utterance.end * SAMPLE_RATE) - start
        samples = self._source(utterance, start).window(start, count)
        self._from = start
        if utterance.start is None and utterance.end is None:
            self._release()  # nothing more of it will be asked for
        if not len(samples):
            raise AudioError(f"{utterance.audio}: ends before the utterance begins, at {utterance.start or 0.0:g} s")
        return Audio(samples, utterance.audio)

    def _source(self, utterance: Utterance, start: int) -> AudioSource:
        place = (utterance.audio, utterance.channel)
        if self._held is None or self._held[0] != place or start < self._from:
            self._release()
            channel = "mix" if utterance.channel is None else str(utterance.channel)
            self._held = place, open_audio(self._sounds.get(utterance), channel=channel)
        return self._held[1]

    def _release(self) -> None:
        if self._held is not None:
            self._held[1].close()
        self._held, self._from = None, 0

    def close(self) -> None:
        """Close what is open."""
        with ExitStack() as stack:
            stack.callback(self._sounds.close)
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
