"""Data sets of the Hugging Face Hub, through the library `datasets`, which fetches each once into its cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from linnet.data.sources.base import Found, SourceSpec
from linnet.data.sources.tables import read_tables
from linnet.errors import MissingExtra, OptionError


def read_hub(spec: SourceSpec) -> Iterator[Found]:
    """The rows of one split (by default `test`) of a data set, read from the tables that `datasets` keeps.

    The sounds stay bytes: no decoder of `datasets` is used. `HF_TOKEN` opens what is gated, `HF_HUB_OFFLINE=1` keeps
    to what was fetched before.

    Raises:
        OptionError: it cannot be had (no such name, subset or split, gated, no network). MissingExtra: `datasets` is
            not installed.
    """
    return (found for file in _fetch(spec) for found in read_tables(replace(spec, path=str(file), split=None)))


def _fetch(spec: SourceSpec) -> list[Path]:
    """The table files of the split."""
    try:
        import datasets
        from datasets.exceptions import DatasetsError
    except ImportError as error:
        raise MissingExtra("a data set of the Hub", extra="datasets") from error
    split = spec.split or "test"
    try:
        held: Any = datasets.load_dataset(spec.path, spec.subset, split=split, revision=spec.revision)
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        named = " ".join(part for part in (spec.path, spec.subset, split, spec.revision) if part)
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise OptionError(
            f"{named}: cannot be had from the Hub ({reason}); check the name and the network, and for a gated data set "
            "accept its terms on its page and set HF_TOKEN"
        ) from error
    return [Path(file["filename"]) for file in held.cache_files]
