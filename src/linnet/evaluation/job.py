"""One evaluation: score a system on a source, resuming from its rows file, and summarize it."""

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
from linnet.evaluation.streams.report import summarize_streams
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
        """A notice: a choice that was made, something skipped."""
        ...

    def begin(self, files: int) -> None:
        """The work starts, on `files` recordings."""
        ...

    def progress(self, progress: Progress) -> None:
        """Progress within one recording."""
        ...

    def finished(self, row: ScoredRow) -> None:
        """One recording is finished."""
        ...


@dataclass(frozen=True)
class Scoring:
    """How audio is decoded and texts are compared."""

    normalizer: str
    protocol: str
    decoding: TranscriptionOptions
    batch_size: int
    channel: str

    def options(self, model: str) -> EvaluationOptions:
        """Evaluation options with the spelling list of `model`. Raises `OptionError` for an unknown name."""
        normalizers = Normalizers(self.normalizer, find_spelling(model))
        return EvaluationOptions(self.decoding, normalizers, self.batch_size, self.channel, self.protocol)

    def check(self) -> None:
        """Reject unknown names before a model is loaded. Raises `OptionError`."""
        Normalizers(self.normalizer)
        find_protocol(self.protocol).align()


@dataclass(frozen=True)
class Files:
    """Where rows and the report are written, and which rows are scored."""

    rows: Path | None
    report: Path | None
    restart: bool
    limit: int | None

    def in_folder(self, name: str) -> Files:
        """With a rows file named after `name` if `rows` is a folder."""
        if self.rows is None or not self.rows.is_dir():
            return self
        return replace(self, rows=self.rows / f"{name}.evaluation.jsonl")


@dataclass(frozen=True)
class EvaluationJob:
    """A system to be scored."""

    system: System
    scoring: Scoring
    watch: Watch

    def of(self, one: SuiteSet) -> EvaluationJob:
        """The same job with the scoring that a suite's set asks for."""
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
        """Score the rows that are not scored yet; the summary covers all requested rows."""
        self.scoring.check()
        if source.kind != "linnet":
            self.watch.notice(f"{source.name}: read as {source.kind} ({source.looks})")
        try:
            rows, without = select(paced(source, self.watch.notice, "read"), files.limit)
        finally:
            for line in source.report.lines():
                self.watch.notice(line)
        options = self.scoring.options(self.system.name)
        self._notify(options, rows)
        header, session = self.system.header(options), self.system.session(options.batch_size)
        with ExitStack() as stack:
            log = None
            if files.rows is not None:
                log = stack.enter_context(RowLog.open(files.rows, header, session, restart=files.restart))
                for line in bad_lines(files.rows, log.bad, "are scored again"):
                    self.watch.notice(line)
            done = {} if log is None else log.rows
            pending = still_open(rows, done)
            if done:
                self.watch.notice(f"{len(rows) - len(pending)} of {len(rows)} utterances are already scored")
            scored = {row.row: done[row.row] for row in rows if row.row in done}
            if pending:
                scored |= self._score(Work(source, rows, pending), options, log)
        sessions = [session] if log is None else log.sessions
        whole = join_chunks(scored.values(), options)
        stream = summarize_streams(scored.values(), options.normalizers, options.decoding.language)
        summary = summarize(whole, made_with=header, sessions=sessions, without_text=without, stream=stream)
        if files.report is not None:
            self._page(files.report, whole, summary, source, options)
        return summary

    def run_suite(self, name: str, files: Files) -> list[SetResult]:
        """Score all sets of a suite; one that is unavailable or fails is skipped and its reason reported.

        Raises `OptionError` for output options that do not work with several sets.
        """
        if files.rows is not None and not files.rows.is_dir():
            raise OptionError(f"--output {files.rows}: with --suite it must be an existing folder")
        if files.report is not None:
            raise OptionError("--report covers one set: make it from a set's rows file, with --hypotheses")
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
                self.watch.notice(f"set {one.name}: skipped: {result.reason}")
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
            kept = "nothing is kept without --output" if log is None else "run it again to resume"
            watch.notice(f"stopped: {len(scored)} of {len(pending)} utterances done; {kept}")
            raise
        return scored

    def _page(
        self, path: Path, rows: Sequence[ScoredRow], summary: Summary, source: Source, options: EvaluationOptions
    ) -> None:
        with UtteranceReader() as reader:

            def read(row: ScoredRow, seconds: float) -> Samples:
                return reader.read(utterance_of(row), options.channel).samples[: round(seconds * SAMPLE_RATE)]

            write_report(path, rows, summary, PageOptions(title=f"{self.system.name} on {source.name}", read=read))
        self.watch.notice(f"report written to {path}")

    def _notify(self, options: EvaluationOptions, rows: Sequence[ScoredRow]) -> None:
        languages = {options.decoding.language or row.language for row in rows}
        normalizers = options.normalizers
        names = {normalizers.name(language) for language in languages}
        if normalizers.spelling.origin is None and not names.isdisjoint(ENGLISH):
            self.watch.notice(
                "no list of British and American spellings (normalizer.json) available: colour and color count as "
                "different words; get one with  linnet models pull openai/whisper-tiny"
            )
        if normalizers.choice == "auto" and None in languages:
            self.watch.notice("normalizer: unicode for rows without a language (--language en selects the English one)")
