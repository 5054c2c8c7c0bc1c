"""`linnet data`: prepare corpora for training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.cli import options as shared
from linnet.cli.console import notice, print_result, traced
from linnet.cli.options import option
from linnet.errors import OptionError

if TYPE_CHECKING:
    from linnet.models.resolve import ModelRef
    from linnet.transcription.word_alignment import TextAligner, Transcriber

app = typer.Typer(help="Prepare corpora: align words.", no_args_is_help=True)


@app.callback()
def _root() -> None:
    """Prepare corpora: align words."""


@app.command()
def align(
    manifest: Annotated[str, typer.Argument(metavar="MANIFEST", help="Manifest, or another source of utterances.")],
    output: Annotated[
        Path, option("--output", verb="data align", metavar="FILE", help="Output JSONL: the rows with word times.")
    ],
    model: shared.Model = None,
    transcribe: Annotated[
        bool, option("--transcribe", help="Transcribe rows without text by the model itself.")
    ] = False,
    limit: Annotated[int, option("--limit", metavar="N", min=0, help="Process the first N rows only; 0: all.")] = 0,
    loss: Annotated[
        float,
        option(
            "--loss",
            metavar="NATS",
            min=0.0,
            help="Skip rows whose mean loss per token exceeds NATS.",
        ),
    ] = 1.5,
    device: shared.Device = "auto",
    threads: shared.Threads = None,
    verbose: shared.Verbose = False,
) -> None:
    """Add word times to a corpus, for causal training, by forced alignment with a Whisper or CTC model.

    Each row gets  words: [{"word", "start", "end"}, ...]  and  score, the mean log-probability of its text (of a CTC
    model: per token, relative to the text that it hears itself). Rows whose text does not match their audio are skipped
    and counted.
    """
    from dataclasses import replace
    from itertools import islice

    from linnet.data import open_source
    from linnet.data.aligned import aligned_line
    from linnet.data.manifest import place
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
                utterance = replace(row.utterance, audio=place(row.utterance.audio, output.parent))
                file.write(f"{aligned_line(utterance, row.words, **more)}\n".encode(errors="backslashreplace"))
            if not report.aligned:
                raise OptionError("\n".join([f"{manifest}: no row could be aligned", *report.lines()]))
        for line in (*source.report.lines(), *report.lines()):
            notice(line)
        print_result(f"{output}\n")


def _load(
    name: str | None, device: str, threads: int | None, *, transcribe: bool
) -> tuple[TextAligner, Transcriber | None]:
    """Load the aligner of a model, and its transcriber if requested."""
    place, ref = shared.place_and_model(name, device, threads, notice)
    aligner = _aligner(ref, place)
    if not transcribe:
        return aligner, None
    from linnet.transcription.recognizer import load

    recognizer = load(ref.name, device=device, threads=threads)

    def transcriber(samples: Any, language: str | None) -> str:
        spoken = language if language in recognizer.languages else None
        return recognizer.transcribe(samples, language=spoken, timestamps=False).text

    return aligner, transcriber


def _aligner(ref: ModelRef, device: str) -> TextAligner:
    """In float32. Raises `OptionError` for a model that cannot align."""
    import torch

    from linnet.models.families import CTC, WHISPER, family_of

    family = family_of(ref.path)
    if family is WHISPER:
        from linnet.alignment.forced import ForcedAligner
        from linnet.engines.torch import TorchEngine
        from linnet.models.whisper import load_whisper

        whisper = load_whisper(ref.path, name=ref.name, device=device, dtype=torch.float32)
        return ForcedAligner(whisper, TorchEngine(whisper))
    if family is CTC:
        from linnet.alignment.ctc_forced import CtcAligner
        from linnet.models.speech import load_speech_model

        return CtcAligner(load_speech_model(ref, device=device, dtype=torch.float32))
    raise OptionError(f"model {ref.name} cannot align words: choose a Whisper-family or CTC model")
