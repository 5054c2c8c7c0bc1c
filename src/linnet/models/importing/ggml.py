"""Read files of whisper.cpp (`ggml-*.bin`): sizes, mel filters, vocabulary, tensors, in one file.

Layout (ggml-org/whisper.cpp, models/convert-pt-to-ggml.py; all numbers i32): magic, eleven sizes; the mel filters' two
sizes and float32 values; the number of tokens, each a length and its bytes; per tensor its rank, the length of its
name and its type, its sizes from the last axis to the first, its name and its data.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linnet.errors import ModelError
from linnet.models.importing.binary import BinaryReader, open_binary, read_slice
from linnet.models.importing.blocks import BLOCK, BLOCK_FORMATS, BlockFormat, dequantize
from linnet.models.importing.detection import GGML_MAGIC
from linnet.models.importing.layout import Dimensions, Shape, Weight, WhisperSource
from linnet.models.importing.names import transformers_name

_FLOATS = {0: torch.float32, 1: torch.float16, 30: torch.bfloat16}
_FFN = 4  # width factor of feed-forward layers: fixed in whisper.cpp
_FREQUENCIES = 201  # for a transform of 400 samples
_MEL_TOLERANCE = 1e-5
_MAX_RANK = 4
_MAX_PIECE = 512  # bytes; the longest text token of Whisper has 128
_END = b"<|endoftext|>"


def read_ggml(path: Path) -> WhisperSource:
    """Read the model in a file of whisper.cpp. Raises `ModelError` that names the file and the way out."""
    with open_binary(path) as file:
        if file.u32("its magic number") != GGML_MAGIC:
            raise ModelError(f"{path} is not a file of whisper.cpp, which begins with `lmgg`")
        dimensions = _dimensions(file)
        _check_filters(file, dimensions.mels)
        pieces = _pieces(file, dimensions.vocabulary)
        weights: dict[str, Weight] = {}
        kinds: set[str] = set()
        while file.left:
            name, weight, kind = _tensor(file)
            if name in weights:
                raise file.damaged(f"it holds {name} twice")
            weights[name] = weight
            if len(weight.shape) > 1:
                kinds.add(kind)
    quantized = kinds - {str(dtype).removeprefix("torch.") for dtype in _FLOATS.values()}
    return WhisperSource(
        format="ggml",
        path=path,
        dimensions=dimensions,
        weights=weights,
        description=" and ".join(sorted(quantized or kinds - {"float32"} or kinds)),
        files=(path,),
        pieces=pieces,
    )


def _dimensions(file: BinaryReader) -> Dimensions:
    names = [*("vocabulary", "audio_context", "width", "audio_heads", "audio_layers", "text_context")]
    names += ["text_width", "text_heads", "text_layers", "mels", "precision"]
    said = {name: file.i32(f"its size `{name}`") for name in names}
    if said["text_width"] != said["width"]:
        raise file.damaged(f"its encoder is {said['width']} wide and its decoder {said['text_width']}")
    said = {key: value for key, value in said.items() if key not in ("text_width", "precision")}
    dimensions = Dimensions(**said, audio_ffn=_FFN * said["width"], text_ffn=_FFN * said["width"])
    dimensions.check(file.path)
    return dimensions


def _check_filters(file: BinaryReader, mels: int) -> None:
    """Check that the filters equal those of a Transformers processor, since a folder does not store them."""
    sizes = file.i32("the mel filters' first size"), file.i32("the mel filters' second size")
    if sizes != (mels, _FREQUENCIES):
        raise file.damaged(f"its mel filters have the shape {sizes} instead of {(mels, _FREQUENCIES)}")
    found = np.frombuffer(file.read(4 * mels * _FREQUENCIES, "the mel filters"), np.float32).reshape(sizes)
    off = np.abs(found - mel_filters(mels)).max()
    if not off <= _MEL_TOLERANCE:
        raise ModelError(
            f"{file.path} was made for other mel filters than Whisper's (they differ by {off:.2g}), which a "
            "Transformers folder cannot say: import the original model, or convert it again"
        )


def mel_filters(mels: int) -> NDArray[np.float64]:
    """The mel filters of Whisper's processor, [mels, 201]."""
    from transformers import WhisperFeatureExtractor

    filters: NDArray[np.float64] = WhisperFeatureExtractor(feature_size=mels).mel_filters.T
    return filters


def _pieces(file: BinaryReader, vocabulary: int) -> list[bytes]:
    """Read the bytes of the text tokens; special tokens are not in the file, except for `<|endoftext|>` in some."""
    count = file.i32("its number of tokens")
    if not 0 < count <= vocabulary:
        raise file.damaged(f"it holds {count} tokens for a vocabulary of {vocabulary}")
    pieces: list[bytes] = []
    for index in range(count):
        length = file.i32(f"the length of token {index}")
        if length > _MAX_PIECE:
            raise file.damaged(f"token {index} has {length} bytes")
        pieces.append(file.read(length, f"token {index}"))
    return pieces[: pieces.index(_END)] if _END in pieces else pieces


def _tensor(file: BinaryReader) -> tuple[str, Weight, str]:
    rank, length, kind = file.i32("a tensor's rank"), file.i32("a tensor's name"), file.i32("a tensor's type")
    if not 0 < rank <= _MAX_RANK:
        raise file.damaged(f"a tensor at byte {file.position} has {rank} axes")
    shape = tuple(file.i32("a tensor's shape") for _ in range(rank))[::-1]
    if min(shape) < 1:
        raise file.damaged(f"a tensor at byte {file.position} has the shape {shape}")
    name = file.text(length, "a tensor's name")
    target = transformers_name(name)
    if target is None:
        raise ModelError(f"{file.path} has the tensor {name}, which no Whisper model has: it cannot be imported")
    if target.endswith(("conv1.bias", "conv2.bias")):
        shape = (math.prod(shape),)  # stored as a column
    return target, *_weight(file, name, kind, shape)


def _weight(file: BinaryReader, name: str, kind: int, shape: Shape) -> tuple[Weight, str]:
    path, values = file.path, math.prod(shape)
    if (dtype := _FLOATS.get(kind)) is not None:
        size = values * dtype.itemsize
        begin = file.skip(size, f"the data of {name}")
        weight = Weight(
            shape, dtype, lambda: torch.from_numpy(read_slice(path, begin, size)).view(dtype).reshape(shape)
        )
        return weight, str(dtype).removeprefix("torch.")
    form = BLOCK_FORMATS.get(kind)
    if form is None:
        known = ", ".join(["f32", "f16", "bf16", *(f.name for f in BLOCK_FORMATS.values())])
        raise ModelError(f"{path}: {name} has ggml's type {kind}; Linnet reads {known}: use a file of one of these")
    if shape[-1] % BLOCK:
        raise file.damaged(f"{name} of shape {shape} cannot be in blocks of {BLOCK}")
    size = values // BLOCK * form.block_bytes
    begin = file.skip(size, f"the data of {name}")
    return Weight(shape, torch.float32, lambda: _dequantized(path, begin, size, form, shape), quantized=True), form.name


def _dequantized(path: Path, begin: int, size: int, form: BlockFormat, shape: Shape) -> Tensor:
    return torch.from_numpy(dequantize(read_slice(path, begin, size), form)).reshape(shape)
