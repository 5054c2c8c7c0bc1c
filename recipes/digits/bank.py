"""Clips of spoken digits in memory: real recordings (FSDD) and banks of synthetic speech.

A clip is int16 mono at 16 kHz. A bank folder holds `clips.i16` and `clips.jsonl` (make_digits_speech.py).
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linnet.audio.types import SAMPLE_RATE as RATE
from linnet.audio.types import Samples
from linnet.errors import OptionError

from .words import DIGITS


@dataclass(frozen=True)
class DigitClip:
    """Where one clip lies in its pool, the digits in it, and each one's (first, end) sample if that is known."""

    pool: NDArray[np.int16]
    start: int
    length: int
    digits: tuple[int, ...]
    bounds: tuple[tuple[int, int], ...] | None

    def samples(self) -> Samples:
        """The clip as float32 in [-1, 1]."""
        return self.pool[self.start : self.start + self.length].astype(np.float32) / 32768.0


@dataclass
class Voice:
    """One voice: for each digit its clips alone, and its connected strings."""

    name: str
    digits: dict[int, list[DigitClip]] = field(default_factory=lambda: defaultdict(list))
    strings: list[DigitClip] = field(default_factory=list)


Voices = dict[str, dict[str, list[Voice]]]  # language -> engine -> voices


def load_bank(folder: Path, voices: Voices) -> None:
    """Add the clips of a bank folder to `voices`.

    Raises:
        OptionError: the folder is not a bank; names the script that makes one.
    """
    index = folder / "clips.jsonl"
    if not index.is_file():
        raise OptionError(f"{folder} has no clips.jsonl: make it with recipes/digits/make_digits_speech.py {folder}.")
    pool = np.memmap(folder / "clips.i16", np.int16, mode="r")
    found: dict[tuple[str, str, str], Voice] = {}
    number = {language: {word: n for n, word in enumerate(words)} for language, words in DIGITS.items()}
    with index.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            key = (row["language"], row["engine"], row["voice"])
            voice = found.setdefault(key, Voice(row["voice"]))
            digits = tuple(number[row["language"]][word] for word in row["words"])
            bounds = None if row["bounds"] is None else tuple((int(a), int(b)) for a, b in row["bounds"])
            _add(voice, DigitClip(pool, row["start"], row["samples"], digits, bounds))
    for (language, engine, _), voice in found.items():
        if voice.digits:
            voices.setdefault(language, {}).setdefault(engine, []).append(voice)


def load_fsdd(folder: Path, speakers: tuple[str, ...], voices: Voices, *, even: bool = True) -> None:
    """Add real English recordings of `speakers` (`recordings/{digit}_{speaker}_{take}.wav`) as the engine `real`.

    `even` brings each to the same peak; otherwise they stay as loud as they were recorded.

    Raises:
        OptionError: no recording of one of the speakers is there.
    """
    import soundfile
    import soxr

    for speaker in speakers:
        paths = sorted((folder / "recordings").glob(f"*_{speaker}_*.wav"))
        if not paths:
            raise OptionError(f"{folder}/recordings has no file of the speaker {speaker!r}; it should be FSDD.")
        voice = Voice(speaker)
        for path in paths:
            samples, rate = soundfile.read(path, dtype="float32")
            samples = soxr.resample(samples, rate, RATE)
            if even:
                samples = samples * (0.7 / max(1e-4, float(np.abs(samples).max())))
            pool = (np.clip(samples, -1, 1) * 32767.0).astype(np.int16)
            digit = int(path.name.split("_")[0])
            _add(voice, DigitClip(pool, 0, len(pool), (digit,), ((0, len(pool)),)))
        voices.setdefault("en", {}).setdefault("real", []).append(voice)


def _add(voice: Voice, clip: DigitClip) -> None:
    if len(clip.digits) == 1:
        voice.digits[clip.digits[0]].append(clip)
    else:
        voice.strings.append(clip)
