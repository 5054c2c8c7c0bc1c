"""One evaluation: a system on a source, resumed from its file of rows, summed up, with a page of its errors."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from linnet.audio import SAMPLE_RATE, Samples
from linnet.data.samples import UtteranceReader
from linnet.data.sources import Source
from linnet.data.suites import SuiteSet, open_sets, read_suite
from linnet.errors import LinnetError, OptionError
from linnet.evaluation.html import PageOptions, write_report
from linnet.evaluation.log import RowLog, ScoredRow, bad_lines
from linnet.evaluation.pace import paced
from linnet.evaluation.report import Summary, summarize
from linnet.evaluation.run import EvaluationOptions, join_chunks, select, still_open, utterance_of
from linnet.evaluation.suite import SetResult
from linnet.evaluation.systems import System, Work
from linnet.models.spelling import find_spelling
from linnet.scoring.scores import find_protocol
from linnet.text.normalizers import ENGLISH, Normalizers
from linnet.transcription.options import TranscriptionOptions
from linnet.transcription.schedule import Progress


class Watch(Protocol):
    """Receives the progress of an evaluation."""

    def notice(self, text: str) -> None:
        """Something to know: a choice that was made, something left out."""
        ...

    def begin(self, files: int) -> None:
        """The work starts, on this number of recordings."""
        ...

    def progress(self, progress: Progress) -> None:
        """One recording has come so far."""
        ...

    def finished(self, row: ScoredRow) -> None:
        """One recording is over."""
        ...


@dataclass(frozen=True)
class Scoring:
    """How texts are compared and sounds decoded."""

    normalizer: str
    protocol: str
    decoding: TranscriptionOptions
    batch_size: int
    channel: str

    def options(self, model: str) -> EvaluationOptions:
        """With the list of spellings that `model` brings. Raises `OptionError` for an unknown name."""
        normalizers = Normalizers(self.normalizer, find_spelling(model))
        return EvaluationOptions(self.decoding, normalizers, self.batch_size, self.channel, self.protocol)

    def check(self) -> None:
        """Tell what is unknown before a model is loaded. Raises `OptionError`."""
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
        """With its own file for the rows of `name` where they go into a folder."""
        if self.rows is None or not self.rows.is_dir():
            return self
        return replace(self, rows=self.rows / f"{name}.evaluation.jsonl")


@dataclass(frozen=True)
class EvaluationJob:
    """A system that is to be scored."""

    system: System
    scoring: Scoring
    watch: Watch

    def of(self, one: SuiteSet) -> EvaluationJob:
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
        self.scoring.check()
        if source.kind != "linnet":
            self.watch.notice(f"{source.name}: read as {source.kind} ({source.looks})")
        try:
            rows, without = select(paced(source, self.watch.notice, "read"), files.limit)
        finally:
            for line in source.report.lines():
                self.watch.notice(line)
        options = self.scoring.options(self.system.name)
        self._tell(options, rows)
        header, session = self.system.header(options), self.system.session(options.batch_size)
        with ExitStack() as stack:
            log = None
            if files.rows is not None:
                log = stack.enter_context(RowLog.open(files.rows, header, session, restart=files.restart))
                for line in bad_lines(files.rows, log.bad, "are done again"):
                    self.watch.notice(line)
            done = {} if log is None else log.rows
            pending = still_open(rows, done)
            if done:
                self.watch.notice(f"{len(rows) - len(pending)} of {len(rows)} utterances are done already")
            scored = {row.row: done[row.row] for row in rows if row.row in done}
            if pending:
                scored |= self._score(Work(source, rows, pending), options, log)
        sessions = [session] if log is None else log.sessions
        whole = join_chunks(scored.values(), options)
        summary = summarize(whole, made_with=header, sessions=sessions, without_text=without)
        if files.report is not None:
            self._page(files.report, whole, summary, source, options)
        return summary

    def run_suite(self, name: str, files: Files) -> list[SetResult]:
        """Score all sets of a suite; one that cannot be had, or fails, is left out with its reason.

        Raises `OptionError` for files that cannot be those of several sets.
        """
        if files.rows is not None and not files.rows.is_dir():
            raise OptionError(f"--output {files.rows}: with --suite it must be an existing folder")
        if files.report is not None:
            raise OptionError("--report is of one set: make it from a set's file of rows, with --hypotheses")
        results = []
        for opened in open_sets(read_suite(name)):
            one = opened.set
            self.watch.notice(f"set {one.name}")
            result = SetResult(one, reason=str(opened.error))
            if opened.source is not None:
                try:
                    result = SetResult(one, self.of(one).run(opened.source, files.in_folder(one.name)))
                except LinnetError as error:
                    result = SetResult(one, reason=str(error))
            if result.reason is not None:
                self.watch.notice(f"set {one.name}: left out: {result.reason}")
            results.append(result)
        return results

    def _score(self, work: Work, options: EvaluationOptions, log: RowLog | None) -> dict[int, ScoredRow]:
        watch, pending = self.watch, work.pending
        scored: dict[int, ScoredRow] = {}
        watch.begin(len(pending))
        try:
            for row in self.system.score(work, options, watch.progress):
                scored[row.row] = row
                if log is not None:
                    log.add(row)
                watch.finished(row)
        except KeyboardInterrupt:
            kept = "nothing is kept without --output" if log is None else "run it again to go on"
            watch.notice(f"stopped: {len(scored)} of {len(pending)} utterances done; {kept}")
            raise
        return scored

    def _page(
        self, path: Path, rows: Sequence[ScoredRow], summary: Summary, source: Source, options: EvaluationOptions
    ) -> None:
        with UtteranceReader() as listener:

            def read(row: ScoredRow, seconds: float) -> Samples:
                return listener.hear(utterance_of(row), options.channel).samples[: round(seconds * SAMPLE_RATE)]

            write_report(path, rows, summary, PageOptions(title=f"{self.system.name} on {source.name}", read=read))
        self.watch.notice(f"the report is in {path}")

    def _tell(self, options: EvaluationOptions, rows: Sequence[ScoredRow]) -> None:
        languages = {options.decoding.language or row.language for row in rows}
        normalizers = options.normalizers
        names = {normalizers.name(language) for language in languages}
        if normalizers.spelling.origin is None and not names.isdisjoint(ENGLISH):
            self.watch.notice(
                "no list of British and American spellings (normalizer.json) available: colour and color count as "
                "different words; linnet models pull openai/whisper-tiny  brings one"
            )
        if normalizers.choice == "auto" and None in languages:
            self.watch.notice("normalizer: unicode where no language is given (--language en chooses the English one)")
