"""What a search for contamination finds, as lines of text and of JSON."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import Any

from linnet.data.duplicates import Coverage, Kind
from linnet.files import write_atomic

MOST_LISTED = 10  # matches of one kind of one training utterance
SHOWN = 20  # matches in the lines of text; the file has all


@dataclass(frozen=True)
class Match:
    """An evaluation utterance that the training data has.

    `score`, `start` (second of the training utterance at which the evaluation's sound begins) and `covered` are those
    of a `Likeness`.
    """

    kind: Kind
    training: str
    evaluation: str
    score: float
    start: float | None = None
    covered: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain values, without what is not known."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Contamination:
    """The result: all matches, which evaluation utterances they are of, and what was compared.

    Of one training utterance only the best ten matches of a kind are listed; `utterances` and `contaminated` count the
    evaluation utterances of all of them.
    """

    matches: tuple[Match, ...]
    utterances: dict[Kind, int]
    contaminated: int
    training: Coverage
    evaluation: Coverage
    failures: tuple[str, ...] = field(default=())

    def lines(self) -> list[str]:
        """Sentences for the user."""
        total = self.evaluation.utterances
        said = [f"{self.contaminated} of {total} evaluation utterances are in the training data in some form"]
        names = {"same-sound": "the same samples", "near-sound": "the same sound", "near-text": "nearly the same text"}
        said += [f"  {count} by {names[kind]}" for kind, count in self.utterances.items()]
        for name, seen in (("training", self.training), ("evaluation", self.evaluation)):
            said.append(
                f"{name}: compared {seen.sounds} sounds and {seen.texts} texts of {seen.utterances} utterances; "
                f"too short to compare: {seen.sounds_too_short} sounds, {seen.texts_too_short} texts; "
                f"not readable: {seen.failed}"
            )
        said += [f"  {reason}" for reason in self.failures]
        for match in self.matches[:SHOWN]:
            place = "" if match.start is None else f" at {match.start:.1f} s"
            said.append(f"{match.kind} {match.score:.2f}: {match.evaluation} is in {match.training}{place}")
        if len(self.matches) > SHOWN:
            said.append(f"and {len(self.matches) - SHOWN} more")
        return said

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the matches as JSON lines, the whole file or none. Raises `OutputError`."""
        write_atomic(path, "".join(json.dumps(match.to_dict(), ensure_ascii=False) + "\n" for match in self.matches))

    def to_dict(self) -> dict[str, Any]:
        """As plain values, without the matches."""
        return {key: value for key, value in asdict(self).items() if key != "matches"}
