"""Audio as `data:` URLs, for self-contained pages."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnet.errors import LinnetError


@dataclass(frozen=True)
class AudioClip:
    """A recording as a URL, or None, and a note on what is missing."""

    address: str | None = None
    note: str | None = None


def audio_url(samples: npt.NDArray[np.float32], rate: int) -> str:
    """Samples [n] as MP3, which every browser plays. Raises `LinnetError` where this libsndfile cannot write it."""
    import soundfile

    if not soundfile.check_format("MP3", "MPEG_LAYER_III"):
        raise LinnetError("this libsndfile cannot write MP3; version 1.1 and later can")
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", rate, 1, format="MP3", subtype="MPEG_LAYER_III") as out:
        for start in range(0, len(samples), rate):  # in short blocks, which libsndfile's encoders need
            out.write(samples[start : start + rate])
    return f"data:audio/mpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
