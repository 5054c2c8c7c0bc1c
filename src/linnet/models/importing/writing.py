"""Write an imported model: weights, one at a time, to one safetensors file, and its card."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from linnet.errors import ModelError
from linnet.models.importing.detection import format_name
from linnet.models.importing.layout import Weight, WhisperSource
from linnet.models.importing.published import PublishedModel

_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


def storage_dtype(weights: Mapping[str, Weight]) -> torch.dtype:
    """The precision in which every weight keeps its exact value: the source's own if it has only one. ggml's float16
    files hold small tensors in float32: if those are exact in float16, the model is float16, else float32.

    Quantized weights become float32, so that nothing is rounded again.
    """
    if any(weight.quantized for weight in weights.values()):
        return torch.float32
    found = {weight.dtype for weight in weights.values()}
    if len(found) == 1:
        return next(iter(found))
    narrow = found - {torch.float32}
    if len(narrow) != 1:
        return torch.float32
    dtype = narrow.pop()
    wide = (weight.load() for weight in weights.values() if weight.dtype == torch.float32)
    return dtype if all(_survives(tensor, dtype) for tensor in wide) else torch.float32


def _survives(tensor: Tensor, dtype: torch.dtype) -> bool:
    return torch.equal(tensor.to(dtype).float(), tensor)


def write_weights(path: Path, weights: Mapping[str, Weight], dtype: torch.dtype) -> None:
    """Write a safetensors file with at most one tensor in memory. Raises `ModelError`, `OSError`."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, weight in sorted(weights.items()):
        begin, end = end, end + dtype.itemsize * torch.Size(weight.shape).numel()
        header[name] = {"dtype": _NAMES[dtype], "shape": list(weight.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, weight in sorted(weights.items()):
            tensor = weight.checked(name)
            if not bool(tensor.isfinite().all()):
                raise ModelError(f"{name} holds NaN or infinity: the source is damaged; download it again")
            file.write(tensor.to(dtype).reshape(-1).view(torch.uint8).numpy().data)


def digests(source: WhisperSource) -> dict[str, str]:
    """The SHA-256 of every source file of a model, by file name."""
    return {path.name: _sha256(path) for path in source.files}


def _sha256(path: Path) -> str:
    digest = sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    return digest.hexdigest()


def card_text(
    source: WhisperSource,
    tokenizer: str,
    hashes: Mapping[str, str],
    published: PublishedModel | None,
    more: Mapping[str, str],
) -> str:
    """The README.md of an imported model: the origin of its weights, by names and checksums, without paths."""
    known = {key.lower(): " ".join(value.split()) for key, value in more.items()}
    model_license = known.get("license") or ("mit" if published else None)
    head = ["library_name: transformers", "pipeline_tag: automatic-speech-recognition"]
    head += [f"license: {json.dumps(model_license)}"] if model_license else []
    head += [f"base_model: {json.dumps(known['original'])}"] if "original" in known else []
    quantized = any(weight.quantized for weight in source.weights.values())
    how = "The quantized weights are stored as float32." if quantized else "Every weight has its exact value."
    lines = [
        f"# {known.get('original', source.path.name)}",
        "",
        f"A Whisper model, imported by Linnet from the {format_name(source.format)} format ({source.description}).",
        how,
        f"Tokenizer: {tokenizer}.",
    ]
    if published:
        lines.append(f"The file is OpenAI's Whisper {published.name} (by its checksum).")
    lines += [f"{key.capitalize()}: {value}." for key, value in known.items() if key != "license"]
    if not model_license:
        lines.append("The source names no license: that of the original model applies.")
    lines += ["", "| file | SHA-256 |", "|---|---|", *(f"| `{name}` | `{digest}` |" for name, digest in hashes.items())]
    return "\n".join(["---", *head, "---", "", *lines, ""])
