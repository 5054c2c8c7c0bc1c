"""Sounds made for the tests of audio."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.support.places import SHARED

CLIPS = SHARED / "clips"
FAULTS = SHARED / "faults"


def speechlike(seconds: float, rate: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """A gliding tone with a changing level and a little noise, [n]."""
    t = np.arange(round(seconds * rate)) / rate
    tone = 0.3 * np.sin(2 * np.pi * 220 * t * (1 + 0.1 * t)) * (0.6 + 0.4 * np.sin(7 * t))
    noise = np.random.default_rng(seed).standard_normal(len(t))
    return (tone + 0.005 * noise).astype(np.float32)


def write(path: Path, samples: npt.NDArray[Any], rate: int, **options: Any) -> str:
    """Write by soundfile; `.opus` becomes Opus in Ogg."""
    import soundfile

    if path.suffix == ".opus":
        options = {"format": "OGG", "subtype": "OPUS", **options}
    soundfile.write(path, samples, rate, **options)
    return str(path)


def write_container(path: Path, samples: npt.NDArray[np.float32], rate: int, codec: str = "aac", **options: Any) -> str:
    """Write mono samples [n] (or [n, channels]) by PyAV into the container of the suffix."""
    import av

    with av.open(str(path), "w", options=options) as container:
        layout = "mono" if samples.ndim == 1 else f"{samples.shape[1]} channels"
        stream = container.add_stream(codec, rate=rate, layout=layout)
        fifo = av.AudioFifo()
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout=layout)
        frame.rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        fifo.write(frame)
        while part := fifo.read(stream.codec_context.frame_size or 1024, partial=True):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return str(path)


def heard(source: Any, **options: Any) -> tuple[npt.NDArray[np.float32], str]:
    """All samples, and all notices in one text."""
    from linnet.audio import open_audio

    with open_audio(source, **options) as sound:
        return sound.read(0, 2**50), " ".join(sound.notices)


def fault(name: str) -> str:
    """The path of one of the shared faulty recordings; skips the test where it, or what reads it, is not there."""
    import pytest

    if not FAULTS.exists():
        pytest.skip("the shared faults are not beside the project")
    if name.endswith((".webm", ".mp4", ".mts")):
        pytest.importorskip("av", reason="PyAV (the extra av) is not installed")
    return str(FAULTS / name)


def lag(samples: npt.NDArray[np.float32], original: npt.NDArray[np.float32]) -> int:
    """By how many samples a sound is late or early, found in its first two seconds."""
    part = original[8000:24_000]
    return abs(int(np.argmax(np.correlate(samples[4000:28_000], part, "valid"))) - 4000)


def jfk() -> npt.NDArray[np.float32]:
    """The eleven seconds of speech that most of the faults are made of."""
    import soundfile

    return soundfile.read(fault("nan.wav"), dtype="float32")[0]
