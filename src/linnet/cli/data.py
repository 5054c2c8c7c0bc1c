"""`linnet data`: what corpora are made ready with before training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.cli import options as shared
from linnet.cli.console import notice, print_result, traced
from linnet.cli.options import option
from linnet.errors import OptionError

if TYPE_CHECKING:
    from linnet.transcription.word_alignment import Transcriber

app = typer.Typer(help="Prepare corpora: word times.", no_args_is_help=True)


@app.callback()
def _root() -> None:
    """Prepare corpora: word times."""


@app.command()
def align(
    manifest: Annotated[str, typer.Argument(metavar="MANIFEST", help="Manifest or other source of utterances.")],
    output: Annotated[
        Path, option("--output", verb="data align", metavar="FILE", help="JSONL to write: the rows with word times.")
    ],
    model: shared.Model = None,
    transcribe: Annotated[
        bool, option("--transcribe", help="Give rows without a text the model's own transcript.")
    ] = False,
    limit: Annotated[int, option("--limit", metavar="N", min=0, help="Only the first N rows; 0: all.")] = 0,
    loss: Annotated[
        float,
        option(
            "--loss", metavar="NATS", min=0.0, help="Leave out rows whose text the model finds less likely a token."
        ),
    ] = 1.5,
    device: shared.Device = "auto",
    threads: shared.Threads = None,
    verbose: shared.Verbose = False,
) -> None:
    """Add the time of each word to a corpus, for causal training: the model reads the text and shows where it looks.

    Each row gets  words: [{"word", "start", "end"}, ...]  and  score, its text's mean log-probability. Rows whose text
    does not fit their sound are left out and counted.
    """
    from itertools import islice

    from linnet.data import open_source
    from linnet.data.aligned import aligned_line
    from linnet.files import whole_file
    from linnet.transcription.word_alignment import AlignmentLimits, AlignmentReport, align_utterances

    with traced(verbose):
        source = open_source(manifest)
        aligner, transcriber = _load(model, device, threads, transcribe=transcribe)
        report = AlignmentReport()
        rows = islice(source, limit or None)
        with whole_file(output) as file:
            limits = AlignmentLimits(loss=loss)
            for row in align_utterances(rows, aligner, report, transcribe=transcriber, limits=limits):
                more = {} if row.score is None else {"score": row.score}
                file.write(f"{aligned_line(row.utterance, row.words, **more)}\n".encode(errors="backslashreplace"))
            if not report.aligned:
                raise OptionError("\n".join([f"{manifest}: no row could be aligned", *report.lines()]))
        for line in (*source.report.lines(), *report.lines()):
            notice(line)
        print_result(f"{output}\n")


def _load(name: str | None, device: str, threads: int | None, *, transcribe: bool) -> tuple[Any, Transcriber | None]:
    """The aligner of a model, and its transcriber where one is wanted."""
    import torch

    from linnet.alignment.forced import ForcedAligner
    from linnet.engines.torch import TorchEngine
    from linnet.models.default import resolve_default
    from linnet.models.device import choose_device
    from linnet.models.families import WHISPER, family_of
    from linnet.models.resolve import resolve
    from linnet.models.whisper import load_whisper

    if threads:
        torch.set_num_threads(threads)
    place, _ = choose_device(device)
    ref = resolve_default(place != "cpu", notify=notice) if name is None else resolve(name, notify=notice)
    if family_of(ref.path) is not WHISPER:
        raise OptionError(f"model {ref.name} has no alignment heads: only Whisper-family models have")
    whisper = load_whisper(ref.path, name=ref.name, device=place, dtype=torch.float32)
    if not transcribe:
        return ForcedAligner(whisper, TorchEngine(whisper)), None
    from linnet.transcription.recognizer import load

    recognizer = load(ref.name, device=device, threads=threads)

    def transcriber(samples: Any, language: str | None) -> str:
        spoken = language if language in recognizer.languages else None
        return recognizer.transcribe(samples, language=spoken, timestamps=False).text

    return ForcedAligner(whisper, TorchEngine(whisper)), transcriber
