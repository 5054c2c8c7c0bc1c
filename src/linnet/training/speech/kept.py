"""The corpus of a run as it was read at its start, kept in the run's folder.

Reading millions of rows and making tokens of them takes minutes. It is done once: a run that goes on has at once, and
exactly, the corpus that it began with; all processes of a machine, and the workers that read sounds, share one copy.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from linnet.data import SourceSpec
from linnet.files import restore_folder
from linnet.notices import Notify
from linnet.training.checkpoint import swap_folder
from linnet.training.speech.corpus import Corpus, read_corpus
from linnet.training.speech.inputs import Inputs

_FORMAT = 1
_LOOK = 0.2  # seconds between looks at what another process is making


def kept_corpus(
    folder: Path,
    specs: Sequence[SourceSpec],
    inputs: Inputs,
    *,
    skip_bad: bool = False,
    limit: int = 0,
    tell: Notify,
) -> Corpus:
    """The corpus in `folder`; where it has none of these sources in this model's tokens, what `read_corpus` reads.

    A file that has another size or time, or a folder with other files, is read again. Of several processes on a machine
    the first one reads, and the others wait for it.

    Raises:
        OptionError: as `read_corpus`.
        OutputError: the corpus cannot be written.
    """
    sources = [[asdict(spec), stamp(Path(spec.path))] for spec in specs]
    options = {"skip_bad": skip_bad, "limit": limit}
    key = json.loads(json.dumps([_FORMAT, inputs.about, sources, options]))
    if os.environ.get("LOCAL_RANK", "0") != "0":
        while not _is_kept(folder, key):  # torchrun ends this process, too, if the first one fails
            time.sleep(_LOOK)
        return Corpus.load(folder, inputs)
    restore_folder(folder)
    if not _is_kept(folder, key):
        corpus = read_corpus(specs, inputs, skip_bad=skip_bad, limit=limit, tell=tell)

        def write(place: Path) -> None:
            corpus.save(place)
            (place / "key.json").write_text(json.dumps(key), encoding="utf-8")

        swap_folder(folder, write)
    return Corpus.load(folder, inputs)


def _is_kept(folder: Path, key: Any) -> bool:
    try:
        return bool(json.loads((folder / "key.json").read_text(encoding="utf-8")) == key)
    except (FileNotFoundError, ValueError):
        return False


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
