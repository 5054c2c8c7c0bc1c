"""The sound of an utterance, decoded: its stretch, its channel, from wherever it lies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack

from linnet.audio import SAMPLE_RATE, Audio, AudioSource, Samples, open_audio
from linnet.closing import Closing
from linnet.data.manifest import Utterance
from linnet.data.sources.embedded import AudioInputs
from linnet.errors import AudioError, LinnetError
from linnet.urls import public_name

_EVERYTHING = 2**62


class UtteranceReader(Closing):
    """Decodes utterances; stretches of one recording that come in the order of their starts cost one pass over it.

    A context manager that owns the files it has open.

    Example:
        >>> with UtteranceReader() as listener:
        ...     listener.hear(Utterance("missing.wav"))
        Traceback (most recent call last):
        linnet.errors.AudioError: missing.wav: no such file...
    """

    def __init__(self) -> None:
        self._sounds = AudioInputs()
        self._held: tuple[tuple[str, str], AudioSource] | None = None
        self._from = 0  # the first sample that can still be had of what is held

    def hear(self, utterance: Utterance, channel: str = "mix") -> Audio:
        """Mono samples from the utterance's start to its end (or that of its recording), of its channel or `channel`.

        Raises:
            AudioError: the sound cannot be read, or ends before the utterance begins.
        """
        start = round((utterance.start or 0.0) * SAMPLE_RATE)
        count = _EVERYTHING if utterance.end is None else round(utterance.end * SAMPLE_RATE) - start
        source = self._source(utterance, start, channel)
        try:
            samples = source.read(start, count)
        except BaseException:
            self._release()  # it has closed itself
            raise
        self._from = start
        if utterance.start is None and utterance.end is None:
            self._release()  # nothing more of it will be asked for
        if not len(samples):
            raise AudioError(
                f"{public_name(utterance.audio)}: ends before the utterance begins, at {utterance.start or 0.0:g} s"
            )
        return Audio(samples, public_name(utterance.audio))

    def exists(self, utterance: Utterance) -> bool | None:
        """Whether its file is there, at the cost of one look; None for a URL, which is not asked."""
        return self._sounds.exists(utterance)

    def sources(self, utterances: Iterable[Utterance], channel: str = "mix") -> Iterator[AudioSource]:
        """What `Recognizer.transcribe_many` takes of each utterance, opened when it is asked for, for it to close.

        `channel` is that of utterances which name none. A whole recording is read as it is needed, a stretch is
        decoded at once. A recording that cannot be read raises when it is read: its result holds the error.
        """
        for utterance in utterances:
            try:
                if utterance.start is None and utterance.end is None:
                    yield self._open(utterance, channel)
                else:
                    yield open_audio(self.hear(utterance, channel))
            except LinnetError as error:
                yield _UnreadableSource(public_name(utterance.audio), error)

    def _source(self, utterance: Utterance, start: int, channel: str) -> AudioSource:
        place = (utterance.audio, channel if utterance.channel is None else str(utterance.channel))
        if self._held is None or self._held[0] != place or start < self._from:
            self._release()
            self._held = place, self._open(utterance, channel)
        return self._held[1]

    def _open(self, utterance: Utterance, channel: str) -> AudioSource:
        wanted = channel if utterance.channel is None else str(utterance.channel)
        return open_audio(self._sounds.get(utterance), channel=wanted)

    def _release(self) -> None:
        if self._held is not None:
            self._held[1].close()
        self._held, self._from = None, 0

    def close(self) -> None:
        """Close what is open."""
        with ExitStack() as stack:
            stack.callback(self._sounds.close)
            self._release()


class _UnreadableSource(Closing):
    """An `AudioSource` that raises what went wrong when it is read."""

    duration: float | None = None
    notices: tuple[str, ...] = ()

    def __init__(self, name: str, error: LinnetError) -> None:
        self.name = name
        self._error = error

    def read(self, start: int, count: int) -> Samples:  # noqa: ARG002  an AudioSource's
        """Nothing: raises."""
        raise self._error

    def close(self) -> None:
        """There is nothing to close."""
