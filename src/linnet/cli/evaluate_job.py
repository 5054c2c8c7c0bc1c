"""One evaluation: a system on a source, resumed from its file of rows, summed up, with a page of its errors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import typer

from linnet.cli.console import Reporter, Row
from linnet.cli.options import ModelChoice
from linnet.cli.processes import exit_status
from linnet.errors import OptionError
from linnet.urls import public_name

if TYPE_CHECKING:
    from linnet.data.sources import Source
    from linnet.data.suites import SuiteSet
    from linnet.decoding.options import DecodingOptions
    from linnet.evaluation.hypotheses import Hypothesis
    from linnet.evaluation.log import RowLog, ScoredRow
    from linnet.evaluation.report import Summary
    from linnet.evaluation.run import EvaluationOptions
    from linnet.transcription.schedule import Progress

    OnProgress = Callable[[Progress], None]

IN_SOURCE = "source"  # in the place of a file of hypotheses: the source's own rows hold them


@dataclass(frozen=True)
class Scoring:
    """How texts are compared and sounds decoded."""

    normalizer: str
    protocol: str
    decoding: DecodingOptions
    batch_size: int
    channel: str

    def options(self, model: str) -> EvaluationOptions:
        """With the list of spellings that `model` brings. Raises `OptionError` for an unknown name."""
        from linnet.evaluation.normalisers import Normalizers, find_spelling
        from linnet.evaluation.run import EvaluationOptions

        normalizers = Normalizers(self.normalizer, find_spelling(model))
        return EvaluationOptions(self.decoding, normalizers, self.batch_size, self.channel, self.protocol)

    def check(self) -> None:
        """Tell what is unknown before a model is loaded. Raises `OptionError`."""
        from linnet.evaluation.normalisers import Normalizers
        from linnet.evaluation.scores import find_protocol

        Normalizers(self.normalizer)
        find_protocol(self.protocol).align()


@dataclass(frozen=True)
class Files:
    """Where rows and the page go, and which rows are done."""

    rows: Path | None
    report: Path | None
    restart: bool
    limit: int | None

    def in_folder(self, name: str) -> Files:
        """With a file of its own for the rows of `name` where they go into a folder."""
        if self.rows is None or not self.rows.is_dir():
            return self
        return replace(self, rows=self.rows / f"{name}.evaluation.jsonl")


@dataclass(frozen=True)
class Work:
    """The rows of a source that are asked for, and those of them that are not scored yet."""

    source: Source
    rows: Sequence[ScoredRow]
    pending: Sequence[ScoredRow]


class System(Protocol):
    """What is evaluated."""

    @property
    def name(self) -> str:
        """As it stands in the result."""
        ...

    def header(self, options: EvaluationOptions) -> dict[str, Any]:
        """What rows are made with."""
        ...

    def session(self, batch_size: int) -> dict[str, Any]:
        """Where they are made."""
        ...

    def score(self, work: Work, options: EvaluationOptions, on_progress: OnProgress) -> Iterator[ScoredRow]:
        """Each pending row with what was heard, in any order."""
        ...


class Recognised:
    """A model of Linnet or another system, loaded when it is first needed."""

    def __init__(self, choice: ModelChoice, reporter: Reporter) -> None:
        self._choice, self._reporter = choice, reporter
        self._loaded: Any = None

    @property
    def recognizer(self) -> Any:
        """The model, or what stands in its place."""
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    def _load(self) -> Any:
        from linnet.evaluation.providers import ProviderOptions, ProviderRecognizer, names_provider, open_provider

        choice = self._choice
        if choice.name is None or not names_provider(choice.name):
            return choice.load(self._reporter.notice)
        asked = {"device": choice.device, "compute_type": choice.compute_type, "threads": choice.threads}
        given: dict[str, Any] = {key: value for key, value in asked.items() if value not in ("auto", None)}
        options = ProviderOptions(**given)
        return ProviderRecognizer(open_provider(choice.name, options, notify=self._reporter.notice))

    @property
    def name(self) -> str:
        """The model's."""
        return str(self.recognizer.name)

    def header(self, options: EvaluationOptions) -> dict[str, Any]:
        """See `System`."""
        return options.header(self.recognizer)

    def session(self, batch_size: int) -> dict[str, Any]:
        """See `System`."""
        from linnet.evaluation.report import machine
        from linnet.machine import versions

        return {
            "device": self.recognizer.device,
            "engine": self.recognizer.engine_name,
            "machine": machine(self.recognizer.device),
            "batch_size": batch_size,
            "versions": versions("linnet", "torch", "transformers"),
        }

    def score(self, work: Work, options: EvaluationOptions, on_progress: OnProgress) -> Iterator[ScoredRow]:
        """See `System`."""
        from linnet.evaluation.run import evaluate_rows

        return evaluate_rows(self.recognizer, work.pending, options, on_progress=on_progress)


class Given:
    """Transcripts that exist already: of a file, or those that the source's own rows hold (`IN_SOURCE`)."""

    def __init__(self, path: str, missing: str, reporter: Reporter) -> None:
        if missing not in ("error", "deletions"):
            raise OptionError(f"missing {missing!r} is unknown: use error or deletions")
        self._path, self._missing, self._reporter = path, missing, reporter

    @property
    def name(self) -> str:
        """The file's."""
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
        from linnet.machine import versions

        del batch_size
        return {"versions": versions("linnet")}

    def score(self, work: Work, options: EvaluationOptions, on_progress: OnProgress) -> Iterator[ScoredRow]:
        """See `System`."""
        from linnet.evaluation.pace import paced
        from linnet.evaluation.run import score_given

        del on_progress  # which is by seconds of sound
        found = self._in(work.source, work.rows) if self._path == IN_SOURCE else self._of_file(work.rows)
        heard = {row.row: one for row, one in zip(work.rows, found, strict=True)}
        scored = score_given(work.pending, [heard[row.row] for row in work.pending], options)
        return paced(scored, self._reporter.notice, "scored", len(work.pending))

    def _in(self, source: Source, rows: Sequence[ScoredRow]) -> list[Hypothesis | None]:
        from linnet.evaluation.hypotheses import Hypothesis
        from linnet.evaluation.pace import paced

        wanted = {row.row: place for place, row in enumerate(rows)}
        found: list[Hypothesis | None] = [
            Hypothesis(row.id, "") if self._missing == "deletions" else None for row in rows
        ]
        for number, one in enumerate(paced(source, self._reporter.notice, "read")):
            if number in wanted and one.hypothesis is not None:
                found[wanted[number]] = Hypothesis(one.id, one.hypothesis, seconds=one.seconds, duration=one.duration)
        return found

    def _of_file(self, rows: Sequence[ScoredRow]) -> list[Hypothesis | None]:
        from linnet.evaluation.hypotheses import pair, read_hypotheses

        tell = self._reporter.notice
        read = read_hypotheses(Path(self._path), known={row.id for row in rows}, tell=tell)
        pairing = pair(read, rows, missing="deletions" if self._missing == "deletions" else "error")
        for line in [*read.lines(), *pairing.lines()]:
            self._reporter.notice(line)
        return pairing.found


@dataclass(frozen=True)
class Job:
    """A system that is to be scored."""

    system: System
    scoring: Scoring
    reporter: Reporter

    def of(self, one: SuiteSet) -> Job:
        """Scored as a suite's set asks."""
        scoring = self.scoring
        return replace(
            self,
            scoring=replace(
                scoring,
                normalizer=one.normalizer or scoring.normalizer,
                protocol=one.protocol or scoring.protocol,
            ),
        )

    def run(self, source: Source, files: Files) -> Summary:
        """Score what is not scored yet; the summary is over all rows that were asked for."""
        from linnet.evaluation.log import RowLog, bad_lines
        from linnet.evaluation.pace import paced
        from linnet.evaluation.report import summarize
        from linnet.evaluation.run import join_chunks, select, still_open

        self.scoring.check()
        if source.kind != "linnet":
            self.reporter.notice(f"{source.name}: read as {source.kind} ({source.looks})")
        try:
            rows, without = select(paced(source, self.reporter.notice, "read"), files.limit)
        finally:
            for line in source.report.lines():
                self.reporter.notice(line)
        options = self.scoring.options(self.system.name)
        self._tell(options, rows)
        header, session = self.system.header(options), self.system.session(options.batch_size)
        with ExitStack() as stack:
            log = None
            if files.rows is not None:
                log = stack.enter_context(RowLog.open(files.rows, header, session, restart=files.restart))
                for line in bad_lines(files.rows, log.bad, "are done again"):
                    self.reporter.notice(line)
            done = {} if log is None else log.rows
            pending = still_open(rows, done)
            if done:
                self.reporter.notice(f"{len(rows) - len(pending)} of {len(rows)} utterances are done already")
            scored = {row.row: done[row.row] for row in rows if row.row in done}
            if pending:
                scored |= self._score(Work(source, rows, pending), options, log)
        sessions = [session] if log is None else log.sessions
        whole = join_chunks(scored.values(), options)
        summary = summarize(whole, made_with=header, sessions=sessions, without_text=without)
        if files.report is not None:
            self._page(files.report, whole, summary, source, options)
        return summary

    def _score(self, work: Work, options: EvaluationOptions, log: RowLog | None) -> dict[int, ScoredRow]:
        reporter, pending = self.reporter, work.pending
        scored: dict[int, ScoredRow] = {}
        reporter.begin(len(pending))
        try:
            for row in self.system.score(work, options, reporter.progress):
                scored[row.row] = row
                if log is not None:
                    log.add(row)
                status = "failed" if row.error else "done"
                reporter.finished(Row(public_name(row.audio), status, row.duration, row.seconds, row.error))
        except KeyboardInterrupt as stop:
            kept = "nothing is kept without --output" if log is None else "run it again to go on"
            reporter.notice(f"stopped: {len(scored)} of {len(pending)} utterances done; {kept}")
            raise typer.Exit(exit_status(stop)) from None
        return scored

    def _page(
        self, path: Path, rows: Sequence[ScoredRow], summary: Summary, source: Source, options: EvaluationOptions
    ) -> None:
        from linnet.audio import SAMPLE_RATE, Samples
        from linnet.data.samples import Listener
        from linnet.evaluation.html import PageOptions, write_report
        from linnet.evaluation.run import utterance_of

        with Listener() as listener:

            def read(row: ScoredRow, seconds: float) -> Samples:
                return listener.hear(utterance_of(row), options.channel).samples[: round(seconds * SAMPLE_RATE)]

            write_report(path, rows, summary, PageOptions(title=f"{self.system.name} on {source.name}", read=read))
        self.reporter.notice(f"the report is in {path}")

    def _tell(self, options: EvaluationOptions, rows: Sequence[ScoredRow]) -> None:
        from linnet.evaluation.normalisers import ENGLISH

        languages = {options.decoding.language or row.language for row in rows}
        normalizers = options.normalizers
        names = {normalizers.name(language) for language in languages}
        if normalizers.spelling.origin is None and not names.isdisjoint(ENGLISH):
            self.reporter.notice(
                "no list of British and American spellings (normalizer.json) is there: colour and color count as "
                "different words; linnet models pull openai/whisper-tiny  brings one"
            )
        if normalizers.choice == "auto" and None in languages:
            self.reporter.notice("normalizer: marks where no language is given (--language en chooses the English one)")
