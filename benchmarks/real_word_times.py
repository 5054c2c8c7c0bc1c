"""Word times on real speech: Linnet beside faster-whisper and openai-whisper on the same weights.

    python benchmarks/real_word_times.py --weights FOLDER [--models tiny.en,base] [--data ../shared/data/speech]
        [--systems linnet-int8,linnet-f32,faster-whisper-int8,faster-whisper-f32,openai-whisper] --output FOLDER

FOLDER of the weights holds a Transformers folder for each model and `ct2/MODEL` for faster-whisper; the checkpoint of
openai-whisper is made of the former (`openai_weights.py`). Every system decodes greedily, in English, the same 16 kHz
samples. What a system said is kept as `OUTPUT/MODEL.SYSTEM.json`; a system whose file is there is not run again, so
each may run in its own environment, and the table is of all files.

Sets: `aligned_hand` (labels set by hand, 9 clips) and `aligned_lj` (Montreal Forced Aligner), the latter in two halves
by a hash of the clip's name: Linnet's constants were chosen on `lj_dev`; `lj_test` and `hand` are only reported. A word
counts where it was heard (the project's aligner on lower-case letters and digits); rows `heard` are of the words that
a system heard, rows `all` of the words that all systems of a model heard, so that they compare the same words.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linnet.audio.source import open_audio
from linnet.audio.types import SAMPLE_RATE
from linnet.scoring.alignment import align

ROOT = Path(__file__).parents[1]
TOLERANCES = (0.04, 0.08, 0.2)
SYSTEMS = ("linnet-int8", "linnet-f32", "faster-whisper-int8", "faster-whisper-f32", "openai-whisper")
Timed = tuple[str, float, float]  # word, start, end
Samples = NDArray[np.float32]
Transcriber = Callable[[Samples], list[Timed]]


@dataclass(frozen=True)
class AlignedClip:
    """One labeled clip; `part` is hand, lj_dev or lj_test."""

    name: str
    part: str
    samples: Samples
    words: list[Timed]


def main() -> None:
    """Run what is asked for and not there, then print the table of everything there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--models", default="tiny.en,base")
    parser.add_argument("--systems", default=",".join(SYSTEMS))
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data/speech")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    clips = [*read_clips(options.data / "aligned_hand"), *read_clips(options.data / "aligned_lj")]
    for model in options.models.split(","):
        for system in options.systems.split(","):
            kept = options.output / f"{model}.{system}.json"
            if not kept.is_file():
                transcribe = open_system(system, options.weights, model, options.output)
                kept.write_text(json.dumps({clip.name: transcribe(clip.samples) for clip in clips}))
        print_table(clips, model, options.output)


def read_clips(folder: Path) -> list[AlignedClip]:
    """The clips of a manifest whose rows have `words`; labels that are no words (`*`) are left out."""
    clips = []
    for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        with open_audio(str(folder / row["audio"])) as source:
            samples = source.read(0, round(60 * SAMPLE_RATE))
        words = [(one["word"], one["start"], one["end"]) for one in row["words"] if plain(one["word"])]
        name = Path(row["audio"]).stem
        clips.append(AlignedClip(name, part_of(folder.name, name), samples, words))
    return clips


def part_of(folder: str, name: str) -> str:
    """`hand`, or one of the halves of LJ Speech by the clip's name."""
    if folder == "aligned_hand":
        return "hand"
    return ("lj_dev", "lj_test")[hashlib.sha256(name.encode()).digest()[0] % 2]


def plain(word: str) -> str:
    """Lower-case letters, digits and apostrophes of a word."""
    return re.sub(r"[^\w']", "", word.lower())


def open_system(system: str, weights: Path, model: str, output: Path) -> Transcriber:
    """A function from samples to timed words."""
    name, _, precision = system.rpartition("-")
    if name == "linnet":
        return _linnet(weights / model, precision)
    if name == "faster-whisper":
        return _faster_whisper(weights / "ct2" / model, precision)
    return _openai_whisper(weights / model, output / f"{model}.pt")


def _linnet(folder: Path, precision: str) -> Transcriber:
    import linnet

    recognizer = linnet.load(str(folder), compute_type=precision)

    def transcribe(samples: Samples) -> list[Timed]:
        words = recognizer.transcribe(samples, language="en", word_timestamps=True).words
        return [(word.word, word.start, word.end) for word in words]

    return transcribe


def _faster_whisper(folder: Path, precision: str) -> Transcriber:
    from faster_whisper import WhisperModel

    loaded = WhisperModel(str(folder), device="cpu", compute_type={"f32": "float32"}.get(precision, precision))

    def transcribe(samples: Samples) -> list[Timed]:
        segments, _ = loaded.transcribe(samples, language="en", word_timestamps=True, beam_size=1)
        return [(word.word, float(word.start), float(word.end)) for one in segments for word in one.words or ()]

    return transcribe


def _openai_whisper(folder: Path, checkpoint: Path) -> Transcriber:
    import whisper  # type: ignore[import-untyped,unused-ignore,import-not-found]
    from openai_weights import write_openai_checkpoint

    write_openai_checkpoint(folder, checkpoint)
    loaded: Any = whisper.load_model(str(checkpoint), device="cpu")
    heads = json.loads((folder / "generation_config.json").read_text())["alignment_heads"]
    mask = np.zeros((loaded.dims.n_text_layer, loaded.dims.n_text_head), bool)
    mask[tuple(np.array(heads).T)] = True
    import torch

    loaded.register_buffer("alignment_heads", torch.from_numpy(mask).to_sparse(), persistent=False)

    def transcribe(samples: Samples) -> list[Timed]:
        found = loaded.transcribe(samples, language="en", word_timestamps=True, fp16=False)
        return [
            (word["word"], float(word["start"]), float(word["end"]))
            for one in found["segments"]
            for word in one["words"]
        ]

    return transcribe


def match(words: list[Timed], heard: list[Timed]) -> dict[int, Timed]:
    """For each place of a labeled word that was heard, what was heard there."""
    said = [plain(word) for word, _, _ in words]
    kept = [one for one in heard if plain(one[0])]
    aligned = align(said, [plain(word) for word, _, _ in kept])
    found, at = {}, 0
    for place, (word, inserted) in enumerate(zip(aligned.hypothesis, aligned.inserted, strict=False)):
        at += len(inserted)
        if word is not None:
            if word == said[place]:
                found[place] = kept[at]
            at += 1
    return found


def errors(
    clips: Iterable[AlignedClip], heard: dict[str, list[Timed]], only: set[tuple[str, int]] | None
) -> NDArray[Any]:
    """Signed errors of starts and ends in seconds, [words, 2]."""
    rows = []
    for clip in clips:
        for place, (_, start, end) in match(clip.words, heard[clip.name]).items():
            if only is None or (clip.name, place) in only:
                rows.append((start - clip.words[place][1], end - clip.words[place][2]))
    return np.array(rows).reshape(-1, 2)


def print_table(clips: list[AlignedClip], model: str, output: Path) -> None:
    """One Markdown row for each part, set of words and system."""
    files = {system: output / f"{model}.{system}.json" for system in SYSTEMS}
    heard = {system: json.loads(path.read_text()) for system, path in files.items() if path.is_file()}
    both = {
        (clip.name, place)
        for clip in clips
        for place in set.intersection(*(set(match(clip.words, said[clip.name])) for said in heard.values()))
    }
    limits = "/".join(f"{1000 * limit:.0f}" for limit in TOLERANCES)
    print(f"\n| {model} | words | system | n | missing | starts within {limits} ms | ends within {limits} ms |")
    print("|---|---|---|---|---|---|---|")
    for part in ("hand", "lj_test", "lj_dev"):
        own = [clip for clip in clips if clip.part == part]
        for name, only in (("all", both), ("heard", None)):
            for system, said in heard.items():
                found = errors(own, said, only)
                missing = sum(len(clip.words) for clip in own) - len(errors(own, said, None))
                print(f"| {part} | {name} | {system} | {len(found)} | {missing} | {_cells(found)} |")


def _cells(found: NDArray[Any]) -> str:
    cells = []
    for side in (0, 1):
        size = np.abs(found[:, side])
        shares = " / ".join(f"{100 * float(np.mean(size <= limit + 1e-6)):.1f}" for limit in TOLERANCES)
        bias = 1000 * float(np.median(found[:, side]))
        cells.append(f"{shares} % (median {1000 * float(np.median(size)):.0f}, bias {bias:+.0f})")
    return " | ".join(cells)


if __name__ == "__main__":
    main()
