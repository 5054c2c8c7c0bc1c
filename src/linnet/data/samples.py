"""Decoding the audio of utterances: their segment and channel, wherever it is stored."""

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
    """Decodes utterances; segments of one recording in order of their starts take a single pass over it.

    A context manager that owns its open files.

    Example:
        >>> with UtteranceReader() as reader:
        ...     reader.read(Utterance("missing.wav"))
        Traceback (most recent call last):
        linnet.errors.AudioError: missing.wav: no such file...
    """

    def __init__(self) -> None:
        self._inputs = AudioInputs()
        self._held: tuple[tuple[str, str], AudioSource] | None = None
        self._from = 0  # the first sample of the open recording that is still available

    def read(self, utterance: Utterance, channel: str = "mix") -> Audio:
        """The mono samples of an utterance, of its own channel or else `channel`.

        Raises:
            AudioError: the audio cannot be read, or ends before the utterance begins.
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
            self._release()  # it is not needed again
        if not len(samples):
            raise AudioError(
                f"{public_name(utterance.audio)}: ends before the utterance begins, at {utterance.start or 0.0:g} s"
            )
        return Audio(samples, public_name(utterance.audio))

    def exists(self, utterance: Utterance) -> bool | None:
        """Whether its file exists; None for a URL, which is not requested."""
        return self._inputs.exists(utterance)

    def sources(self, utterances: Iterable[Utterance], channel: str = "mix") -> Iterator[AudioSource]:
        """An input of `Recognizer.transcribe_many` for each utterance, opened on demand and closed by it.

        `channel` applies to utterances that name none. Whole recordings are streamed, segments decoded at once. An
        unreadable recording raises when it is read, so that its result holds the error.
        """
        for utterance in utterances:
            try:
                if utterance.start is None and utterance.end is None:
                    yield self._open(utterance, channel)
                else:
                    yield open_audio(self.read(utterance, channel))
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
        return open_audio(self._inputs.get(utterance), channel=wanted)

    def _release(self) -> None:
        if self._held is not None:
            self._held[1].close()
        self._held, self._from = None, 0

    def close(self) -> None:
        """Close what is open."""
        with ExitStack() as stack:
            stack.callback(self._inputs.close)
            self._release()


class _UnreadableSource(Closing):
    """An `AudioSource` that raises an error when it is read."""

    duration: float | None = None
    notices: tuple[str, ...] = ()

    def __init__(self, name: str, error: LinnetError) -> None:
        self.name = name
        self._error = error

    def read(self, start: int, count: int) -> Samples:  # noqa: ARG002  an AudioSource's
        """Raise the error."""
        raise self._error

    def close(self) -> None:
        """Nothing to close."""
