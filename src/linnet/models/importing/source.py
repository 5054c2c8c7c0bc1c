"""Find the files to import for a name given by the user."""

from __future__ import annotations

from pathlib import Path

from linnet.errors import ModelError
from linnet.models import hub
from linnet.models.importing.detection import CT2_WEIGHTS, detect_format


def find_source(name: str, *, offline: bool = False) -> tuple[Path, dict[str, str]]:
    """The path of a source and lines for its card: a path itself, or the snapshot of a Hub id.

    Raises `ModelError` for a Hub model that is not available, and for one that needs no import.
    """
    from linnet.models.resolve import hub_id

    path = Path(name).expanduser()
    if path.name == CT2_WEIGHTS and detect_format(path.parent) == "ctranslate2":
        return path.parent, {}
    if path.exists() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        return path, {}  # import_model reports what is wrong
    model_id = hub_id(name)
    folder = hub.cached(model_id)
    if folder is None:
        if (reason := hub.offline_reason(offline)) is not None:
            raise hub.FetchError(model_id, reason)
        folder = hub.fetch(model_id)
    if detect_format(folder) is None:
        raise ModelError(f"model {model_id} is already in Transformers' format: use it by its name, without import")
    return folder, {"source": f"https://huggingface.co/{model_id} at {folder.name}"}
