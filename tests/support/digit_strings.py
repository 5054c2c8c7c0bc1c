"""Strings of real digits, and how the embedded model hears them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import soxr

import linnet
from linnet.audio.types import SAMPLE_RATE, Audio
from linnet.transcription.options import TranscriptionOptions

ENGLISH = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


SPEAKERS = ("george", "jackson", "lucas", "nicolas", "yweweler")  # theo is kept for the model's own test


STRINGS, DIGITS = 90, 6


@lru_cache(maxsize=1)
def real_strings(recordings: Path) -> list[tuple[Audio, str]]:
    """Connected strings of real digits, each of one speaker."""
    rng = np.random.default_rng(23)
    made = []
    for index in range(STRINGS):
        parts, words = [np.zeros(1600, np.float32)], []
        for digit in rng.integers(0, 10, DIGITS):
            name = f"{digit}_{SPEAKERS[index % len(SPEAKERS)]}_{rng.integers(50)}.wav"
            samples, rate = soundfile.read(recordings / name, dtype="float32")
            parts += [
                soxr.resample(samples, rate, SAMPLE_RATE),
                np.zeros(int(rng.uniform(0.05, 0.25) * SAMPLE_RATE), np.float32),
            ]
            words.append(ENGLISH[digit])
        made.append((Audio(np.concatenate(parts), name=f"string {index}"), " ".join(words)))
    return made


@lru_cache(maxsize=8)
def heard(engine: str, compute_type: str, recordings: Path) -> list[str]:
    recognizer = linnet.load("digits", device="cpu", engine=engine, compute_type=compute_type, threads=1)
    sounds = [sound for sound, _ in real_strings(recordings)]
    options = TranscriptionOptions(language="en", timestamps=False, vad=False)  # all of it is speech
    found = recognizer.transcribe_many(sounds, options=options, batch_size=8)
    texts = {result.index: result.transcript.text if result.transcript else "" for result in found}
    return [texts[index] for index in range(len(sounds))]
