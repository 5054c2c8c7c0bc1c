"""Speech without texts as training data: a model transcribes it once, before the run.

With another model's transcripts it is distillation by pseudo-labels (Kahn et al. 2020); with those of the very model
that is fine-tuned it is rehearsal: what the model already hears right stays in the mix while it learns something new.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, fields, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.audio import Samples
from linnet.data import SourceSpec, Utterance, open_source, write_manifest
from linnet.data.samples import UtteranceReader
from linnet.errors import AudioError, OptionError
from linnet.training.context import ALONE, RunContext
from linnet.training.speech.corpus_cache import has_key, made_by_another, stamp, write_key
from linnet.training.speech.recipe import TrainingSource

if TYPE_CHECKING:
    from linnet.transcription.recognizer import Recognizer


def with_transcripts(
    sources: Sequence[TrainingSource], folder: Path, context: RunContext = ALONE
) -> tuple[SourceSpec, ...]:
    """The same sources, where those that name a model in `transcribe_with` are manifests in `folder` with its texts.

    A manifest that already exists, of the same source and model, is used again. Of several processes on a machine
    the first one transcribes, and the others wait for it.

    Raises:
        OptionError: audio that cannot be read, without `context.skip_bad`; or nothing could be transcribed.
        ModelError: the model is missing or damaged.
    """
    found: list[SourceSpec] = []
    recognizers: dict[str, Recognizer] = {}
    for number, source in enumerate(sources):
        spec = plain_source(source)
        if not source.transcribe_with:
            found.append(spec)
            continue
        manifest = folder / f"{number}.jsonl"
        key = [asdict(spec), stamp(Path(spec.path)), source.transcribe_with, context.skip_bad]
        told = manifest.with_suffix(".key")
        if not made_by_another(told, key) and not (manifest.is_file() and has_key(told, key)):
            recognizer = recognizers.get(source.transcribe_with) or load_recognizer(source.transcribe_with)
            recognizers[source.transcribe_with] = recognizer
            utterances = list(open_source(spec))
            rows = list(_transcribed(recognizer, utterances, context))
            if not rows:
                raise OptionError(
                    f"{spec.path}: {source.transcribe_with} recognized no word in its {len(utterances)} rows."
                )
            context.notify(f"{spec.path}: {len(rows)} of {len(utterances)} rows have texts by {source.transcribe_with}")
            folder.mkdir(parents=True, exist_ok=True)
            write_manifest(manifest, rows)
            write_key(told, key)
        found.append(SourceSpec(str(manifest), kind="linnet", language=spec.language))
    return tuple(found)


def plain_source(source: SourceSpec) -> SourceSpec:
    """What is to be read, without what training does with it."""
    return SourceSpec(**{one.name: getattr(source, one.name) for one in fields(SourceSpec)})


def load_recognizer(name: str) -> Recognizer:
    """The model that transcribes a source without texts, on a GPU where there is one."""
    import torch

    from linnet.transcription.recognizer import load

    return load(name, threads=torch.get_num_threads())


def _transcribed(recognizer: Recognizer, utterances: Sequence[Utterance], context: RunContext) -> Iterator[Utterance]:
    """The utterances with what the model hears in them, language by language; none that it hears nothing in."""
    from linnet.decoding.options import DecodingOptions

    order = sorted(utterances, key=lambda one: one.language or "")
    for language, group in groupby(order, key=lambda one: one.language):
        spoken = language if language in recognizer.languages else None
        options = DecodingOptions(language=spoken, timestamps=False)
        rows: list[Utterance] = []
        with UtteranceReader() as listener:
            samples = _readable(group, listener, rows, context)
            for result in recognizer.transcribe_many(samples, options=options):
                if result.transcript is None:
                    raise OptionError(f"{rows[result.index].id}: {result.error}") from result.error
                if text := result.transcript.text.strip():
                    yield replace(rows[result.index], text=text, duration=result.duration)


def _readable(
    utterances: Iterable[Utterance], listener: UtteranceReader, rows: list[Utterance], context: RunContext
) -> Iterator[Samples]:
    """The samples of each utterance that can be read; those utterances go into `rows`."""
    for utterance in utterances:
        try:
            samples = listener.read(utterance).samples
        except AudioError as error:
            if not context.skip_bad:
                raise OptionError(f"{utterance.id}: {error} Leave such out with --skip-bad.") from error
            context.notify(f"left out: {utterance.id}: {error}")
            continue
        rows.append(utterance)
        yield samples
