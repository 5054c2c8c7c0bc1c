"""Audio clips as `data:` URLs, for pages that play without network access."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from linnet.audio import SAMPLE_RATE, Samples
from linnet.errors import LinnetError
from linnet.evaluation.log import ScoredRow
from linnet.pages.media import AudioClip, audio_url
from linnet.urls import is_url, public_name

ReadAudio = Callable[[ScoredRow, float], Samples]

_BYTES_PER_SECOND = 5600  # about what MP3 takes here, in base64


def embed(
    rows: Iterable[ScoredRow], *, limit: int, seconds: float = 60.0, read: ReadAudio | None = None
) -> Iterator[AudioClip]:
    """The first `seconds` of each row's audio as MP3, until the URLs fill `limit` bytes; reads one row at a time.

    A recording that cannot be read, is on a network or exceeds the limit gets a note instead. `read(row, seconds)`
    returns samples [n] at 16 kHz; by default the row's `audio` is opened as a file.
    """
    left = limit
    for row in rows:
        if min(row.duration or 0.0, seconds) * _BYTES_PER_SECOND > 2 * left:
            yield _no_room(limit)
            continue
        try:
            address = audio_url((read or read_audio)(row, seconds), SAMPLE_RATE)
        except LinnetError as error:
            yield AudioClip(note=f"no audio: {error}")
            continue
        if len(address) > left:
            yield _no_room(limit)
            continue
        left -= len(address)
        cut = (row.duration or 0.0) > seconds + 0.5
        yield AudioClip(address, f"the first {seconds:.0f} s" if cut else None)


def read_audio(row: ScoredRow, seconds: float) -> Samples:
    """The first seconds of a row's audio from its file, within the row's start, end and channel if given.

    Raises:
        LinnetError: it is a URL, cannot be read, or holds no samples there.
    """
    from linnet.audio import open_audio

    if row.audio == "-" or is_url(row.audio):
        raise LinnetError(f"{public_name(row.audio)}: not on this machine's disk")
    start = getattr(row, "start", None) or 0.0
    end = getattr(row, "end", None)
    channel = getattr(row, "channel", None)
    length = seconds if end is None else min(seconds, end - start)
    with open_audio(row.audio, channel="mix" if channel is None else str(channel)) as source:
        samples = source.read(round(start * SAMPLE_RATE), round(length * SAMPLE_RATE))
    if not len(samples):
        raise LinnetError(f"{row.audio}: holds no audio at {start:.1f} s")
    return samples


def _no_room(limit: int) -> AudioClip:
    return AudioClip(note=f"no audio: the page's limit of {limit / 1e6:g} MB for audio is reached")
