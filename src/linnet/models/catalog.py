"""List, describe, fetch and remove the models on this disk."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linnet.errors import ModelError
from linnet.models import hub, index, obtain
from linnet.models.checkpoint import check_folder, fingerprint, weight_files
from linnet.models.families import WHISPER, family_of
from linnet.models.importing.cached import find_import, find_imports, list_imports, remove_import
from linnet.models.importing.detection import detect_format
from linnet.models.json_files import read_json
from linnet.models.resolve import (
    EMBEDDED_ROOT,
    ModelRef,
    Origin,
    embedded_names,
    find,
    find_folder,
    hub_id,
    near,
    usable_folder,
)
from linnet.models.unpacked import unpacked_folder


@dataclass(frozen=True)
class CatalogEntry:
    """A model on this disk.

    `kind`: its family, `other` if not for speech recognition, `incomplete` without weights, `damaged` for unreadable
    files.
    """

    name: str
    origin: Origin
    kind: str
    size: int  # bytes
    revision: str
    path: Path


@dataclass(frozen=True)
class ModelInfo:
    """The properties and capabilities of a model."""

    name: str
    origin: Origin
    path: Path
    revision: str
    family: str
    architecture: str
    parameters: int | None  # None if the weights are not safetensors
    weight_dtypes: tuple[str, ...]
    size: int  # bytes on disk
    window: float  # maximum seconds per pass
    sampling_rate: int  # Hz
    languages: tuple[str, ...]  # codes; those of its card if the model has no language option
    takes_language: bool
    translates: bool
    takes_prompt: bool
    timestamps: str  # phrases, or windows (one segment per window)
    license: str | None  # from its card


def list_models() -> list[CatalogEntry]:
    """All embedded models, those from the package index, imported ones by their sources, then those in the Hub's cache,
    of any kind.
    """
    local = [(name, find(name)) for name in embedded_names()]
    entries = [_entry(name, ref.origin, ref.path) for name, ref in local if ref is not None]
    entries += [_entry(model_id, "index", path) for model_id in index.kept_ids() if (path := index.kept(model_id))]
    entries += [_entry(one.source, "imported", one.folder) for one in list_imports()]
    return entries + _hub_entries()


def _hub_entries() -> list[CatalogEntry]:
    from huggingface_hub import CacheNotFound, scan_cache_dir

    entries: list[CatalogEntry] = []
    try:
        repositories = [repo for repo in scan_cache_dir().repos if repo.repo_type == "model"]
    except CacheNotFound:
        return entries
    for repo in sorted(repositories, key=lambda repo: repo.repo_id):
        entries += [
            CatalogEntry(repo.repo_id, "hub", kind_of(r.snapshot_path), r.size_on_disk, r.commit_hash, r.snapshot_path)
            for r in sorted(repo.revisions, key=lambda r: r.last_modified)
        ]
    return entries


def info(name: str) -> ModelInfo:
    """Describe a model on this disk. Raises `ModelError` if it is missing or not a speech recognition model."""
    ref = _present(name)
    config = read_json(ref.path / "config.json")
    kind = family_of(ref.path)
    is_whisper = kind is WHISPER
    codes, translates = _whisper_languages(ref.path) if is_whisper else ((), False)
    model_license, card_languages = _card(ref.path)
    processor = _processor_settings(ref.path)
    parameters, dtypes = count_parameters(ref.path)
    return ModelInfo(
        name=name,
        origin=ref.origin,
        path=ref.path,
        revision=ref.revision,
        family=kind.name,
        architecture=", ".join(config.get("architectures") or [str(config.get("model_type"))]),
        parameters=parameters,
        weight_dtypes=dtypes,
        size=folder_size(ref.path),
        window=kind.window_seconds(config, processor),
        sampling_rate=int(processor.get("sampling_rate") or 16_000),
        languages=codes or card_languages,
        takes_language=bool(codes),
        translates=translates,
        takes_prompt=is_whisper,
        timestamps="phrases" if is_whisper else "windows",
        license=model_license,
    )


def path(name: str) -> Path:
    """The folder of a model on this disk. Raises `ModelError` if it is missing."""
    return _present(name).path


def pull(name: str, request: obtain.ModelRequest | None = None) -> tuple[ModelRef, bool]:
    """Fetch a model as described in `models.obtain`, or update one from the Hub; returns it and whether it existed.

    Nothing is fetched for a folder, an embedded model, or a model from the index, unless only the Hub is allowed.
    Raises `ModelError` with the reason of a failure.
    """
    request = request or obtain.ModelRequest()
    local = find(name)
    if local is not None and local.origin in ("folder", "embedded"):
        return local, True
    model_id = hub_id(name)
    made = index.kept(model_id)
    if made is not None and request.revision is None and _index_will_do(local, request):
        return ModelRef(name, made, fingerprint(made), "index"), True
    try:
        folder, origin = obtain.obtain(model_id, request)
    except hub.FetchError as error:
        if error.unknown:
            raise hub.FetchError(f"{model_id}{near(model_id)}", error.reason, unknown=True) from error
        raise
    if origin == "index":
        return ModelRef(name, folder, fingerprint(folder), "index"), False
    return ModelRef(name, usable_folder(folder, model_id), folder.name, "hub"), False


def _index_will_do(local: ModelRef | None, request: obtain.ModelRequest) -> bool:
    return request.source == "index" or (request.source == "auto" and local is not None and local.origin == "index")


def remove(name: str) -> int:
    """Remove a model and its imports from all caches; returns the number of bytes freed.

    For a file or folder of another program, only its import is removed. Raises `ModelError` for an embedded model or a
    folder (which Linnet must not remove) and for a missing model.
    """
    from huggingface_hub import constants

    if name in embedded_names():
        raise ModelError(f"model {name} is part of Linnet and cannot be removed")
    if imports := find_imports(name):
        return _remove_imports([one.folder for one in imports])
    if Path(name).expanduser().is_dir():
        raise ModelError(f"model {name} is your own folder: remove it yourself, Linnet only removes what it fetched")
    model_id = hub_id(name)
    made, repository = index.kept(model_id), _repository(model_id)
    if made is None and not repository.is_dir():
        raise ModelError(f"model {model_id} is not in the cache ({constants.HF_HUB_CACHE}): see `linnet models list`")
    freed = 0
    try:
        if made is not None:
            freed += folder_size(made)
            shutil.rmtree(made)
        if repository.is_dir():
            freed += _size_in_cache(repository)
            freed += _remove_imports([entry for state in _states(model_id) if (entry := find_import(state))])
            shutil.rmtree(repository)
    except OSError as error:
        raise ModelError(f"cannot remove {error.filename or model_id}: {error.strerror}") from error
    return freed


def _size_in_cache(repository: Path) -> int:
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        found = next((repo for repo in scan_cache_dir().repos if repo.repo_path.name == repository.name), None)
    except CacheNotFound:
        found = None
    return folder_size(repository) if found is None else found.size_on_disk


def folders(name: str) -> list[Path]:
    """The folders of a model on this disk: one, or every snapshot in the caches; empty if it is missing.

    For another program's model, the imported folder.
    """
    if imports := find_imports(name):
        return [one.folder for one in imports]
    if detect_format(Path(name).expanduser()) is not None:
        return []
    folder = find_folder(name) or (EMBEDDED_ROOT / name if name in embedded_names() else None)
    if folder is not None:
        return [unpacked_folder(folder)]
    made, snapshots = index.kept(hub_id(name)), [find_import(state) or state for state in _states(hub_id(name))]
    return snapshots if made is None else [*snapshots, made]


def _states(model_id: str) -> list[Path]:
    """The snapshots of a model in the Hub's cache."""
    states = _repository(model_id) / "snapshots"
    return sorted(path for path in states.iterdir() if path.is_dir()) if states.is_dir() else []


def _remove_imports(folders: Sequence[Path]) -> int:
    """Remove imported models; returns the number of bytes freed."""
    freed = 0
    for folder in folders:
        size = folder_size(folder)
        remove_import(folder)
        freed += size
    return freed


def kind_of(folder: Path) -> str:
    """The `CatalogEntry.kind` of the model in this folder."""
    try:
        check_folder(folder)
        if detect_format(folder) == "ctranslate2":
            return "whisper" if (folder / "config.json").exists() else "incomplete"
        if not (folder / "config.json").exists() or not weight_files(folder):
            return "incomplete"
    except ModelError:
        return "damaged"
    try:
        return family_of(folder).name
    except ModelError:
        return "other"


def folder_size(folder: Path) -> int:
    """Bytes of all files in a folder; linked files count once."""
    files = {file.resolve() for file in folder.rglob("*") if file.is_file()}
    return sum(file.stat().st_size for file in files)


def count_parameters(folder: Path) -> tuple[int | None, tuple[str, ...]]:
    """The number of parameters and their formats, from the headers; None if the weights are not safetensors.

    64-bit integers (the output order of a low-rank layer, a BatchNorm's steps) are not parameters.
    """
    from safetensors import SafetensorError, safe_open

    total, dtypes = 0, set()
    for file in weight_files(folder):
        if file.suffix != ".safetensors":
            return None, ()
        try:
            with safe_open(file, framework="np") as tensors:
                for key in tensors.keys():  # noqa: SIM118 - not a dict
                    part = tensors.get_slice(key)
                    if str(part.get_dtype()) == "I64":
                        continue
                    total += math.prod(part.get_shape())
                    dtypes.add(str(part.get_dtype()))
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{file} is damaged ({error}): remove the model and fetch or save it again") from error
    return total, tuple(sorted(dtypes))


def _entry(name: str, origin: Origin, folder: Path) -> CatalogEntry:
    kind = kind_of(folder)
    revision = "" if kind == "damaged" else fingerprint(folder)
    return CatalogEntry(name, origin, kind, folder_size(folder), revision, folder)


def _repository(model_id: str) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{model_id.replace('/', '--')}"


def _present(name: str) -> ModelRef:
    ref = find(name)
    if ref is None:
        raise ModelError(f"model {hub_id(name)} is not on this disk: fetch it with `linnet models pull {name}`")
    return ref


def _whisper_languages(folder: Path) -> tuple[tuple[str, ...], bool]:
    """The language codes of a Whisper model (none for an English-only one), and whether it translates."""
    file = folder / "generation_config.json"
    generation = read_json(file) if file.exists() else {}
    codes = tuple(token.strip("<|>") for token in generation.get("lang_to_id") or {})
    return codes, bool(codes) and "translate" in (generation.get("task_to_id") or {})


def _processor_settings(folder: Path) -> Mapping[str, Any]:
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).exists():
            settings = read_json(folder / name)
            return settings.get("feature_extractor") or settings
    return {}


def _card(folder: Path) -> tuple[str | None, tuple[str, ...]]:
    """License and languages in the header of a model's card; empty without a card or header."""
    import yaml
    from huggingface_hub import ModelCard

    file = folder / "README.md"
    if not file.exists():
        return None, ()
    try:
        data = ModelCard.load(file, ignore_metadata_errors=True).data
    except (OSError, ValueError, yaml.YAMLError):
        return None, ()
    languages = data.language or []
    model_license = data.license_name or data.license
    return model_license, tuple([languages] if isinstance(languages, str) else map(str, languages))
