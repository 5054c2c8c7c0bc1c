"""The corpus of a run as it was read at its start, kept in the run's folder.

Reading millions of rows and making tokens of them takes minutes. It is done once: a run that goes on has at once, and
exactly, the corpus that it began with; all processes of a machine, and the workers that read sounds, share one copy.
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
_LOOK = 0.2  # seconds between looks at what another process is making


def kept_corpus(
    folder: Path,
    specs: Sequence[SourceSpec],
    inputs: Inputs,
    context: RunContext = ALONE,
    *,
    limit: int = 0,
) -> Corpus:
    """The corpus in `folder`; where it has none of these sources in this model's tokens, what `read_corpus` reads.

    A file that has another size or time, or a folder with other files, is read again.

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
    """Let what `make` returns fill a folder, unless it holds what was written under this key (JSON values) already.

    Of several processes on a machine the first one writes, and the others wait for it.
    """
    told = folder / "key.json"
    if made_by_another(told, key):
        return
    restore_folder(folder)
    if has_key(told, key):
        return
    write = make()

    def write_all(place: Path) -> None:
        write(place)
        write_key(place / told.name, key)

    swap_folder(folder, write_all)


def made_by_another(file: Path, key: Any) -> bool:
    """Whether another process of this machine is its first; waits until that one has written this key."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        return False
    while not has_key(file, key):  # torchrun ends this process, too, if the first one fails
        time.sleep(_LOOK)
    return True


def has_key(file: Path, key: Any) -> bool:
    """Whether a file of `write_key` has this key."""
    try:
        return bool(json.loads(file.read_text(encoding="utf-8")) == json.loads(json.dumps(key)))
    except (FileNotFoundError, ValueError):
        return False


def write_key(file: Path, key: Any) -> None:
    """Write down what beside it was made from, as JSON."""
    file.write_text(json.dumps(key), encoding="utf-8")


def stamp(path: Path) -> list[Any]:
    """What tells a file from a changed one: its size and time; of a folder those of the files in it."""
    try:
        if not path.is_dir():
            return [path.stat().st_size, path.stat().st_mtime_ns]
        with os.scandir(path) as entries:
            found = [(entry.name, entry.stat()) for entry in entries if entry.is_file()]
    except OSError:
        return []  # a name on the Hub, or nothing: reading it says so
    return sorted([name, stat.st_size, stat.st_mtime_ns] for name, stat in found)
