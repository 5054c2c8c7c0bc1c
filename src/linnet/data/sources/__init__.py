"""Sources of utterances: one lazy reader per format, each with a report of invalid rows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

from linnet.data.sources.base import Found, Problem, Reader, Source, SourceReport, SourceSpec
from linnet.data.sources.embedded import AudioInputs
from linnet.errors import OptionError
from linnet.settings import unknown

__all__ = ["KINDS", "AudioInputs", "Problem", "Source", "SourceReport", "SourceSpec", "open_source", "require_kind"]


KINDS = {
    "linnet": ("jsonl", "read_linnet"),
    "nemo": ("jsonl", "read_nemo"),
    "leaderboard": ("jsonl", "read_leaderboard"),
    "lhotse": ("lhotse", "read_lhotse"),
    "kaldi": ("kaldi", "read_kaldi"),
    "common-voice": ("common_voice", "read_common_voice"),
    "parquet": ("tables", "read_tables"),
    "arrow": ("tables", "read_tables"),
    "hub": ("hub", "read_hub"),
    "hub-chunks": ("hub", "read_hub_chunks"),
}  # format: module of this package and function in it


def open_source(source: str | os.PathLike[str] | SourceSpec, kind: str | None = None) -> Source:
    """Open a source of utterances by a path, a Hub id or a `SourceSpec`.

    The format is detected (`looks` says how) unless `kind` or the form `KIND:PATH` names it. Only the first lines are
    read until the source is iterated.

    Raises:
        OptionError: it does not exist or is of an unknown kind.

    >>> open_source("nemo:train.json").kind
    'nemo'
    """
    from linnet.data.sources.detect import detect

    spec = source if isinstance(source, SourceSpec) else SourceSpec(os.fspath(source))
    kind = kind or spec.kind
    head, colon, tail = spec.path.partition(":")
    if kind is None and colon and head in KINDS:
        kind, spec = head, replace(spec, path=tail)
    if kind is None:
        kind, looks = detect(spec.path)
    else:
        looks = "named"
    require_kind(replace(spec, kind=kind))
    return Source(spec, kind, _reader(kind), looks)


def require_kind(spec: SourceSpec) -> None:
    """Raise an `OptionError` for a source of an unknown kind."""
    kind = spec.kind
    if kind is not None and kind not in KINDS:
        raise OptionError(unknown("kind of source", kind, KINDS))


def _reader(kind: str) -> Reader:
    """The reader of a kind; its module is imported on first use."""
    module, function = KINDS[kind]

    def read(spec: SourceSpec) -> Iterator[Found]:
        from importlib import import_module

        reader: Reader = getattr(import_module(f"{__name__}.{module}"), function)
        return reader(spec)

    return read
