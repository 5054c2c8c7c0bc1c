"""Convert a model in another program's format to a Transformers folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet.errors import ModelError
from linnet.models.importing.detection import Format, detect_format

if TYPE_CHECKING:  # these load torch
    from linnet.models.importing.layout import WhisperSource
    from linnet.models.importing.tokenizer import ChosenTokenizer


@dataclass(frozen=True)
class ImportReport:
    """Report of an import: `description` is the source's precision, `dtype` the folder's, `tokenizer` a clause."""

    path: Path
    format: Format
    description: str
    dtype: str
    parameters: int
    size: int  # bytes of the new weights file
    tokenizer: str
    alignment_heads: bool  # if known; else word times use all upper layers


def import_model(
    source: Path, output: Path, *, tokenizer: Path | None = None, card: Mapping[str, str] | None = None
) -> ImportReport:
    """Write a Whisper model of CTranslate2, openai-whisper or whisper.cpp as a Transformers folder.

    `source`: a folder or file that `detect_format` recognizes; `output`: a new folder, which appears when it is
    complete; `tokenizer`: a folder whose tokenizer.json replaces the source's own; `card`: lines for README.md,
    including `license`. Weights keep their exact values; quantized ones become float32. Raises `ModelError` that names
    the file and the way out, `OutputError` if the folder cannot be written.
    """
    from linnet.models.derived import check_output, new_folder
    from linnet.models.importing.layout import check_weights
    from linnet.models.importing.tokenizer import choose_tokenizer

    check_output(output)
    found = read_source(source)
    check_weights(found.files[0], found.dimensions, found.weights)
    chosen = choose_tokenizer(found, tokenizer)
    with new_folder(output) as folder:
        return _write(found, chosen, folder, output, card or {})


def read_source(path: Path) -> WhisperSource:
    """Read the model at a path, without its weights. Raises `ModelError`."""
    kind = detect_format(path)
    if kind is None:
        what = (
            "is not a Whisper model of CTranslate2, openai-whisper or whisper.cpp"
            if path.exists()
            else "does not exist"
        )
        if path.exists() and not (path.is_file() or path.is_dir()):
            what = "is a pipe or a device"
        raise ModelError(
            f"{path} {what}: name a folder with CTranslate2's model.bin, a checkpoint *.pt of openai-whisper, or a "
            "ggml-*.bin of whisper.cpp"
        )
    return _reader(kind)(path)


def _reader(kind: Format) -> Callable[[Path], WhisperSource]:
    if kind == "ctranslate2":
        from linnet.models.importing.ctranslate2 import read_ctranslate2

        return read_ctranslate2
    if kind == "ggml":
        from linnet.models.importing.ggml import read_ggml

        return read_ggml
    from linnet.models.importing.openai import read_openai

    return read_openai


def _write(
    source: WhisperSource, tokenizer: ChosenTokenizer, folder: Path, output: Path, card: Mapping[str, str]
) -> ImportReport:
    from linnet.models.importing import published, settings, writing
    from linnet.models.importing.layout import count_parameters
    from linnet.models.importing.tokenizer import FILE

    hashes = writing.digests(source)
    exact = published.of_sha256(hashes[source.files[0].name])
    like = exact or published.of_dimensions(source.dimensions, source.path.name)
    dtype = writing.storage_dtype(source.weights)
    dtype_name = str(dtype).removeprefix("torch.")
    weights = folder / "model.safetensors"
    try:
        writing.write_weights(weights, source.weights, dtype)
    except ModelError as error:
        raise ModelError(f"{source.path}: {error}") from error
    generation = settings.generation_config(source, tokenizer, like)
    settings.model_config(source, tokenizer, dtype_name).to_json_file(folder / "config.json", use_diff=False)
    _write_json(folder / "generation_config.json", generation)
    _write_json(folder / "preprocessor_config.json", settings.processor_config(source))
    _write_json(folder / "tokenizer_config.json", settings.tokenizer_config(source, tokenizer))
    (folder / FILE).write_text(tokenizer.text, encoding="utf-8")
    text = writing.card_text(source, tokenizer.origin, hashes, exact, card)
    (folder / "README.md").write_text(text, encoding="utf-8")
    return ImportReport(
        path=output,
        format=source.format,  # type: ignore[arg-type]
        description=source.description,
        dtype=dtype_name,
        parameters=count_parameters(source.weights),
        size=weights.stat().st_size,
        tokenizer=tokenizer.origin,
        alignment_heads="alignment_heads" in generation,
    )


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
