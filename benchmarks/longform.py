"""Long recordings: does batched long-form lose or invent words, how true are its times, how much memory does it take.

    python benchmarks/longform.py [--minutes 60] [--long-form batched sequential] [--fsdd ../shared/data/fsdd]
                                  [--bursts 10000] [--hours 0] [--seed 1] [--output longform.json]

Strings of digits (pieces of examples/digits-long.flac, which the embedded model hears without an error one by one; with
`--fsdd` clips of its training and validation speakers, whose exact word bounds are known) with silences of 0.1 to 90 s
between them, log-uniform, over quiet noise. `lost` and `invented` are deletions and insertions of the alignment with
the words that were said, `alone` the word error rate on the same strings one by one. Times are those of each string's
first and last word. `--bursts`: that many bursts of noise of 0.2 s, once a second. `--hours`: that much of the same,
streamed from disk, for the peak of memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import soundfile

import linnet
from linnet.audio import SAMPLE_RATE, Audio, load
from linnet.audio.types import Samples

ROOT = Path(__file__).parents[1]
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
EDGE = 0.08  # seconds of sound kept around a piece


@dataclass(frozen=True)
class String:
    """Some words said in a row: samples, and where in them the first word starts and the last ends (seconds)."""

    samples: Samples
    words: str
    start: float
    end: float


@dataclass(frozen=True)
class Said:
    """One string in a recording, times in its seconds."""

    words: str
    start: float
    end: float


def example_strings() -> list[String]:
    """The pieces of the example."""
    sound = load(ROOT / "examples/digits-long.flac").samples
    strings = []
    for line in (ROOT / "examples/digits-long.jsonl").read_text(encoding="utf-8").splitlines():
        piece = json.loads(line)
        start, end = piece["start"] - EDGE, piece["end"] + EDGE
        samples = sound[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
        strings.append(String(samples, piece["text"], EDGE, end - start - EDGE))
    return strings


def real_strings(folder: Path, count: int, rng: np.random.Generator) -> list[String]:
    """Three to six digits of one speaker of `fsdd`, 0.08 to 0.25 s apart; never the test speaker."""
    speakers = ("george", "jackson", "nicolas", "yweweler", "lucas")
    strings = []
    for _ in range(count):
        speaker, parts, words = rng.choice(speakers), [], []
        for digit in rng.integers(0, 10, rng.integers(3, 7)):
            clip = load(folder / "recordings" / f"{digit}_{speaker}_{rng.integers(0, 50)}.wav").samples
            level = 0.08 / max(float(np.sqrt(np.mean(np.square(clip)))), 1e-4)
            parts += [np.float32(level) * clip, np.zeros(round(rng.uniform(0.08, 0.25) * SAMPLE_RATE), np.float32)]
            words.append(WORDS[digit])
        samples = np.concatenate(parts[:-1])
        strings.append(String(samples, " ".join(words), 0.0, len(samples) / SAMPLE_RATE))
    return strings


def compose(
    strings: list[String], seconds: float, rng: np.random.Generator, *, longest: float = 90.0, noise: float = 3e-4
) -> tuple[Samples, list[Said]]:
    """A recording of about so many seconds: strings in any order with silences of 0.1 to `longest` s between them."""
    parts: list[Samples] = []
    said: list[Said] = []
    at = 0
    while at < seconds * SAMPLE_RATE:
        gap = np.zeros(round(float(np.exp(rng.uniform(np.log(0.1), np.log(longest)))) * SAMPLE_RATE), np.float32)
        string = strings[rng.integers(len(strings))]
        begun = (at + len(gap)) / SAMPLE_RATE
        said.append(Said(string.words, begun + string.start, begun + string.end))
        parts += [gap, string.samples]
        at += len(gap) + len(string.samples)
    sound = np.concatenate(parts)
    return (sound + noise * rng.standard_normal(len(sound), dtype=np.float32)).astype(np.float32), said


def compare(said: list[Said], transcript: linnet.Transcript) -> dict[str, Any]:
    """Errors against what was said, and how far the times of strings heard without an error are off."""
    heard = transcript.words
    reference, hypothesis = [one.words for one in said], [word.word.strip().lower() for word in heard]
    counted = jiwer.process_words(" ".join(reference), " ".join(hypothesis) or "-")
    place: dict[int, int] = {}
    for chunk in counted.alignments[0]:
        if chunk.type == "equal":
            place |= dict(
                zip(
                    range(chunk.ref_start_idx, chunk.ref_end_idx),
                    range(chunk.hyp_start_idx, chunk.hyp_end_idx),
                    strict=True,
                )
            )
    off: list[float] = []
    whole, at = 0, 0
    for one in said:
        places = range(at, at := at + len(one.words.split()))
        if all(index in place for index in places):
            whole += 1
            off.append(abs(heard[place[places[0]]].start - one.start))
            off.append(abs(heard[place[places[-1]]].end - one.end))
    return {
        "strings": len(said),
        "heard whole": whole,
        "WER": round(100 * counted.wer, 2),
        "lost": counted.deletions,
        "invented": counted.insertions,
        "changed": counted.substitutions,
        "times off by over 0.3 s": sum(value > 0.3 for value in off),
        "worst time": round(max(off, default=0.0), 2),
        "counts": None if transcript.counts is None else vars(transcript.counts),
    }


def alone(recognizer: linnet.Recognizer, said: list[Said], strings: list[String]) -> float:
    """The word error rate of the same strings, each its own recording."""
    rng = np.random.default_rng(0)
    sounds = {}
    for string in {string.words: string for string in strings}.values():
        pad = np.zeros(round(0.3 * SAMPLE_RATE), np.float32)
        sound = np.concatenate([pad, string.samples, pad])
        sounds[string.words] = Audio((sound + 3e-4 * rng.standard_normal(len(sound))).astype(np.float32))
    names = sorted(sounds)
    heard = {
        names[result.index]: result.transcript.text
        for result in recognizer.transcribe_many([sounds[name] for name in names])
        if result.transcript
    }
    references = [one.words for one in said]
    return 100 * float(jiwer.wer(references, [heard[words] or "-" for words in references]))


def bursts(count: int) -> Iterator[Samples]:
    """Seconds of sound, a burst of 0.2 s of noise in each."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        second = np.zeros(SAMPLE_RATE, np.float32)
        second[3200:6400] = 0.2 * rng.standard_normal(3200, dtype=np.float32)
        yield second


def peak() -> int:
    """Most memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def timed(recognizer: linnet.Recognizer, sound: Any, **options: Any) -> tuple[linnet.Transcript, dict[str, Any]]:
    """A transcript, and what it took."""
    begun = time.perf_counter()
    transcript = recognizer.transcribe(sound, **options)
    seconds = time.perf_counter() - begun
    return transcript, {
        "seconds": round(seconds, 1),
        "RTFx": round(transcript.duration / seconds, 1),
        "peak MiB": peak(),
    }


def streamed(recognizer: linnet.Recognizer, parts: Iterator[Samples], **options: Any) -> dict[str, Any]:
    """The same for sound that is written to disk first."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.flac"
        with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1) as file:
            for part in parts:
                file.write(part)
        transcript, took = timed(recognizer, str(path), **options)
    counts = None if transcript.counts is None else vars(transcript.counts)
    return {"words": len(transcript.text.split()), **took, "counts": counts}


def main() -> None:
    """Print the figures, and write them as JSON where `--output` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="digits")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--long-form", nargs="*", default=["batched", "sequential"])
    parser.add_argument("--no-vad", action="store_true")
    parser.add_argument("--longest", type=float, default=90.0, help="seconds of silence")
    parser.add_argument("--fsdd", type=Path)
    parser.add_argument("--bursts", type=int, default=10_000)
    parser.add_argument("--hours", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    recognizer = linnet.load(options.model)
    rng = np.random.default_rng(options.seed)
    strings = real_strings(options.fsdd, 200, rng) if options.fsdd else example_strings()
    rows: dict[str, Any] = {}
    if options.minutes:
        sound, said = compose(strings, 60 * options.minutes, rng, longest=options.longest)
        rows["alone, WER"] = round(alone(recognizer, said, strings), 2)
        for long_form in options.long_form:
            chosen = {"language": "en", "word_timestamps": True, "long_form": long_form, "vad": not options.no_vad}
            transcript, took = timed(recognizer, Audio(sound), **chosen)
            rows[f"{options.minutes:g} minutes, {long_form}"] = {**compare(said, transcript), **took}
            print(json.dumps(rows, indent=2), flush=True)
    if options.bursts:
        rows[f"{options.bursts} bursts of noise"] = streamed(recognizer, bursts(options.bursts))
        rows[f"{options.bursts} bursts of noise, no VAD"] = streamed(recognizer, bursts(options.bursts), vad=False)
    if options.hours:
        parts = (compose(strings, 60.0, rng)[0] for _ in range(round(60 * options.hours)))
        rows[f"{options.hours:g} hours"] = streamed(recognizer, parts)
    print(json.dumps(rows, indent=2))
    if options.output:
        options.output.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
