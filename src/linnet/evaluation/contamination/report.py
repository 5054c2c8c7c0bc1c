"""The result of a search for contamination, as text and as JSON lines."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import Any

from linnet.data.duplicates import Coverage, Kind
from linnet.files import write_atomic

MOST_LISTED = 10  # matches of one kind per training utterance
SHOWN = 20  # matches in the text; the file has all


@dataclass(frozen=True)
class Match:
    """An evaluation utterance found in the training data; `score`, `start` and `covered` as in `Likeness`."""

    kind: Kind
    training: str
    evaluation: str
    score: float
    start: float | None = None
    covered: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, without missing values."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Contamination:
    """All matches, the number of contaminated evaluation utterances, and what was compared.

    Only the best ten matches of a kind are listed per training utterance; `utterances` (by kind) and `contaminated`
    count all matches.
    """

    matches: tuple[Match, ...]
    utterances: dict[Kind, int]
    contaminated: int
    training: Coverage
    evaluation: Coverage
    failures: tuple[str, ...] = field(default=())

    def lines(self) -> list[str]:
        """The result as lines of text."""
        total = self.evaluation.utterances
        lines = [f"{self.contaminated} of {total} evaluation utterances are in the training data in some form"]
        names = {"same-audio": "the same samples", "near-audio": "near-identical audio", "near-text": "similar text"}
        lines += [f"  {count} by {names[kind]}" for kind, count in self.utterances.items()]
        for name, seen in (("training", self.training), ("evaluation", self.evaluation)):
            lines.append(
                f"{name}: compared {seen.recordings} recordings, {seen.texts} texts of {seen.utterances} utterances; "
                f"too short: {seen.recordings_too_short} recordings, {seen.texts_too_short} texts; "
                f"unreadable: {seen.failed}"
            )
        lines += [f"  {reason}" for reason in self.failures]
        for match in self.matches[:SHOWN]:
            place = "" if match.start is None else f" at {match.start:.1f} s"
            lines.append(f"{match.kind} {match.score:.2f}: {match.evaluation} is in {match.training}{place}")
        if len(self.matches) > SHOWN:
            lines.append(f"and {len(self.matches) - SHOWN} more")
        return lines

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the matches as JSON lines, atomically. Raises `OutputError`."""
        write_atomic(path, "".join(json.dumps(match.to_dict(), ensure_ascii=False) + "\n" for match in self.matches))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, without the matches."""
        return {key: value for key, value in asdict(self).items() if key != "matches"}
