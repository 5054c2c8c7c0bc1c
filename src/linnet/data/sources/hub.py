"""Data sets of the Hugging Face Hub, through the library `datasets` and its cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from linnet.data import fields
from linnet.data.fields import BadRow
from linnet.data.manifest import Utterance
from linnet.data.sources.base import Found, Problem, SourceSpec
from linnet.data.sources.tables import TEXTS, read_tables
from linnet.errors import MissingExtra, OptionError

_AUDIO = "audio"  # the folder with the audio of a data set of pieces


def read_hub(spec: SourceSpec) -> Iterator[Found]:
    """The rows of one split (by default `test`) of a data set, read from the tables cached by `datasets`.

    `HF_TOKEN` gives access to gated data sets, `HF_HUB_OFFLINE=1` uses only what is cached.

    Raises:
        OptionError: it is unavailable (name, subset or split, gated, no network).
        MissingExtra: `datasets` is not installed.
    """
    files = [Path(file["filename"]) for file in _load(spec).cache_files]
    return (found for file in files for found in read_tables(replace(spec, path=str(file), split=None)))


def read_hub_chunks(spec: SourceSpec) -> Iterator[Found]:
    """Pieces of recordings: rows of `file_name`, `parent_id` and `chunk_index`, with the files in the folder `audio/`.

    The `parent` data set has the text of each whole recording under its `id`. An utterance is a piece; its text is that
    of the whole `recording` and `chunk` its position, so hypotheses must be joined before scoring.

    Raises:
        OptionError: no `parent` is named, or one of the two is unavailable.
        MissingExtra: `datasets` is not installed.
    """
    if spec.parent is None:
        raise OptionError(f"{spec.path}: pieces of recordings need the key parent, the data set with the texts")
    pieces, parents = _load(spec), _load(replace(spec, path=spec.parent, subset=None, revision=None))
    column = spec.text or next((name for name in TEXTS if name in parents.column_names), "text")
    texts = {str(row["id"]): row[column] for row in parents.select_columns(["id", column])}
    folder = _download(spec) / _AUDIO
    keep = [name for name in ("file_name", "parent_id", "chunk_index", "duration") if name in pieces.column_names]
    for number, row in enumerate(pieces.select_columns(keep), start=1):
        try:
            recording = fields.label(row, "parent_id")
            name = fields.label(row, "file_name")
            if recording not in texts or name is None:
                raise BadRow(f"{spec.parent} has no text of the recording {recording!r}, or file_name is empty")
            duration, chunk = fields.seconds(row, "duration"), fields.integer(row, "chunk_index")
            text, audio = texts[recording], str(folder / name)
            yield Utterance(audio, text, duration, id=name, recording=recording, chunk=chunk)
        except BadRow as error:
            yield Problem(f"row {number}", str(error))


def _load(spec: SourceSpec) -> Any:
    """The split as a `datasets.Dataset`."""
    split = spec.split or "test"
    with _fetching(spec, split) as datasets:
        return datasets.load_dataset(spec.path, spec.subset, split=split, revision=spec.revision)


def _download(spec: SourceSpec) -> Path:
    """Download the audio; returns the local folder."""
    from huggingface_hub import snapshot_download

    with _fetching(spec, _AUDIO):
        return Path(
            snapshot_download(spec.path, repo_type="dataset", revision=spec.revision, allow_patterns=[f"{_AUDIO}/*"])
        )


@contextmanager
def _fetching(spec: SourceSpec, what: str) -> Iterator[Any]:
    """The library `datasets`; failures of the Hub become an `OptionError`."""
    try:
        import datasets
        from datasets.exceptions import DatasetsError
    except ImportError as error:
        raise MissingExtra("a data set of the Hub", extra="datasets") from error
    try:
        yield datasets
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        named = " ".join(part for part in (spec.path, spec.subset, what, spec.revision) if part)
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise OptionError(
            f"{named}: is unavailable on the Hub ({reason}); check the name and the network, and for a gated data set "
            "accept its terms on its page and set HF_TOKEN"
        ) from error
