"""The corpus of a run, cached in the run's folder.

Reading and tokenizing millions of rows takes minutes. A resumed run gets exactly the corpus it started with, and all
processes and data workers of a machine share one copy.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from linnet.data import SourceSpec
from linnet.files import restore_folder
from linnet.training.checkpoint import swap_folder
from linnet.training.context import ALONE, RunContext
from linnet.training.speech.corpus import Corpus, read_corpus
from linnet.training.speech.inputs import Inputs

_FORMAT = 1
_POLL = 0.2  # seconds between checks for another process


def kept_corpus(
    folder: Path,
    specs: Sequence[SourceSpec],
    inputs: Inputs,
    context: RunContext = ALONE,
    *,
    limit: int = 0,
) -> Corpus:
    """The corpus cached in `folder`, or the result of `read_corpus` for other sources or another tokenizer.

    Files with a different size or time, and folders with different files, are read again.

    Raises:
        OptionError: as `read_corpus`.
        OutputError: the corpus cannot be written.
    """
    sources = [[asdict(spec), stamp(Path(spec.path))] for spec in specs]
    options = {"skip_bad": context.skip_bad, "limit": limit}
    key = [_FORMAT, inputs.about, sources, options]
    keep_folder(folder, key, lambda: read_corpus(specs, inputs, context, limit=limit).save)
    return Corpus.load(folder, inputs)


def keep_folder(folder: Path, key: Any, make: Callable[[], Callable[[Path], None]]) -> None:
    """Fill a folder with what `make` returns, unless it was written under this key (JSON values) already.

    The first process on a machine writes, the others wait for it.
    """
    key_file = folder / "key.json"
    if made_by_another(key_file, key):
        return
    restore_folder(folder)
    if has_key(key_file, key):
        return
    write = make()

    def write_all(place: Path) -> None:
        write(place)
        write_key(place / key_file.name, key)

    swap_folder(folder, write_all)


def made_by_another(file: Path, key: Any) -> bool:
    """Whether another process of this machine writes; waits until it has written this key."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        return False
    while not has_key(file, key):  # torchrun ends this process if the first one fails
        time.sleep(_POLL)
    return True


def has_key(file: Path, key: Any) -> bool:
    """Whether a file holds this key."""
    try:
        return bool(json.loads(file.read_text(encoding="utf-8")) == json.loads(json.dumps(key)))
    except (FileNotFoundError, ValueError):
        return False


def write_key(file: Path, key: Any) -> None:
    """Write a key as JSON."""
    file.write_text(json.dumps(key), encoding="utf-8")


def stamp(path: Path) -> list[Any]:
    """Size and time of a file, or of the files in a folder, to detect changes."""
    try:
        if not path.is_dir():
            return [path.stat().st_size, path.stat().st_mtime_ns]
        with os.scandir(path) as entries:
            found = [(entry.name, entry.stat()) for entry in entries if entry.is_file()]
    except OSError:
        return []  # a Hub id, or missing, which is reported on reading
    return sorted([name, stat.st_size, stat.st_mtime_ns] for name, stat in found)
