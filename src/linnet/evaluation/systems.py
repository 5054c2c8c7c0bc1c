"""What an evaluation scores: a model, another system, or existing transcripts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from linnet.data.sources import Source
from linnet.errors import OptionError
from linnet.evaluation.hypotheses import UtteranceHypothesis, pair, read_hypotheses
from linnet.evaluation.log import ScoredRow
from linnet.evaluation.pace import paced
from linnet.evaluation.run import EvaluationOptions, evaluate_rows, score_given
from linnet.machine import hardware, versions
from linnet.notices import Notify
from linnet.transcription.schedule import Progress

IN_SOURCE = "source"  # instead of a file: the source's own rows hold the hypotheses

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Work:
    """The requested rows of a source, and those that are not scored yet."""

    source: Source
    rows: Sequence[ScoredRow]
    pending: Sequence[ScoredRow]


class System(Protocol):
    """A system under evaluation."""

    @property
    def name(self) -> str:
        """Its name in the results."""
        ...

    def header(self, options: EvaluationOptions) -> dict[str, Any]:
        """What the rows are made with."""
        ...

    def session(self, batch_size: int) -> dict[str, Any]:
        """Where the rows are made."""
        ...

    def score(self, work: Work, options: EvaluationOptions, on_progress: OnProgress) -> Iterator[ScoredRow]:
        """The pending rows with their hypotheses, in any order."""
        ...


class ModelSystem:
    """A Linnet model or another system, loaded by `load` when first needed."""

    def __init__(self, load: Callable[[], Any]) -> None:
        self._load = load

    @cached_property
    def recognizer(self) -> Any:
        """The model or other system."""
        return self._load()

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.recognizer.name)

    def header(self, options: EvaluationOptions) -> dict[str, Any]:
        """See `System`."""
        return options.header(self.recognizer)

    def session(self, batch_size: int) -> dict[str, Any]:
        """See `System`."""
        return {
            "device": self.recognizer.device,
            "engine": self.recognizer.engine_name,
            "machine": hardware(self.recognizer.device),
            "batch_size": batch_size,
            "versions": versions("linnet", "torch", "transformers"),
        }

    def score(self, work: Work, options: EvaluationOptions, on_progress: OnProgress) -> Iterator[ScoredRow]:
        """See `System`."""
        return evaluate_rows(self.recognizer, work.pending, options, on_progress=on_progress)


class ExistingHypotheses:
    """Existing transcripts: in a file, or in the source's own rows (`IN_SOURCE`)."""

    def __init__(self, path: str, missing: str, notify: Notify) -> None:
        if missing not in ("error", "deletions"):
            raise OptionError(f"missing {missing!r} is unknown: use error or deletions")
        self._path, self._missing, self._notify = path, missing, notify

    @property
    def name(self) -> str:
        """The file's path."""
        return self._path

    def header(self, options: EvaluationOptions) -> dict[str, Any]:
        """See `System`."""
        return {"model": self.name, "revision": self._digest(), "dtype": None, "options": {}, **options.scoring()}

    def _digest(self) -> str | None:
        if self._path == IN_SOURCE:
            return None
        try:
            with Path(self._path).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()[:12]
        except OSError as error:
            raise OptionError(f"{self._path}: cannot read the hypotheses: {error.strerror}") from error

    def session(self, batch_size: int) -> dict[str, Any]:
        """Nothing ran here."""
        del batch_size
        return {"versions": versions("linnet")}

    def score(self, work: Work, options: EvaluationOptions, on_progress: OnProgress) -> Iterator[ScoredRow]:
        """See `System`."""
        del on_progress  # which counts seconds of audio
        found = self._in(work.source, work.rows) if self._path == IN_SOURCE else self._of_file(work.rows)
        by_row = {row.row: one for row, one in zip(work.rows, found, strict=True)}
        scored = score_given(work.pending, [by_row[row.row] for row in work.pending], options)
        return paced(scored, self._notify, "scored", len(work.pending))

    def _in(self, source: Source, rows: Sequence[ScoredRow]) -> list[UtteranceHypothesis | None]:
        wanted = {row.row: place for place, row in enumerate(rows)}
        found: list[UtteranceHypothesis | None] = [
            UtteranceHypothesis(row.id, "") if self._missing == "deletions" else None for row in rows
        ]
        for number, one in enumerate(paced(source, self._notify, "read")):
            if number in wanted and one.hypothesis is not None:
                found[wanted[number]] = UtteranceHypothesis(
                    one.id, one.hypothesis, seconds=one.seconds, duration=one.duration
                )
        return found

    def _of_file(self, rows: Sequence[ScoredRow]) -> list[UtteranceHypothesis | None]:
        read = read_hypotheses(Path(self._path), known={row.id for row in rows}, notify=self._notify)
        pairing = pair(read, rows, missing="deletions" if self._missing == "deletions" else "error")
        for line in [*read.lines(), *pairing.lines()]:
            self._notify(line)
        return pairing.found
