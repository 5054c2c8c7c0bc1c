"""A recording in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 16_000

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Audio:
    """A recording: finite mono float32 samples at 16 kHz, full scale 1.

    >>> Audio(np.zeros(8000, np.float32)).duration
    0.5
    """

    samples: Samples
    name: str = "audio"

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / SAMPLE_RATE
