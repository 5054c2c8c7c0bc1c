"""Untranscribed speech as training data, transcribed once by a model before the run.

Transcripts of another model are pseudo-labels (Kahn et al. 2020); those of the fine-tuned model itself are rehearsal
against forgetting.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, fields, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.audio import Samples
from linnet.data import SourceSpec, Utterance, open_source, write_manifest
from linnet.data.manifest import place
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
    """The sources, with those that name a model in `transcribe_with` replaced by manifests in `folder` with its texts.

    Existing manifests of the same source and model are reused. The first process on a machine transcribes, the others
    wait for it.

    Raises:
        OptionError: unreadable audio, without `context.skip_bad`; or nothing could be transcribed.
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
        key_file = manifest.with_suffix(".key")
        if not made_by_another(key_file, key) and not (manifest.is_file() and has_key(key_file, key)):
            recognizer = recognizers.get(source.transcribe_with) or load_recognizer(source.transcribe_with)
            recognizers[source.transcribe_with] = recognizer
            utterances = list(open_source(spec))
            rows = list(_transcribed(recognizer, utterances, context))
            if not rows:
                raise OptionError(
                    f"{spec.path}: {source.transcribe_with} recognized no words in its {len(utterances)} rows."
                )
            context.notify(f"{spec.path}: {len(rows)} of {len(utterances)} rows have texts by {source.transcribe_with}")
            folder.mkdir(parents=True, exist_ok=True)
            write_manifest(manifest, [replace(one, audio=place(one.audio, folder)) for one in rows])
            write_key(key_file, key)
        found.append(SourceSpec(str(manifest), kind="linnet", language=spec.language))
    return tuple(found)


def plain_source(source: SourceSpec) -> SourceSpec:
    """The plain `SourceSpec` of a training source."""
    return SourceSpec(**{one.name: getattr(source, one.name) for one in fields(SourceSpec)})


def load_recognizer(name: str) -> Recognizer:
    """The model that transcribes a source, on a GPU if available."""
    import torch

    from linnet.transcription.recognizer import load

    return load(name, threads=torch.get_num_threads())


def _transcribed(recognizer: Recognizer, utterances: Sequence[Utterance], context: RunContext) -> Iterator[Utterance]:
    """The utterances with the model's transcripts, language by language, without empty ones."""
    from linnet.decoding.options import DecodingOptions

    order = sorted(utterances, key=lambda one: one.language or "")
    for language, group in groupby(order, key=lambda one: one.language):
        spoken = language if language in recognizer.languages else None
        options = DecodingOptions(language=spoken, timestamps=False)
        rows: list[Utterance] = []
        with UtteranceReader() as reader:
            samples = _readable(group, reader, rows, context)
            for result in recognizer.transcribe_many(samples, options=options):
                if result.transcript is None:
                    raise OptionError(f"{rows[result.index].id}: {result.error}") from result.error
                if text := result.transcript.text.strip():
                    yield replace(rows[result.index], text=text, duration=result.duration)


def _readable(
    utterances: Iterable[Utterance], reader: UtteranceReader, rows: list[Utterance], context: RunContext
) -> Iterator[Samples]:
    """The samples of each readable utterance, which is appended to `rows`."""
    for utterance in utterances:
        try:
            samples = reader.read(utterance).samples
        except AudioError as error:
            if not context.skip_bad:
                raise OptionError(f"{utterance.id}: {error} Skip such utterances with --skip-bad.") from error
            context.notify(f"skipped: {utterance.id}: {error}")
            continue
        rows.append(utterance)
        yield samples
