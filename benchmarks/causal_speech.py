"""Training data for a causal model from recordings without word times: pieces of at most 25 s, in a model's own words.

    python benchmarks/causal_speech.py MANIFEST... --output build/causal [--model base] [--held 8]

Writes `train.jsonl` and `dev.jsonl` (every `--held`-th recording of the first manifest, whole) with the words that the
model hears and their times. Recordings are cut at the longest pauses between words. Texts of the manifests are not
used.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import linnet
from linnet.data import Utterance, open_source
from linnet.data.aligned import aligned_line
from linnet.data.manifest import WordTime, place
from linnet.data.samples import UtteranceReader
from linnet.files import whole_file

LONGEST, ASIDE = 25.0, 0.3  # seconds: of a piece, and of sound kept before and after its words


def main() -> None:
    """Write both manifests."""
    options = arguments()
    recognizer = linnet.load(options.model, threads=options.threads)
    lines: dict[str, list[str]] = {"train": [], "dev": []}
    with UtteranceReader() as reader:
        for number, manifest in enumerate(options.manifests):
            rows = [row for row in open_source(str(manifest)) if (row.language or "en") == "en"]
            for index, row in enumerate(rows):
                samples = reader.read(row).samples
                heard = recognizer.transcribe(samples, language="en", word_timestamps=True)
                words = [
                    WordTime(word.word.strip(), word.start, word.end) for one in heard.segments for word in one.words
                ]
                held = number == 0 and index % options.held == 0
                lines["dev" if held else "train"] += pieces(row, words, heard.duration, options.output)
    options.output.mkdir(parents=True, exist_ok=True)
    for name, found in lines.items():
        with whole_file(options.output / f"{name}.jsonl") as file:
            file.write("".join(f"{line}\n" for line in found).encode())
        print(f"{options.output / name}.jsonl: {len(found)} pieces")


def pieces(row: Utterance, words: list[WordTime], seconds: float, folder: Path) -> Iterator[str]:
    """The lines of a recording with these words."""
    at = row.start or 0.0
    for first, last in cuts(words):
        start = max((words[first - 1].end + words[first].start) / 2, words[first].start - ASIDE) if first else 0.0
        whole = last == len(words)
        end = seconds if whole else min((words[last - 1].end + words[last].start) / 2, words[last - 1].end + ASIDE)
        own = [replace(one, start=max(one.start - start, 0.0), end=one.end - start) for one in words[first:last]]
        piece = replace(
            row,
            audio=place(row.audio, folder),
            id=f"{row.id}-{first}",
            text=" ".join(one.word for one in own),
            language="en",
            start=at + start,
            end=at + end,
            duration=end - start,
        )
        yield aligned_line(piece, own)


def cuts(words: list[WordTime], first: int = 0) -> Iterator[tuple[int, int]]:
    """Ranges of words of at most `LONGEST` seconds, halved at the longest pause until they fit."""
    if not words:
        return
    if words[-1].end - words[0].start <= LONGEST or len(words) == 1:
        yield first, first + len(words)
        return
    inner = range(max(len(words) // 4, 1), max(3 * len(words) // 4, 2))
    where = max(inner, key=lambda place: words[place].start - words[place - 1].end)
    yield from cuts(words[:where], first)
    yield from cuts(words[where:], first + where)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", default="base")
    parser.add_argument("--held", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
