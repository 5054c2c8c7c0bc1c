"""Write a selection in the formats of training toolkits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from linnet.curation.outputs.base import Chosen, Written, chosen_rows
from linnet.curation.outputs.jsonl import mark_nemo, write_linnet, write_nemo
from linnet.curation.outputs.kaldi import check_kaldi, write_kaldi
from linnet.curation.outputs.lhotse import write_lhotse
from linnet.curation.outputs.tables import write_parquet
from linnet.errors import OptionError, OutputError
from linnet.files import cannot_write
from linnet.settings import unknown

__all__ = ["FORMATS", "OutputOptions", "Written", "chosen_rows", "write_selection"]

FORMATS = ("linnet", "nemo", "lhotse", "kaldi", "parquet")


@dataclass(frozen=True)
class OutputOptions:
    """Output options: `kind` is one of `FORMATS`.

    `embed` includes the audio in the Parquet file; else it has paths. `marked` is a NeMo manifest whose rows are
    copied, with dropped ones marked with `_skipme`, so that its archives remain valid.
    """

    kind: str = "linnet"
    embed: bool = True
    marked: Path | None = None

    def __post_init__(self) -> None:
        if self.kind not in FORMATS:
            raise OptionError(unknown("format", self.kind, FORMATS))
        if self.marked is not None and self.kind != "nemo":
            raise OptionError("--mark goes with --format nemo")

    def check(self, path: Path) -> None:
        """Raise `OptionError` for a place that a selection must not replace."""
        if self.kind == "kaldi":
            check_kaldi(path)
        elif path.is_dir():
            raise OptionError(f"{path}: is a folder: choose a file for --output")


def write_selection(path: Path, rows: Iterable[Chosen], options: OutputOptions | None = None) -> Written:
    """Write a selection's rows (see `chosen_rows`) atomically to a file, or a folder for Kaldi.

    Raises:
        OutputError: it cannot be written.
        OptionError: the manifest is not that of the selection.
    """
    options = options or OutputOptions()
    try:
        if options.kind == "linnet":
            return write_linnet(path, rows)
        if options.kind == "nemo":
            return write_nemo(path, rows) if options.marked is None else mark_nemo(path, rows, options.marked)
        if options.kind == "lhotse":
            return write_lhotse(path, rows)
        if options.kind == "kaldi":
            return write_kaldi(path, rows)
        return write_parquet(path, rows, embed=options.embed)
    except OutputError:
        raise
    except OSError as error:
        raise cannot_write(path, error) from error
