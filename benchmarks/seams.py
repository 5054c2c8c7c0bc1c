"""Full stops at the seams of windows: how many the model invents or misses there, and how many between other words.

    python benchmarks/seams.py --model tiny.en [--speech ../shared/data/speech]

Recordings of `long` and `accents`, whose texts have their punctuation. A place counts where both words beside it were
heard as they are written; a stop is one of . ? ! in the transcript, and one of . ? ! ; : in the text.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rapidfuzz.distance import Levenshtein

import linnet
from linnet.transcription import longform
from linnet.transcription.transcript import Segment

NEAR = 0.6  # seconds between a segment's end and the window's


class Windows:
    """The ends, in seconds, of the windows that batched long-form hears."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self._settle = longform._settle
        longform._settle = self  # type: ignore[assignment]

    def __call__(self, pending: Any, heard: Any, *more: Any) -> Any:
        """In the place of `longform._settle`."""
        self.ends += [one.end / 16_000 for one in pending if one.start in heard and not one.again]
        return self._settle(pending, heard, *more)


def places(text: str, segments: tuple[Segment, ...], ends: list[float]) -> Iterator[tuple[str, bool, bool]]:
    """Of each place between two words: where it is, whether the transcript has a stop there, whether the text has."""
    said = text.split()
    heard = [
        (word, number, last)
        for number, segment in enumerate(segments)
        for words in [segment.text.split()]
        for word, last in zip(words, [False] * (len(words) - 1) + [True], strict=True)
    ]
    blocks = Levenshtein.opcodes([bare(word) for word in said], [bare(word) for word, _, _ in heard])
    pairs = {
        block.dest_start + step: block.src_start + step
        for block in blocks
        if block.tag == "equal"
        for step in range(block.src_end - block.src_start)
    }
    for place, (word, number, last) in enumerate(heard[:-1]):
        if pairs.get(place, -2) + 1 != pairs.get(place + 1):
            continue
        where = "within segments"
        if last:
            start, end = segments[number].end - NEAR, segments[number + 1].start + NEAR
            where = "at seams" if any(start <= one <= end for one in ends) else "between segments"
        yield where, ends_in(word, ".?!"), ends_in(said[pairs[place]], ".?!;:")


def bare(word: str) -> str:
    """A word without marks."""
    return re.sub(r"[^a-z0-9']", "", word.lower())


def ends_in(word: str, marks: str) -> bool:
    """Whether a word ends in one of the marks, quotes aside."""
    return bool(last := word.rstrip("\"')")[-1:]) and last in marks


def main() -> None:
    """Transcribe, count, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--speech", type=Path, default=Path("../shared/data/speech"))
    given = parser.parse_args()
    recognizer, windows = linnet.load(given.model), Windows()
    language = "en" if len(recognizer.languages) > 1 else None
    found: Counter[tuple[str, str]] = Counter()
    for folder in (given.speech / "long", given.speech / "accents"):
        for row in map(json.loads, (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()):
            if row.get("language") != "en":
                continue
            windows.ends.clear()
            transcript = recognizer.transcribe(folder / row["audio"], language=language)
            for where, stop, meant in places(row["text"], transcript.segments, windows.ends):
                kind = "right" if stop and meant else "invented" if stop else "missed" if meant else "none"
                found[where, kind] += 1
    for where in ("at seams", "between segments", "within segments"):
        print(where, {kind: found[where, kind] for kind in ("right", "invented", "missed", "none")})


if __name__ == "__main__":
    main()
