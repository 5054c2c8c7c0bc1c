"""Converted models on this disk: made once, found again by what they were made of, made anew where they are damaged.

An entry is a folder `<root>/openvino/<fingerprint of the model>-<number formats>-<versions>/` with the two models and
a manifest that is written last. Entries appear by one rename, so two processes may convert at once: one of them wins,
the other takes what is there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from linnet.engines.openvino_export import Numbers, Shape, convert
from linnet.engines.openvino_runtime import core, import_openvino
from linnet.models.checkpoint import fingerprint, update_digest, weight_files
from linnet.models.loading import first_line

EXPORT_VERSION = 2  # of this code: raise it when the converted models change
_MODELS = ("encoder", "decoder")
_MANIFEST = "manifest.json"

Notify = Callable[[str], None]


@dataclass(frozen=True)
class Converted:
    """A model as OpenVINO reads it, not compiled yet; `folder` is None where it could not be kept."""

    encoder: Any
    decoder: Any
    shape: Shape
    numbers: Numbers
    folder: Path | None


@dataclass(frozen=True)
class Source:
    """A model folder, the name that a person knows it by, and how its float32 module is loaded."""

    folder: Path
    name: str
    load_module: Callable[[], Any]


def cache_root() -> Path:
    """Where Linnet keeps what it can make again: LINNET_CACHE, else `linnet` in the folder of Hugging Face's caches."""
    if named := os.environ.get("LINNET_CACHE", "").strip():
        return Path(named).expanduser()
    from huggingface_hub import constants

    return Path(constants.HF_HOME) / "linnet"


def load_converted(source: Source, numbers: Numbers, notify: Notify) -> Converted:
    """The converted form of a model in these number formats, from the cache where it is there and whole.

    Else it is converted and kept, and `notify` is told why. What is kept is checked by size and checksum and by the
    versions of Linnet's export and of OpenVINO. A disk that cannot be written costs a conversion each time and a
    notice, no more. Raises `ModelError` for a model that cannot be loaded, `OpenVinoMissing`.
    """
    entry = _Entry.of(source, numbers)
    if entry.folder.exists():
        try:
            return entry.read()
        except _Unfit as error:
            notify(f"engine: the converted model {entry.folder} {error}: converting {source.name} again")
            shutil.rmtree(entry.folder, ignore_errors=True)
    elif entry.others():
        notify(f"engine: {source.name} was converted by other versions ({_versions()} now): converting it again")
    else:
        notify(f"engine: converting {source.name} for OpenVINO, once ({numbers.weights} weights)")
    made = _convert(source, numbers)
    try:
        entry.write(made)
        return entry.read()
    except (OSError, _Unfit) as error:
        reason = getattr(error, "strerror", None) or error
        notify(f"engine: the converted model cannot be kept in {entry.folder.parent} ({reason}): used this once")
        return made


class _Unfit(Exception):  # noqa: N818 (the end of a sentence that begins with the entry)
    """Why an entry cannot be used."""


@dataclass(frozen=True)
class _Entry:
    folder: Path
    model: str  # the fingerprint of the folder that it was made of, and the number formats
    numbers: Numbers

    @classmethod
    def of(cls, source: Source, numbers: Numbers) -> _Entry:
        digest = hashlib.sha256(fingerprint(source.folder).encode())
        for path in weight_files(source.folder):
            digest.update(f"\0{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}".encode())
        model = f"{digest.hexdigest()[:16]}-{numbers}"
        version = hashlib.sha256(_versions().encode()).hexdigest()[:8]
        return cls(cache_root() / "openvino" / f"{model}-{version}", model, numbers)

    def others(self) -> list[Path]:
        """Entries that other versions made of the same model."""
        return [path for path in self.folder.parent.glob(f"{self.model}-*") if path != self.folder]

    def read(self) -> Converted:
        try:
            manifest = json.loads((self.folder / _MANIFEST).read_text(encoding="utf-8"))
            if manifest["versions"] != _versions():
                raise _Unfit(f"is of other versions ({manifest['versions']})")
            for name, digest in manifest["files"].items():
                if _digest(self.folder / name) != digest:
                    raise _Unfit(f"is damaged ({name} has changed)")
            encoder, decoder = (core().read_model(self.folder / f"{name}.xml") for name in _MODELS)
            return Converted(encoder, decoder, Shape(**manifest["shape"]), self.numbers, self.folder)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise _Unfit(f"is damaged ({first_line(error)})") from error

    def write(self, made: Converted) -> None:
        """Write beside the place and rename; where another process was faster, what it made stands."""
        openvino = import_openvino()
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=self.folder.parent))
        try:
            for name in _MODELS:
                try:
                    openvino.save_model(getattr(made, name), draft / f"{name}.xml", compress_to_fp16=False)
                except RuntimeError as error:  # a full disk, among others
                    raise OSError(f"OpenVINO could not write it: {str(error).strip().splitlines()[-1]}") from error
            manifest = {
                "versions": _versions(),
                "shape": asdict(made.shape),
                "files": {path.name: _digest(path) for path in sorted(draft.iterdir())},
            }
            (draft / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
            draft.chmod(0o755)
            try:
                draft.rename(self.folder)
            except OSError:
                if not (self.folder / _MANIFEST).exists():
                    raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        for old in self.others():
            shutil.rmtree(old, ignore_errors=True)


def _convert(source: Source, numbers: Numbers) -> Converted:
    module = source.load_module()
    encoder, decoder = convert(module, numbers)
    return Converted(encoder, decoder, Shape.of(module), numbers, None)


def _versions() -> str:
    return f"export {EXPORT_VERSION}, OpenVINO {import_openvino().__version__.partition('-')[0]}"


def _digest(path: Path) -> str:
    digest = hashlib.sha256(f"{path.stat().st_size}".encode())
    update_digest(digest, path)
    return digest.hexdigest()[:16]
