"""Streams for `stream.py`: clips of one speaker joined to minutes, with the times of their words; and noise."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from linnet.audio import SAMPLE_RATE, load
from linnet.audio.types import Samples
from linnet.data.manifest import read_manifest
from linnet.scoring.latency import SpokenWord

GAPS = (0.3, 1.5)  # seconds between two clips, drawn evenly
_FRAME = 320
KINDS = ("white", "pink", "brown", "hum", "clicks", "gusts")
LEVELS = (-90.0, -70.0, -50.0, -35.0, -25.0, -15.0)  # dB below full scale; the first is silence to the ear
NOISE_SECONDS = 6.0
TAKES = 20


@dataclass
class SpokenStream:
    """Minutes of one speaker; `words` are all that is said, with their times in the stream."""

    name: str
    speaker: str
    samples: Samples
    text: str
    words: list[SpokenWord] = field(default_factory=list)
    language: str = "en"


def spoken_streams(manifest: Path, audio: Path, minutes: float, seed: int = 3) -> Iterator[SpokenStream]:
    """A stream for each speaker of an aligned manifest: its clips in order, at most some minutes, gaps between them.

    `audio` is the folder that the manifest's paths are relative to. A gap holds noise as loud as the quietest tenth of
    the clip before it.
    """
    clips: dict[str, list[tuple[Samples, str, list[SpokenWord]]]] = {}
    for row in read_manifest(manifest):
        own = clips.setdefault(row.speaker or manifest.parent.name, [])
        path = Path(row.audio)
        samples = load(str(path if path.is_file() else audio / path.relative_to(manifest.parent))).samples
        if sum(len(one) for one, _, _ in own) + len(samples) <= minutes * 60 * SAMPLE_RATE:
            words = [SpokenWord(word.word, word.start, word.end) for word in row.words or ()]
            own.append((samples, row.text or "", [word for word in words if word.text.strip("*")]))
    for speaker, own in clips.items():
        if own:
            yield _joined(speaker, own, np.random.default_rng([seed, len(speaker), *speaker.encode()]))


def _joined(speaker: str, clips: list[tuple[Samples, str, list[SpokenWord]]], rng: np.random.Generator) -> SpokenStream:
    pieces: list[Samples] = []
    words: list[SpokenWord] = []
    at = 0
    for samples, _, own in clips:
        for piece, spoken in ((_gap(samples, rng), []), (samples, own)):
            start = at / SAMPLE_RATE
            words += [SpokenWord(word.text, word.start + start, word.end + start, word.sure) for word in spoken]
            pieces.append(piece)
            at += len(piece)
    pieces.append(_gap(clips[-1][0], rng))
    text = " ".join(text for _, text, _ in clips)
    return SpokenStream(speaker, speaker, np.concatenate(pieces), text, words)


def _gap(samples: Samples, rng: np.random.Generator) -> Samples:
    frames = samples[: len(samples) // _FRAME * _FRAME].reshape(-1, _FRAME)
    level = float(np.quantile(np.sqrt(np.mean(np.square(frames), axis=1)), 0.1))
    return (level * rng.standard_normal(round(rng.uniform(*GAPS) * SAMPLE_RATE))).astype(np.float32)


WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def digit_streams(
    recordings: Path, minutes: float, speaker: str = "theo", streams: int = 6, seed: int = 11
) -> Iterator[SpokenStream]:
    """Connected digits of a speaker: strings of 3 to 8 digits, each word ending where its clip does.

    Clips are cut to their speech; 50 to 250 ms lie between digits, 0.6 to 1.5 s between strings. All streams are of
    one speaker, so an interval over them tells of other strings, not of other speakers.
    """
    for number in range(streams):
        rng = np.random.default_rng([seed, number])
        pieces: list[Samples] = []
        words: list[SpokenWord] = []
        at = 0
        while at < minutes * 60 * SAMPLE_RATE:
            for place, digit in enumerate(rng.integers(0, 10, int(rng.integers(3, 9)))):
                low, high = (0.6, 1.5) if place == 0 else (0.05, 0.25)
                gap = round(rng.uniform(low, high) * SAMPLE_RATE)
                clip = load(str(recordings / f"{digit}_{speaker}_{rng.integers(50)}.wav")).samples
                pieces += [(1e-4 * rng.standard_normal(gap)).astype(np.float32), clip]
                start, at = at + gap, at + gap + len(clip)
                words.append(SpokenWord(WORDS[digit], start / SAMPLE_RATE, at / SAMPLE_RATE))
        pieces.append((1e-4 * rng.standard_normal(SAMPLE_RATE)).astype(np.float32))
        text = " ".join(word.text for word in words)
        yield SpokenStream(f"{speaker} {number}", f"{speaker} {number}", np.concatenate(pieces), text, words)


def made_noise(seed: int = 7) -> Iterator[tuple[str, Samples]]:
    """Streams of 6 s without a voice: 6 kinds at 6 levels, 20 of each."""
    for kind in KINDS:
        for level in LEVELS:
            for take in range(TAKES):
                rng = np.random.default_rng([seed, KINDS.index(kind), int(-level), take])
                sound = _noise(kind, round(NOISE_SECONDS * SAMPLE_RATE), rng)
                scaled = sound * 10 ** (level / 20) / math.sqrt(float(np.mean(np.square(sound))) or 1.0)
                yield f"{kind} {level:g} dB {take}", np.clip(scaled, -1, 1).astype(np.float32)


def _noise(kind: str, count: int, rng: np.random.Generator) -> np.ndarray:
    white = rng.standard_normal(count)
    if kind == "white":
        return white
    if kind in ("pink", "brown"):
        spectrum, frequencies = np.fft.rfft(white), np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
        slope = 0.5 if kind == "pink" else 1.0
        return np.fft.irfft(spectrum / np.maximum(frequencies, 20.0) ** slope, count)
    if kind == "hum":
        time, base = np.arange(count) / SAMPLE_RATE, float(rng.choice([50.0, 60.0, 100.0, 120.0]))
        tones = sum(np.sin(2 * np.pi * base * k * time + rng.uniform(0, 6)) / k for k in range(1, 8))
        return np.asarray(tones) + 0.02 * white
    if kind == "clicks":
        sound = 0.001 * white
        for start in rng.integers(0, count - 400, int(rng.integers(3, 40))):
            sound[start : start + 400] += rng.standard_normal(400) * np.exp(-np.arange(400) / rng.uniform(10, 100))
        return sound
    points = np.exp(rng.normal(0.0, 1.0, count // 4000 + 2))  # gusts: brown noise that swells and fades
    swell = np.interp(np.arange(count), np.arange(len(points)) * 4000, points)
    return _noise("brown", count, rng) * swell


def recorded_noise(speech: Path) -> Iterator[tuple[str, Samples]]:
    """The recordings of the set `noise`, without the one that is sung."""
    folder = speech / "noise"
    for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "Karissa" not in row["audio"]:
            yield row["audio"], load(str(folder / row["audio"])).samples


def repeated(stream: SpokenStream, seconds: float, share: float, chunk: int) -> Iterator[Samples]:
    """Chunks of endless speech: the stream over and over, between with as much quiet noise as leaves it its share."""
    rng = np.random.default_rng(1)
    quiet = (1e-4 * rng.standard_normal(round(len(stream.samples) * (1 / share - 1)))).astype(np.float32)
    whole = np.concatenate([stream.samples, quiet])
    at = 0
    for _ in range(round(seconds * SAMPLE_RATE / chunk)):
        piece = whole[at : at + chunk]
        if len(piece) < chunk:
            piece = np.concatenate([piece, whole[: chunk - len(piece)]])
        at = (at + chunk) % len(whole)
        yield piece
