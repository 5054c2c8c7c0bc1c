"""Short sounds as `data:` addresses, for pages that play without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from linnet.audio import SAMPLE_RATE, Samples
from linnet.errors import LinnetError
from linnet.evaluation.log import ScoredRow
from linnet.pages.media import AudioClip, sound_address
from linnet.urls import is_url, public_name

ReadSound = Callable[[ScoredRow, float], Samples]

_BYTES_PER_SECOND = 5600  # about what MP3 takes here, in base64


def embed(
    rows: Iterable[ScoredRow], *, limit: int, seconds: float = 60.0, read: ReadSound | None = None
) -> Iterator[AudioClip]:
    """The first `seconds` of each row's sound as MP3, until the addresses fill `limit` bytes; reads one at a time.

    MP3 is what every browser plays. A recording that cannot be read, that would be fetched from a network or that has
    no room left has a note instead. `read(row, seconds)` answers with samples [n] at 16 kHz; by default the row's
    `audio` is opened as a file.
    """
    left = limit
    for row in rows:
        if min(row.duration or 0.0, seconds) * _BYTES_PER_SECOND > 2 * left:
            yield _no_room(limit)
            continue
        try:
            address = sound_address((read or read_sound)(row, seconds), SAMPLE_RATE)
        except LinnetError as error:
            yield AudioClip(note=f"no sound: {error}")
            continue
        if len(address) > left:
            yield _no_room(limit)
            continue
        left -= len(address)
        cut = (row.duration or 0.0) > seconds + 0.5
        yield AudioClip(address, f"the first {seconds:.0f} s" if cut else None)


def read_sound(row: ScoredRow, seconds: float) -> Samples:
    """The first seconds of a row's sound from its file, within the row's start, end and channel where it has them.

    Raises:
        LinnetError: it is an address on a network, cannot be read, or holds no samples there.
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
        raise LinnetError(f"{row.audio}: holds nothing at {start:.1f} s")
    return samples


def _no_room(limit: int) -> AudioClip:
    return AudioClip(note=f"no sound: the page's limit of {limit / 1e6:g} MB for sound is reached")
