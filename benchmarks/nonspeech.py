"""Words written where nobody speaks: Linnet beside faster-whisper, with its voice activity and without, same weights.

    python benchmarks/nonspeech.py --model tiny.en --peer-model ~/weights/ct2/tiny.en [--part report] [--output FILE]

Sets: `noise` (environmental noise, cries, silence, instrumental music) and noise of our own: digital silence, white and
brown noise and hum of 3 to 40 s at four levels, from a seed. `music_vocals` is sung, so its words are counted apart. A
clip of the files belongs to the half `tuning` or `report` by a hash of its name; Linnet's rules were chosen with all of
`noise` in view, so only what is made here is new to them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import real_speech
from real_speech import read_clips

import linnet
from linnet.audio import SAMPLE_RATE, load
from linnet.audio.types import Samples

LEVELS = (-70.0, -50.0, -30.0, -15.0)  # dB below full scale
SECONDS = (3, 10, 29, 40)
SUNG = ("music_vocals", "Karissa")  # "Let's Go Fishing" lies among the noise
Hear = Callable[[Samples], str]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a name or folder that linnet loads")
    parser.add_argument("--peer-model", type=Path, help="the same weights for CTranslate2")
    parser.add_argument("--part", choices=real_speech.PARTS, default="all")
    parser.add_argument("--speech", type=Path, default=real_speech.SPEECH)
    parser.add_argument("--output", type=Path, help="JSON with every text")
    return parser.parse_args()


def made(seed: int = 5) -> Iterator[tuple[str, Samples]]:
    """Silence, hiss, rumble and hum: 52 clips."""
    rng = np.random.default_rng(seed)
    for seconds in SECONDS:
        count = seconds * SAMPLE_RATE
        yield f"silence {seconds} s", np.zeros(count, np.float32)
        for level in LEVELS:
            white = rng.standard_normal(count)
            brown = np.cumsum(white) - np.linspace(0, white.sum(), count)
            hum = sum(np.sin(2 * np.pi * 50 * k * np.arange(count) / SAMPLE_RATE) / k for k in (1, 2, 3, 5))
            for kind, sound in (("white", white), ("brown", brown), ("hum", hum)):
                scaled = sound * 10 ** (level / 20) / np.sqrt(np.mean(np.square(sound)))
                yield f"{kind} {level:g} dB {seconds} s", np.clip(scaled, -1, 1).astype(np.float32)


def recordings(speech: Path, part: str) -> Iterator[tuple[str, str, Samples]]:
    """Kind, name and sound of every clip."""
    for clip in read_clips(speech, ["noise", "music_vocals"], part):
        sung = any(mark in str(clip.path) for mark in SUNG)
        yield "sung" if sung else "noise", clip.path.name, load(str(clip.path)).samples
    for name, samples in made():
        yield "made", name, samples


def systems(options: argparse.Namespace) -> dict[str, Hear]:
    """What hears, by name: each a function of samples at 16 kHz."""
    language = None if str(options.model).endswith(".en") else "en"
    recognizer = linnet.load(str(options.model))
    found: dict[str, Hear] = {"linnet": lambda samples: recognizer.transcribe(samples, language=language).text}
    if options.peer_model is not None:
        from faster_whisper import BatchedInferencePipeline, WhisperModel

        peer = WhisperModel(str(options.peer_model), device="cpu", compute_type="int8")
        batched = BatchedInferencePipeline(peer)

        def text(result: Any) -> str:
            return " ".join(segment.text.strip() for segment in result[0])

        found["faster-whisper, VAD"] = lambda s: text(peer.transcribe(s, language="en", vad_filter=True))
        found["faster-whisper, batched"] = lambda s: text(batched.transcribe(s, language="en"))
        found["faster-whisper"] = lambda s: text(peer.transcribe(s, language="en"))
    return found


def main() -> None:
    """Hear everything with every system, then print the table."""
    options = arguments()
    clips = list(recordings(options.speech, options.part))
    counts = {kind: sum(1 for one, _, _ in clips if one == kind) for kind in ("noise", "made", "sung")}
    print("| system | " + " | ".join(f"{kind}: words, clips of {count}" for kind, count in counts.items()) + " |")
    print("|---" * (1 + len(counts)) + "|", flush=True)
    rows = []
    for system, hear in systems(options).items():
        texts = []
        for kind, name, samples in clips:
            texts.append((kind, hear(samples)))
            rows.append({"system": system, "kind": kind, "name": name, "text": texts[-1][1]})
        cells = []
        for kind in counts:
            words = [len(text.split()) for one, text in texts if one == kind]
            cells.append(f"{sum(words)}, {sum(count > 0 for count in words)}")
        print(f"| {system} | " + " | ".join(cells) + " |", flush=True)
    if options.output is not None:
        options.output.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for row in rows:
        if row["system"] == "linnet" and row["text"]:
            print(f"{row['kind']} {row['name']}: {row['text'][:80]}", file=sys.stderr)


if __name__ == "__main__":
    main()
