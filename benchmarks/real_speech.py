"""What the benchmarks on real recordings share: manifests, halves for tuning and for the report, counting of errors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from linnet.scoring.alignment import align
from linnet.text.normalizers import Normalizers

SPEECH = Path(__file__).resolve().parents[2] / "shared" / "data" / "speech"
PARTS = ("tuning", "report", "all")


@dataclass(frozen=True)
class SpeechClip:
    """One recording of a set, with its text; empty where nobody speaks."""

    path: Path
    text: str
    kind: str = ""


def read_clips(speech: Path, sets: Sequence[str], part: str = "all") -> list[SpeechClip]:
    """The clips of these sets that are in one part; a clip's part is a hash of its file name, so it never changes."""
    clips = []
    for name in sets:
        for line in (speech / name / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            path = speech / name / row["audio"]
            if part in ("all", part_of(path.name)):
                clips.append(SpeechClip(path, row["text"] or "", row.get("class") or row.get("kind") or name))
    return clips


def part_of(name: str) -> str:
    """Of each two clips one serves to choose settings, the other to report what they do.

    >>> {part_of(f"{number}.wav") for number in range(20)} == {"tuning", "report"}
    True
    """
    return PARTS[hashlib.sha256(name.encode()).digest()[-1] % 2]


@dataclass
class Errors:
    """Word errors over texts, and the runs of deleted words in them."""

    words: int = 0
    substituted: int = 0
    deleted: int = 0
    inserted: int = 0
    runs: list[str] = field(default_factory=list)  # of `SHORTEST_RUN` or more deleted words
    invented: list[str] = field(default_factory=list)  # as many inserted ones

    def percent(self, count: int) -> float:
        """A count in percent of the reference's words."""
        return round(100.0 * count / max(self.words, 1), 2)

    def to_dict(self) -> dict[str, Any]:
        """Rates in percent, for JSON."""
        total = self.substituted + self.deleted + self.inserted
        rates = {"wer": total, "deleted": self.deleted, "inserted": self.inserted, "substituted": self.substituted}
        return {
            "words": self.words,
            **{name: self.percent(count) for name, count in rates.items()},
            "deleted_runs": self.runs,
            "inserted_runs": self.invented,
        }


SHORTEST_RUN = 4
_ENGLISH = Normalizers("english")


def count(reference: Sequence[str], hypothesis: Sequence[str]) -> Errors:
    """The errors of pairs of texts, after Whisper's normalization of English."""
    errors = Errors()
    for said, heard in zip(reference, hypothesis, strict=True):
        words = _ENGLISH.normalize(said, "en").split()
        found = align(words, _ENGLISH.normalize(heard, "en").split())
        errors.words += len(words)
        errors.deleted += sum(word is None for word in found.hypothesis)
        errors.substituted += sum(
            word is not None and word != said for word, said in zip(found.hypothesis, words, strict=True)
        )
        errors.inserted += sum(map(len, found.inserted))
        errors.invented += [" ".join(run) for run in found.inserted if len(run) >= SHORTEST_RUN]
        errors.runs += _runs(words, [word is None for word in found.hypothesis])
    return errors


def _runs(words: Sequence[str], deleted: Sequence[bool]) -> list[str]:
    runs: list[list[str]] = [[]]
    for word, gone in zip(words, deleted, strict=True):
        if gone:
            runs[-1].append(word)
        elif runs[-1]:
            runs.append([])
    return [" ".join(run) for run in runs if len(run) >= SHORTEST_RUN]
