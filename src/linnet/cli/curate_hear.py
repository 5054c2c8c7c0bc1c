"""`linnet curate hear`: what a recognizer's sounds tell of the transcripts of a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linnet.cli import options as shared
from linnet.cli.console import notice, print_result, traced
from linnet.cli.options import option
from linnet.errors import OptionError

if TYPE_CHECKING:
    from linnet.alignment.gain import GainScorer

SourceName = Annotated[str, typer.Argument(metavar="SOURCE", help="Manifest, or another source of utterances.")]
Output = Annotated[Path, option("--output", verb="curate hear", metavar="FILE", help="JSONL: a row per utterance.")]
Batch = Annotated[
    int, option("--batch-size", verb="curate hear", metavar="N", min=1, help="Recordings computed together.")
]


def hear(
    source: SourceName,
    output: Output,
    model: shared.Model = None,
    batch: Batch = 8,
    device: shared.Device = "auto",
    threads: shared.Threads = None,
    verbose: shared.Verbose = False,
) -> None:
    """Measure how much each recording tells of its transcript, by a Whisper-family model, for linnet curate --heard.

    A row's gain is the mean over its tokens of their log-probability with the sound minus that with silence, in nats:
    several where the text is said, about 0 where it is another one. A second run with the same file resumes.
    """
    from linnet.curation.hearing import hear_texts
    from linnet.data import open_source

    with traced(verbose):
        opened = open_source(source)
        name, scorer = load_scorer(model, device, threads)
        report = hear_texts(opened, output, scorer, name, batch)
        for line in (*opened.report.lines(), *report.lines()):
            notice(line)
        print_result(f"{output}\n")


def load_scorer(name: str | None, device: str, threads: int | None) -> tuple[str, GainScorer]:
    """The scorer of a model in float32, and its name. Raises `OptionError` for one that is not of Whisper's family."""
    import torch

    from linnet.alignment.gain import GainScorer
    from linnet.engines.torch import TorchEngine
    from linnet.models.families import WHISPER, family_of
    from linnet.models.whisper import load_whisper

    place, ref = shared.place_and_model(name, device, threads, notice)
    if family_of(ref.path) is not WHISPER:
        raise OptionError(f"model {ref.name} cannot score a text without its sound: choose a Whisper-family model")
    whisper = load_whisper(ref.path, name=ref.name, device=place, dtype=torch.float32)
    return ref.name, GainScorer(whisper, TorchEngine(whisper))
