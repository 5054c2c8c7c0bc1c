"""Audio, spectrograms and pictures as `data:` URLs, for self-contained pages."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from linnet.errors import LinnetError

_RANGE = 80.0  # dB from black to white
_WINDOW, _HOP = 0.025, 0.010  # seconds of a column, and between columns
_COLUMNS = 1200  # at most: longer recordings have wider ones


@dataclass(frozen=True)
class AudioClip:
    """A recording as a URL, or None and a note on the reason."""

    address: str | None = None
    note: str | None = None


def audio_url(samples: npt.NDArray[np.float32], rate: int) -> str:
    """Samples [n] as MP3, which every browser plays. Raises `LinnetError` if this libsndfile cannot write it."""
    import soundfile

    if not soundfile.check_format("MP3", "MPEG_LAYER_III"):
        raise LinnetError("this libsndfile cannot write MP3; install version 1.1 or later")
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", rate, 1, format="MP3", subtype="MPEG_LAYER_III") as out:
        for start in range(0, len(samples), rate):  # in short blocks, required by libsndfile's encoders
            out.write(samples[start : start + rate])
    return _url("audio/mpeg", file.getvalue())


def spectrogram_url(samples: npt.NDArray[np.float32], rate: int) -> str:
    """The power of samples [n] over time (to the right) and frequency (upwards), in dB below the loudest, as PNG."""
    window, hop = round(rate * _WINDOW), max(round(rate * _HOP), -(-len(samples) // _COLUMNS))
    padded = np.pad(np.asarray(samples, np.float32), (0, window))
    starts = np.arange(0, max(len(samples), 1), hop)
    frames = np.stack([padded[start : start + window] for start in starts]) * np.hanning(window)
    power = np.abs(np.fft.rfft(frames)) ** 2  # [columns, frequencies]
    decibels = 10 * np.log10(np.maximum(power / max(float(power.max()), 1e-12), 1e-12))
    return picture_url(np.flipud(np.clip(1 + decibels.T / _RANGE, 0, 1)))


def picture_url(pixels: npt.NDArray[np.floating]) -> str:
    """Gray pixels [height, width] from 0 (black) to 1 (white) as PNG (ISO/IEC 15948)."""
    height, width = pixels.shape
    rows = np.zeros((height, width + 1), np.uint8)  # each begins with its filter: none
    rows[:, 1:] = np.rint(255 * pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return _url("image/png", b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks))


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
