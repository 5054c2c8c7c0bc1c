"""The disk cache of converted models: converted once, found by their source, rebuilt if damaged.

An entry (see `copies`) is a folder with the models, two for a Whisper-family model and one for a CTC model, and a
manifest that is written last. Entries appear by one rename, so two processes may convert at once: one wins, the other
uses its result. Calibrated models are made only on request and never rebuilt, since the audio is not kept.

An entry also holds OpenVINO's compiled model for one kind of CPU, in a folder with its own manifest: with it a process
starts in a fifth of the time.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from linnet.arrays import Array
from linnet.engines.openvino.copies import copies_root, model_key
from linnet.engines.openvino.formats import ModelShape, Precision
from linnet.engines.openvino.runtime import compile_model, core, cpu_key, encoder_compute, import_openvino
from linnet.errors import ModelError, OutputError
from linnet.files import draft_folder, open_folder, place_folder, whole_folder
from linnet.models.checkpoint import update_digest
from linnet.models.loading import first_line
from linnet.notices import Notify

EXPORT_VERSION = 5  # of this code: increase it when the converted models change
_MANIFEST = "manifest.json"
_COMPILED = "compiled-"


@dataclass(frozen=True)
class ConvertedModel:
    """A model in OpenVINO's format, not compiled; `folder` is None if it could not be kept.

    A CTC model is an encoder that yields logits, without a decoder.
    """

    encoder: Any
    decoder: Any
    shape: ModelShape
    precision: Precision
    folder: Path | None


@dataclass(frozen=True)
class CompiledModel:
    """A converted model, ready to run on this CPU."""

    encoder: Any
    decoder: Any
    shape: ModelShape
    precision: Precision


@dataclass(frozen=True)
class ModelSource:
    """A model folder, its name for the user, and how to load its float32 module."""

    folder: Path
    name: str
    load_module: Callable[[], Any]
    ctc: bool = False  # else a Whisper-family model
    causal: str | None = None  # of one that runs block by block: identifies it among others of the folder

    @property
    def models(self) -> tuple[str, ...]:
        """The names of its converted models."""
        return ("encoder",) if self.ctc else ("encoder", "decoder")


def load_compiled(
    source: ModelSource, precision: Precision, notify: Notify, *, threads: int | None = None
) -> CompiledModel:
    """Load the compiled model in this precision, for this number of threads or all cores.

    An intact compiled copy is used; else the result of `load_converted`, with its errors, is compiled and kept for the
    next process if the disk allows.
    """
    entry = _Entry.of(source, precision)
    found = entry.read_compiled(threads)
    if found is not None:
        return found
    converted = load_converted(source, precision, notify)
    if converted.folder is not None:
        with suppress(OSError, _Unfit):  # costs only time
            return entry.compile(converted.shape, threads)
    return compile_converted(converted, threads)


def compile_converted(converted: ConvertedModel, threads: int | None = None) -> CompiledModel:
    """Compile for this CPU without keeping the result."""
    precision = converted.precision
    encoder = compile_model(converted.encoder, encoder_compute(precision.compute), threads)
    decoder = converted.decoder and compile_model(converted.decoder, precision.compute, threads)
    return CompiledModel(encoder, decoder, converted.shape, precision)


def load_converted(source: ModelSource, precision: Precision, notify: Notify) -> ConvertedModel:
    """Load the converted model in this precision, from the cache if it is intact.

    Else it is converted and kept, and `notify` receives the reason. Entries are checked by size and checksum and by the
    versions of Linnet's export and of OpenVINO. If the disk is not writable, each start converts and notifies. Raises
    `ModelError` for a model that cannot be loaded, or that needs a calibration which is missing or outdated;
    `OpenVinoMissing`.
    """
    entry = _Entry.of(source, precision)
    if precision.calibrated:
        return entry.read_calibrated(source.name)
    if entry.folder.exists():
        try:
            return entry.read()
        except _Unfit as error:
            notify(f"engine: the converted model {entry.folder} {error}: converting {source.name} again")
            shutil.rmtree(entry.folder, ignore_errors=True)
    elif entry.others():
        notify(f"engine: {source.name} was converted by other versions ({_versions()} now): converting it again")
    else:
        notify(f"engine: converting {source.name} for OpenVINO, once ({precision.weights} weights)")
    made = _convert(source, precision)
    try:
        entry.write(made)
        return entry.read()
    except (OSError, _Unfit) as error:
        reason = getattr(error, "strerror", None) or error
        notify(f"engine: the converted model cannot be kept in {entry.folder.parent} ({reason}): used only this time")
        return made


def calibrate(source: ModelSource, precision: Precision, windows: Sequence[Array]) -> ConvertedModel:
    """Convert to a precision calibrated on `windows`, log-mel features [T, M]; call `keep` to keep the result.

    Raises `OutputError` before the work if it could not be kept; `ModelError`, `OpenVinoMissing`.
    """
    entry = _Entry.of(source, precision)
    try:
        open_folder(entry.folder.parent)
    except OSError as error:
        raise entry.unwritable(error) from error
    return _convert(source, precision, windows)


def keep(source: ModelSource, made: ConvertedModel) -> Path:
    """Write a converted model where `load_converted` finds it, replacing an earlier one; returns its folder.

    Raises `OutputError`; an earlier one then remains.
    """
    entry = _Entry.of(source, made.precision)
    try:
        entry.write(made, replace=True)
    except OSError as error:
        raise entry.unwritable(error) from error
    return entry.folder


class _Unfit(Exception):  # noqa: N818 (the end of a sentence that begins with the entry)
    """The reason why an entry cannot be used."""


@dataclass(frozen=True)
class _Entry:
    folder: Path
    model: str  # the key of its source folder, and the precision
    precision: Precision
    models: tuple[str, ...]  # names of the models

    @classmethod
    def of(cls, source: ModelSource, precision: Precision) -> _Entry:
        form = "" if source.causal is None else f"causal{source.causal}-"
        model = f"{model_key(source.folder)}-{form}{precision}"
        version = hashlib.sha256(_versions().encode()).hexdigest()[:8]
        return cls(copies_root() / f"{model}-{version}", model, precision, source.models)

    def others(self) -> list[Path]:
        """Entries of the same model by other versions."""
        return [path for path in self.folder.parent.glob(f"{self.model}-*") if path != self.folder]

    def read(self) -> ConvertedModel:
        with _telling_damage():
            shape = self._verified(self.folder)
            encoder, *decoder = (core().read_model(self.folder / f"{name}.xml") for name in self.models)
            return ConvertedModel(encoder, next(iter(decoder), None), shape, self.precision, self.folder)

    def _verified(self, folder: Path) -> ModelShape:
        """Check the files listed in a manifest."""
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        if manifest["versions"] != _versions():
            raise _Unfit(f"is from other versions ({manifest['versions']})")
        for name, digest in manifest["files"].items():
            if file_digest(folder / name) != digest:
                raise _Unfit(f"is damaged ({name} has changed)")
        return ModelShape(**manifest["shape"])

    def compiled(self, threads: int | None) -> Path:
        """The folder of the compiled model for this kind of CPU and number of threads."""
        return self.folder / f"{_COMPILED}{cpu_key()}-{threads or 'all'}"

    def read_compiled(self, threads: int | None) -> CompiledModel | None:
        """The compiled model; None if it is missing, or unusable and therefore removed."""
        kept = self.compiled(threads)
        if not kept.is_dir():
            return None
        try:
            with _telling_damage():
                return self._compile(self._verified(kept), threads, kept)
        except _Unfit:
            shutil.rmtree(kept, ignore_errors=True)
            return None

    def compile(self, shape: ModelShape, threads: int | None) -> CompiledModel:
        """Compile this entry and keep the result, if there is space, replacing that for other CPUs.

        Raises `OSError` if nothing can be written, `_Unfit`.
        """
        with draft_folder(self.folder) as draft:
            with _telling_damage():
                made = self._compile(shape, threads, draft)
            if len(list(draft.iterdir())) == len(self.models):  # OpenVINO removes what does not fit on the disk
                with suppress(OSError):
                    write_manifest(draft, shape)
                    for old in self.folder.glob(f"{_COMPILED}*"):
                        shutil.rmtree(old, ignore_errors=True)
                    place_folder(draft, self.compiled(threads))
        return made

    def _compile(self, shape: ModelShape, threads: int | None, kept: Path) -> CompiledModel:
        compute = self.precision.compute
        first, *second = (self.folder / f"{name}.xml" for name in self.models)
        encoder = compile_model(first, encoder_compute(compute), threads, kept)
        decoder = next((compile_model(path, compute, threads, kept) for path in second), None)
        return CompiledModel(encoder, decoder, shape, self.precision)

    def read_calibrated(self, name: str) -> ConvertedModel:
        """Read a calibrated model. Raises `ModelError`, which says how to make it, if it is missing or unusable."""
        command = f"`linnet models quantize {name} AUDIO`"
        if not self.folder.exists():
            why = f"was quantized by other versions ({_versions()} now)" if self.others() else "is not quantized yet"
            raise ModelError(f"model {name} {why}: compute type {self.precision.weights} needs  {command}")
        try:
            return self.read()
        except _Unfit as error:
            raise ModelError(f"the quantized model {self.folder} {error}: make it again with  {command}") from error

    def unwritable(self, error: OSError) -> OutputError:
        return OutputError(
            f"the converted model cannot be kept in {self.folder.parent} ({error.strerror or error}): free space or "
            "allow access there, or set LINNET_CACHE to another folder"
        )

    def write(self, made: ConvertedModel, *, replace: bool = False) -> None:
        """Write next to the destination and rename; if another process was faster, its result is kept.

        `replace` replaces an existing entry.
        """
        openvino = import_openvino()
        with whole_folder(self.folder, "replace" if replace else "keep") as draft:
            for name in self.models:
                try:
                    openvino.save_model(getattr(made, name), draft / f"{name}.xml", compress_to_fp16=False)
                except RuntimeError as error:  # for example a full disk
                    raise OSError(f"OpenVINO could not write it: {str(error).strip().splitlines()[-1]}") from error
            write_manifest(draft, made.shape)
        for old in self.others():
            shutil.rmtree(old, ignore_errors=True)


def write_manifest(folder: Path, shape: ModelShape) -> None:
    """Write the sizes and checksums of a folder's files, to detect damage."""
    files = {path.name: file_digest(path) for path in sorted(folder.iterdir())}
    manifest = {"versions": _versions(), "shape": asdict(shape), "files": files}
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


@contextmanager
def _telling_damage() -> Iterator[None]:
    """Turn any error from damaged files into `_Unfit`."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise _Unfit(f"is damaged ({first_line(error)})") from error


def _convert(source: ModelSource, precision: Precision, windows: Sequence[Array] = ()) -> ConvertedModel:
    if source.ctc:
        from linnet.engines.openvino.ctc import convert_ctc

        return ConvertedModel(
            convert_ctc(source.load_module(), precision), None, ModelShape.without_decoder(), precision, None
        )
    module = source.load_module()
    if source.causal is not None:
        from linnet.engines.openvino.causal_export import convert_causal

        encoder, decoder = convert_causal(module, precision)
    else:
        from linnet.engines.openvino.export import convert  # needs PyTorch

        encoder, decoder = convert(module, precision, windows)
    return ConvertedModel(encoder, decoder, ModelShape.of(module), precision, None)


def _versions() -> str:
    return f"export {EXPORT_VERSION}, OpenVINO {import_openvino().__version__.partition('-')[0]}"


def file_digest(path: Path) -> str:
    """16 hexadecimal digits of a hash of a file's size and bytes."""
    digest = hashlib.sha256(f"{path.stat().st_size}".encode())
    update_digest(digest, path)
    return digest.hexdigest()[:16]
