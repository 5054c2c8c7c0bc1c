"""`linnet evaluate`: the word error rate of a model on a manifest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.cli import options as shared
from linnet.cli.console import Reporter, Row, make_reporter, print_result, traced
from linnet.cli.options import ModelChoice, numbers, option

if TYPE_CHECKING:
    from linnet.decoding.options import DecodingOptions
    from linnet.evaluation.log import RowLog, ScoredRow
    from linnet.evaluation.normalisers import Normalizers
    from linnet.evaluation.report import Summary
    from linnet.evaluation.run import EvaluationOptions
    from linnet.transcription.recognizer import Recognizer

Manifest = Annotated[
    Path, typer.Argument(metavar="MANIFEST", help="JSONL with the keys audio and text, and language, speaker, id.")
]
Normalizer = Annotated[
    str,
    option(
        "--normalizer",
        metavar="NAME",
        help="auto (english for English, else marks), english, marks, basic, cased or none. The English one joins "
        "digits spoken one by one: 'three one four' is one word, 314. For digit strings choose marks.",
    ),
]
Language = Annotated[
    str | None,
    option("--language", metavar="CODE", help="Of all utterances. By default each row's own, else detected."),
]
Output = Annotated[
    Path | None,
    option(
        "--output",
        metavar="FILE",
        help="File for a JSON line for each utterance, written when it is done; a second run with the same file goes "
        "on where the first one ended. In a folder: MANIFEST's name with .evaluation.jsonl.",
    ),
]
Limit = Annotated[int | None, option("--limit", help="Only the first utterances with a text.", min=1, metavar="N")]
Restart = Annotated[bool, option("--restart", help="Drop the rows that an earlier run left in --output.")]
AsJson = Annotated[bool, option("--json", help="Print the result as JSON.")]


def evaluate(
    manifest: Manifest,
    model: shared.Model = None,
    language: Language = None,
    normalizer: Normalizer = "auto",
    output: Output = None,
    restart: Restart = False,
    limit: Limit = None,
    as_json: AsJson = False,
    prompt: shared.Prompt = None,
    timestamps: shared.Timestamps = True,
    device: shared.Device = "auto",
    engine: shared.Engine = "auto",
    compute_type: shared.ComputeType = "auto",
    dtype: shared.DType = "auto",
    threads: shared.Threads = None,
    long_form: shared.LongForm = None,
    vad: shared.Vad = True,
    batch_size: shared.BatchSize = 1,
    beam_size: shared.BeamSize = 1,
    max_new_tokens: shared.MaxNewTokens = None,
    temperature: shared.Temperature = "0,0.2,0.4,0.6,0.8,1",
    seed: shared.Seed = 0,
    channel: shared.Channel = "mix",
    offline: shared.Offline = False,
    progress: shared.ProgressKind = "auto",
    verbose: shared.Verbose = False,
) -> None:
    """Measure a model: corpus word error rate with its 95 % interval, and RTFx.

    The WER is errors summed over reference words summed, counted by jiwer after normalisation. An utterance whose
    sound cannot be read is listed and not scored, and the exit status is 1.
    """
    from linnet.decoding.options import DecodingOptions

    with traced(verbose):
        decoding = DecodingOptions(
            language=language,
            prompt=prompt,
            timestamps=timestamps,
            beam_size=beam_size,
            max_new_tokens=max_new_tokens,
            temperatures=numbers(temperature, "temperature"),
            long_form=long_form,  # type: ignore[arg-type]  # checked by DecodingOptions
            vad=vad,
            seed=seed,
        )
        choice = ModelChoice(model, device, dtype, offline, engine, compute_type, threads)
        command = _Command(manifest, choice, decoding, normalizer, batch_size=batch_size, channel=channel)
        with make_reporter(progress) as reporter:
            summary = command.run(_rows_file(output, manifest), reporter, restart=restart, limit=limit)
        _print(summary, as_json=as_json)
    if summary.failed:
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Command:
    """One call of `linnet evaluate`."""

    manifest: Path
    model: ModelChoice
    decoding: DecodingOptions
    normalizer: str
    batch_size: int
    channel: str

    def run(self, output: Path | None, reporter: Reporter, *, restart: bool, limit: int | None) -> Summary:
        """Score what is not scored yet; the summary is over all rows that were asked for."""
        from linnet.data.manifest import read_manifest
        from linnet.evaluation.normalisers import Normalizers, find_spelling
        from linnet.evaluation.report import summarize
        from linnet.evaluation.run import EvaluationOptions, select, still_open

        Normalizers(self.normalizer)  # an unknown name shall be told before the model is loaded
        rows, without = select(read_manifest(self.manifest), limit)
        recognizer = self.model.load(reporter.notice)
        normalizers = Normalizers(self.normalizer, find_spelling(recognizer.name))
        _tell_normalizer(normalizers, [self.decoding.language or row.language for row in rows], reporter)
        options = EvaluationOptions(self.decoding, normalizers, self.batch_size, self.channel)
        header, session = options.header(recognizer), self._session(recognizer)
        with ExitStack() as stack:
            log = None if output is None else stack.enter_context(_open(output, header, session, restart=restart))
            done = {} if log is None else log.rows
            pending = still_open(rows, done)
            if done:
                reporter.notice(f"{len(rows) - len(pending)} of {len(rows)} utterances are done already")
            scored = {row.row: done[row.row] for row in rows if row.row in done}
            scored |= self._score(recognizer, pending, options, log, reporter)
        sessions = [session] if log is None else log.sessions
        return summarize(scored.values(), made_with=header, sessions=sessions, without_text=without)

    def _score(
        self,
        recognizer: Recognizer,
        pending: Sequence[ScoredRow],
        options: EvaluationOptions,
        log: RowLog | None,
        reporter: Reporter,
    ) -> dict[int, ScoredRow]:
        from linnet.evaluation.run import evaluate_rows

        scored: dict[int, ScoredRow] = {}
        reporter.begin(len(pending))
        try:
            for row in evaluate_rows(recognizer, pending, options, on_progress=reporter.progress):
                scored[row.row] = row
                if log is not None:
                    log.add(row)
                status = "failed" if row.error else "done"
                reporter.finished(Row(row.audio, status, row.duration, row.seconds, row.error))
        except KeyboardInterrupt:
            kept = "nothing is kept without --output" if log is None else "run it again to go on"
            reporter.notice(f"stopped: {len(scored)} of {len(pending)} utterances done; {kept}")
            raise typer.Exit(130) from None
        return scored

    def _session(self, recognizer: Recognizer) -> dict[str, Any]:
        import torch
        import transformers

        from linnet import __version__
        from linnet.evaluation.report import machine

        return {
            "device": recognizer.device,
            "engine": recognizer.engine_name,
            "machine": machine(recognizer.device),
            "batch_size": self.batch_size,
            "versions": {"linnet": __version__, "torch": torch.__version__, "transformers": transformers.__version__},
        }


def _rows_file(output: Path | None, manifest: Path) -> Path | None:
    if output is None or not output.is_dir():
        return output
    return output / f"{manifest.stem}.evaluation.jsonl"


def _open(path: Path, header: dict[str, Any], session: dict[str, Any], *, restart: bool) -> RowLog:
    from linnet.evaluation.log import RowLog

    return RowLog.open(path, header, session, restart=restart)


def _tell_normalizer(normalizers: Normalizers, languages: Sequence[str | None], reporter: Reporter) -> None:
    used = {normalizers.name(language) for language in languages}
    if "english" in used and normalizers.spelling.origin is None:
        reporter.notice(
            "no list of British and American spellings (normalizer.json) is there: colour and color count as different "
            "words; linnet models pull openai/whisper-tiny  brings one"
        )
    if normalizers.choice == "auto" and None in languages:
        reporter.notice("normalizer: marks where no language is given (--language en chooses the English one)")


def _print(summary: Summary, *, as_json: bool) -> None:
    if as_json:
        print_result(json.dumps(summary.to_dict(), ensure_ascii=False, indent=2) + "\n")
        return
    lines = summary.lines()
    width = max(len(name) for name, _ in lines)
    print_result("".join(f"{name:<{width}}  {value}\n" for name, value in lines))
