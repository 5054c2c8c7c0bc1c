"""The list of British and American spellings in Whisper's checkpoints."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from linnet.errors import ModelError
from linnet.models import hub
from linnet.models.json_files import read_json
from linnet.models.resolve import resolve
from linnet.text.normalizers import Spelling


def find_spelling(model: str) -> Spelling:
    """The list of a model, else of any Whisper model in the local cache, else an empty one. Uses no network."""
    folders: list[tuple[str, Path]] = []
    with suppress(ModelError):  # a model loaded by other means
        folders.append((model, resolve(model, offline=True).path))
    for name in hub.cached_ids():
        with suppress(ModelError):  # another model that is damaged
            if name.startswith("openai/whisper-") and (path := hub.cached(name)) is not None:
                folders.append((name, path))
    for name, folder in folders:
        words = _read(folder / "normalizer.json")
        if words:
            return Spelling(words, name)
    return Spelling()


def _read(path: Path) -> dict[str, str]:
    try:
        return {str(british): str(american) for british, american in read_json(path).items()}
    except ModelError:
        return {}
