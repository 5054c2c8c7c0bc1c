"""Imported models in Linnet's cache: imported once, found by the content of the source, rebuilt if damaged.

An entry is a folder `<cache>/imported/<key of the source>-<version>` with a manifest that is written last. Entries
appear by one rename, so two processes may import at once: one wins, the other uses its result.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from linnet.errors import ModelError, OutputError
from linnet.files import draft_folder, open_folder
from linnet.models import entries
from linnet.models.cache import cache_folder
from linnet.models.checkpoint import update_digest
from linnet.models.importing.detection import CT2_WEIGHTS, detect_format, format_name
from linnet.models.importing.importer import import_model
from linnet.models.json_files import read_json

IMPORT_VERSION = 1  # of this code: increase it when its folders change

_MANIFEST = "linnet_import.json"
_READ = (CT2_WEIGHTS, "config.json", "vocabulary.json", "vocabulary.txt", "tokenizer.json")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImportedModel:
    """An entry of the cache: `source` is the path of the source, `format` its format."""

    folder: Path
    source: str
    format: str


def imports_root() -> Path:
    """The folder that holds all imported models."""
    return cache_folder() / "imported"


def imported_folder(source: Path, *, tokenizer: Path | None = None, card: Mapping[str, str] | None = None) -> Path:
    """The Transformers folder of a source, imported if necessary, with a log line.

    A `tokenizer` imports it again with this one. Raises `ModelError`, and `OutputError` if the cache cannot be written.
    """
    entry = _entry(source)
    if tokenizer is None and entry.exists():
        if entries.is_whole(entry, _MANIFEST):
            return entry
        log.warning("linnet: the imported model %s is damaged: importing %s again", entry, source)
    elif (kind := detect_format(source)) is not None:  # else `import_model` reports what is wrong
        log.warning("linnet: importing %s from the format of %s, once", source, format_name(kind))
    try:
        open_folder(imports_root())
    except OSError as error:
        raise OutputError(
            f"the imported model cannot be kept in {imports_root()} ({error.strerror or error}): free space or "
            "allow access there, set LINNET_CACHE to another folder, or use `linnet models import` with --output"
        ) from error
    with draft_folder(imports_root()) as draft:
        import_model(source, draft / "model", tokenizer=tokenizer, card=card)
        made = draft / "model"
        entries.seal(made, _MANIFEST, {"source": str(source.absolute()), "format": detect_format(source)})
        entries.place(made, entry, _MANIFEST, replace=tokenizer is not None)
    return entry


def find_import(source: Path) -> Path | None:
    """The entry of a source, or None. Imports nothing."""
    try:
        entry = _entry(source)
    except ModelError:
        return None
    return entry if (entry / _MANIFEST).is_file() else None


def list_imports() -> list[ImportedModel]:
    """All entries, by the names of their sources."""
    found = []
    for path in imports_root().glob(f"*/{_MANIFEST}"):
        try:
            said = read_json(path)
            found.append(ImportedModel(path.parent, str(said["source"]), str(said["format"])))
        except (ModelError, KeyError):
            continue
    return sorted(found, key=lambda one: (one.source, one.folder.name))


def find_imports(name: str) -> list[ImportedModel]:
    """Entries of the source with this path, in its current or an earlier state."""
    path = Path(name).expanduser()
    present = find_import(path) if detect_format(path) else None
    return [one for one in list_imports() if one.source == str(path.absolute()) or one.folder == present]


def remove_import(folder: Path) -> None:
    """Remove an entry. Raises `ModelError`."""
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise ModelError(f"cannot remove {error.filename or folder}: {error.strerror}") from error


def _entry(source: Path) -> Path:
    """The path of the entry of a source: its key changes with the content of the source."""
    files = [source / name for name in _READ] if source.is_dir() else [source]
    digest = hashlib.sha256()
    try:
        for path in files:
            if path.is_file():
                digest.update(f"{path.name if source.is_dir() else ''}\0{path.stat().st_size}\0".encode())
                update_digest(digest, path)
    except OSError as error:
        raise ModelError(f"cannot read {error.filename or source}: {error.strerror or error}") from error
    if not source.is_dir():  # large-v1 and large-v2 are distinguished by the file's name for alignment heads
        digest.update(source.name.encode())
    return imports_root() / f"{digest.hexdigest()[:16]}-{IMPORT_VERSION}"
