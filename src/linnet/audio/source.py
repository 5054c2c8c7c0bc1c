"""Sound that is read as it is needed."""

from __future__ import annotations

from typing import Protocol

from linnet.audio.types import Samples


class AudioSource(Protocol):
    """A recording, mono float32 at 16 kHz, read forward.

    Time line of one source, in samples::

        0 ........ start ............ start + count ........... end (unknown until reached)
        forgotten  |<-- window(start, count) -->|   not yet read
    """

    @property
    def name(self) -> str:
        """The path, URL or label, for messages and reports."""
        ...

    @property
    def duration(self) -> float | None:
        """Seconds, where the header tells, or once the end was reached."""
        ...

    def window(self, start: int, count: int) -> Samples:
        """Samples `start` to `start + count` (fewer at the end, none after it).

        `start` may not go back before that of an earlier call: what lies before it is forgotten, so memory stays constant.
        """
        ...

    def close(self) -> None:
        """Release the file. A source is also a context manager that does so."""
        ...
