"""Read folders of CTranslate2, as used by faster-whisper: `model.bin` version 6 of a WhisperSpec, and its vocabulary.

Layout of model.bin (CTranslate2, python/ctranslate2/specs/model_spec.py): u32 version, string spec, u32 revision, u32
count; per variable string name, u8 rank, u32 sizes, u8 type, u32 bytes, data; u32 count of aliases, each two strings. A
string is a u16 length and its bytes, NUL-ended. Quantized weights are value * scale: one scale per row, or one in
total.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from linnet.errors import ModelError
from linnet.models.importing.binary import BinaryReader, open_binary, read_slice
from linnet.models.importing.detection import CT2_WEIGHTS
from linnet.models.importing.layout import FLOATS, Dimensions, Settings, Shape, Weight, WhisperSource
from linnet.models.importing.pieces import split_vocabulary
from linnet.models.json_files import LARGEST_VOCABULARY, load_json, read_json, read_regular

VERSION = 6
SPEC = "WhisperSpec"
GELU = 3  # of CTranslate2's activations

_TYPES = (torch.float32, torch.int8, torch.int16, torch.int32, torch.float16, torch.bfloat16)
_MAX_RANK = 8
_REQUIRED = {"decoder/activation": GELU, "decoder/pre_norm": 1, "decoder/scale_embeddings": 0}
_HARMLESS = ("decoder/alignment_heads", "decoder/alignment_layer", "decoder/num_heads", "encoder/num_heads")
_AGAIN = "convert the original model again with a current ct2-transformers-converter, or import the original"


@dataclass(frozen=True)
class _Variable:
    path: Path
    shape: Shape
    dtype: torch.dtype
    begin: int

    def rows(self, first: int, count: int) -> Tensor:
        """Rows `first` to `first + count` of the leading axis."""
        row = math.prod(self.shape[1:]) * self.dtype.itemsize
        data = read_slice(self.path, self.begin + first * row, count * row)
        return torch.from_numpy(data).view(self.dtype).reshape(count, *self.shape[1:])

    def whole(self) -> Tensor:
        if not self.shape:
            return torch.from_numpy(read_slice(self.path, self.begin, self.dtype.itemsize)).view(self.dtype)[0]
        return self.rows(0, self.shape[0])


@dataclass
class _Variables:
    """The variables of a model.bin; `used` are those converted to weights."""

    path: Path
    table: Mapping[str, _Variable]
    used: set[str] = field(default_factory=set)

    def get(self, name: str) -> _Variable:
        self.used.add(name)
        if name not in self.table:
            raise ModelError(f"{self.path} has no variable {name}, which every Whisper model has: {_AGAIN}")
        return self.table[name]

    def find(self, name: str) -> _Variable | None:
        return self.get(name) if name in self.table else None

    def layers(self, side: str) -> int:
        """The number of layers of one side: `encoder` or `decoder`."""
        prefix = f"{side}/layer_"
        numbers = {name[len(prefix) :].split("/")[0] for name in self.table if name.startswith(prefix)}
        return len([number for number in numbers if number.isdigit()])


def read_ctranslate2(folder: Path) -> WhisperSource:
    """Read the model in a CTranslate2 folder. Raises `ModelError` that names the file and the way out."""
    path = folder / CT2_WEIGHTS
    variables = _read_variables(path)
    dimensions = _dimensions(variables)
    dimensions.check(path)
    weights = _weights(variables, dimensions)
    _check_rest(variables)
    files = [path]
    tokens = _read_tokens(folder, dimensions.vocabulary, files)
    pieces, special = split_vocabulary(tokens, files[-1]) if tokens else (None, {})
    tokenizer = folder / "tokenizer.json"
    settings = folder / "config.json"
    files += [file for file in (settings, tokenizer) if file.is_file()]
    return WhisperSource(
        format="ctranslate2",
        path=folder,
        dimensions=dimensions,
        weights=weights,
        description=_description(variables),
        files=tuple(files),
        pieces=pieces,
        special=special,
        tokenizer=tokenizer if tokenizer.is_file() else None,
        settings=_settings(settings, dimensions) if settings.is_file() else Settings(),
    )


def _read_variables(path: Path) -> _Variables:
    with open_binary(path) as file:
        version = file.u32("its version")
        if version != VERSION:
            raise ModelError(f"{path} has version {version} of CTranslate2's format, Linnet reads {VERSION}: {_AGAIN}")
        spec = _string(file, "the name of its type")
        if spec != SPEC:
            raise ModelError(f"{path} is CTranslate2's {spec}, not a Whisper model: Linnet imports only {SPEC}")
        file.u32("its revision")
        table: dict[str, _Variable] = {}
        for _ in range(file.u32("its number of variables")):
            name, variable = _variable(file)
            if name in table:
                raise file.damaged(f"it holds the variable {name} twice")
            table[name] = variable
        for _ in range(file.u32("its number of aliases")):
            alias, name = _string(file, "an alias"), _string(file, "the name of an alias")
            if name not in table or alias in table:
                raise file.damaged(f"its alias {alias} of {name} is invalid")
            table[alias] = table[name]
        if file.left:
            raise file.damaged(f"{file.left} bytes follow its end")
    return _Variables(path, table)


def _variable(file: BinaryReader) -> tuple[str, _Variable]:
    name = _string(file, "the name of a variable")
    rank = file.u8(f"the rank of {name}")
    if rank > _MAX_RANK:
        raise file.damaged(f"{name} has {rank} axes")
    shape = tuple(file.u32(f"the shape of {name}") for _ in range(rank))
    kind, count = file.u8(f"the type of {name}"), file.u32(f"the size of {name}")
    if kind >= len(_TYPES):
        raise file.damaged(f"{name} has the unknown type {kind}")
    dtype = _TYPES[kind]
    if math.prod(shape) * dtype.itemsize != count:
        raise file.damaged(f"{name} of shape {shape} and type {dtype} cannot have {count} bytes")
    return name, _Variable(file.path, shape, dtype, file.skip(count, f"the data of {name}"))


def _string(file: BinaryReader, what: str) -> str:
    text = file.text(file.u16(f"the length of {what}"), what)
    if not text.endswith("\0"):
        raise file.damaged(f"{what} does not end in a zero byte")
    return text[:-1]


def _dimensions(variables: _Variables) -> Dimensions:
    def shape(name: str, rank: int) -> Shape:
        found = variables.get(name).shape
        if len(found) != rank:
            raise ModelError(f"{variables.path} is damaged: {name} has {len(found)} axes instead of {rank}; {_AGAIN}")
        return found

    vocabulary, width = shape("decoder/embeddings/weight", 2)
    audio_heads, text_heads = (_number(variables, f"{side}/num_heads") for side in ("encoder", "decoder"))
    return Dimensions(
        mels=shape("encoder/conv1/weight", 3)[1],
        width=width,
        audio_context=shape("encoder/position_encodings/encodings", 2)[0],
        audio_heads=audio_heads,
        audio_layers=variables.layers("encoder"),
        audio_ffn=shape("encoder/layer_0/ffn/linear_0/weight", 2)[0],
        vocabulary=vocabulary,
        text_context=shape("decoder/position_encodings/encodings", 2)[0],
        text_heads=text_heads,
        text_layers=variables.layers("decoder"),
        text_ffn=shape("decoder/layer_0/ffn/linear_0/weight", 2)[0],
    )


def _number(variables: _Variables, name: str) -> int:
    variable = variables.get(name)
    if variable.shape:
        raise ModelError(f"{variables.path} is damaged: {name} is not a single number; {_AGAIN}")
    return int(variable.whole())


def _weights(variables: _Variables, dimensions: Dimensions) -> dict[str, Weight]:
    """All weights by Transformers' names: stacked projections are split, keys lose their zero bias."""
    found: dict[str, Weight] = {}
    for conv in ("conv1", "conv2"):
        found |= _linear(variables, f"encoder/{conv}", [f"model.encoder.{conv}"])
    for side, layers in (("encoder", dimensions.audio_layers), ("decoder", dimensions.text_layers)):
        name = f"model.{side}.embed_positions.weight"
        found |= _parts(variables, f"{side}/position_encodings/encodings", [name])
        found |= _norm(variables, f"{side}/layer_norm", f"model.{side}.layer_norm")
        for index in range(layers):
            found |= _layer(variables, f"{side}/layer_{index}", f"model.{side}.layers.{index}")
    found |= _parts(variables, "decoder/embeddings/weight", ["model.decoder.embed_tokens.weight"])
    _check_tied(variables)
    return found


def _layer(variables: _Variables, source: str, target: str) -> dict[str, Weight]:
    attention = f"{target}.self_attn"
    queries, keys, values = f"{attention}.q_proj", f"{attention}.k_proj", f"{attention}.v_proj"
    found = _linear(variables, f"{source}/self_attention/linear_0", [queries, keys, values])
    found |= _linear(variables, f"{source}/self_attention/linear_1", [f"{attention}.out_proj"])
    found |= _norm(variables, f"{source}/self_attention/layer_norm", f"{attention}_layer_norm")
    if source.startswith("decoder"):
        attention = f"{target}.encoder_attn"
        found |= _linear(variables, f"{source}/attention/linear_0", [f"{attention}.q_proj"])
        found |= _linear(variables, f"{source}/attention/linear_1", [f"{attention}.k_proj", f"{attention}.v_proj"])
        found |= _linear(variables, f"{source}/attention/linear_2", [f"{attention}.out_proj"])
        found |= _norm(variables, f"{source}/attention/layer_norm", f"{attention}_layer_norm")
    for index in (0, 1):
        found |= _linear(variables, f"{source}/ffn/linear_{index}", [f"{target}.fc{index + 1}"])
    return found | _norm(variables, f"{source}/ffn/layer_norm", f"{target}.final_layer_norm")


def _linear(variables: _Variables, source: str, targets: Sequence[str]) -> dict[str, Weight]:
    found = _parts(variables, f"{source}/weight", [f"{target}.weight" for target in targets])
    biases = _parts(variables, f"{source}/bias", [f"{target}.bias" for target in targets])
    for name in [name for name in biases if name.endswith(".k_proj.bias")]:
        if biases.pop(name).load().count_nonzero():
            raise ModelError(f"{variables.path}: {source} has a bias for keys, but Whisper has none: {_AGAIN}")
    return found | biases


def _norm(variables: _Variables, source: str, target: str) -> dict[str, Weight]:
    scale = _parts(variables, f"{source}/gamma", [f"{target}.weight"])
    return scale | _parts(variables, f"{source}/beta", [f"{target}.bias"])


def _parts(variables: _Variables, source: str, targets: Sequence[str]) -> dict[str, Weight]:
    """A variable, split along its rows into equal parts."""
    variable, scale = variables.get(source), variables.find(f"{source}_scale")
    if not variable.shape or variable.shape[0] % len(targets):
        raise ModelError(f"{variables.path} is damaged: {source} has the shape {variable.shape}; {_AGAIN}")
    if (scale is None) != (variable.dtype in FLOATS) or variable.dtype == torch.int32:
        raise ModelError(
            f"{variables.path}: {source} of type {variable.dtype} is quantized in an unknown way: {_AGAIN}"
        )
    if scale is not None and (scale.dtype != torch.float32 or scale.shape not in ((), variable.shape[:1])):
        raise ModelError(f"{variables.path} is damaged: the scales of {source} have the shape {scale.shape}; {_AGAIN}")
    rows = variable.shape[0] // len(targets)
    return {
        target: _weight(variable, scale, index * rows, rows) for index, target in enumerate(targets)
    }  # each reads only its own rows


def _weight(variable: _Variable, scale: _Variable | None, first: int, rows: int) -> Weight:
    shape = (rows, *variable.shape[1:])
    if scale is None:
        return Weight(shape, variable.dtype, lambda: variable.rows(first, rows))

    def dequantized() -> Tensor:
        scales = scale.rows(first, rows) if scale.shape else scale.whole().expand(rows)
        return variable.rows(first, rows).float() / scales.reshape(rows, *[1] * (len(shape) - 1))

    return Weight(shape, torch.float32, dequantized, quantized=True)


def _check_tied(variables: _Variables) -> None:
    """Check that the output projection is the token embedding, as in Whisper: stored as an alias, or a second time."""
    for name in ("weight", "weight_scale"):
        projection = variables.find(f"decoder/projection/{name}")
        embedding = variables.find(f"decoder/embeddings/{name}")
        if projection is None or embedding is None or projection.begin == embedding.begin:
            continue
        if projection.shape != embedding.shape or not torch.equal(projection.whole(), embedding.whole()):
            raise ModelError(
                f"{variables.path} has its own output projection, but Whisper's is its token embedding: "
                "such a model cannot be imported"
            )


def _check_rest(variables: _Variables) -> None:
    for name, value in _REQUIRED.items():
        if name in variables.table and (found := _number(variables, name)) != value:
            raise ModelError(f"{variables.path} has {name} {found}, but a Whisper model has {value}: {_AGAIN}")
    rest = sorted(variables.table.keys() - variables.used - set(_HARMLESS))
    unknown = [name for name in rest if variables.table[name].shape or variables.table[name].whole().item() != 0]
    if unknown:  # a zero disables something
        raise ModelError(
            f"{variables.path} holds {len(unknown)} variables that Linnet does not know, such as {unknown[0]}: "
            "it is no plain Whisper model; import the original"
        )


def _description(variables: _Variables) -> str:
    """The precisions of matrices: `float16`, `int8`."""
    found = {v.dtype for v in variables.table.values() if len(v.shape) > 1}
    quantized = found & {torch.int8, torch.int16}
    return " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in quantized or found))


def _read_tokens(folder: Path, size: int, files: list[Path]) -> list[str]:
    """Read the vocabulary of a folder, token by token; empty if it has none. Adds the files read to `files`."""
    for name in ("vocabulary.json", "vocabulary.txt"):
        path = folder / name
        if not path.is_file():
            continue
        try:
            tokens: Any = load_json(path, LARGEST_VOCABULARY) if name.endswith(".json") else _lines(path)
        except UnicodeDecodeError as error:
            raise ModelError(f"{path} is damaged ({error}): copy or download it again") from error
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise ModelError(f"{path} must hold a list of tokens: copy or download it again")
        if len(tokens) != size:
            raise ModelError(f"{path} holds {len(tokens)} tokens, but the model has {size}: use both from one model")
        files.append(path)
        return tokens
    return []


def _lines(path: Path) -> list[str]:
    return read_regular(path, LARGEST_VOCABULARY).decode("utf-8").removesuffix("\n").split("\n")


def _settings(path: Path, dimensions: Dimensions) -> Settings:
    said = read_json(path)
    heads = said.get("alignment_heads")
    return Settings(
        suppress=_tokens(said, "suppress_ids", path, dimensions.vocabulary),
        begin_suppress=_tokens(said, "suppress_ids_begin", path, dimensions.vocabulary),
        languages=_tokens(said, "lang_ids", path, dimensions.vocabulary),
        alignment_heads=None if heads is None else _heads(heads, path, dimensions),
    )


def _tokens(said: Mapping[str, Any], key: str, path: Path, size: int) -> tuple[int, ...] | None:
    """A list of token ids; -1, which refers to a list elsewhere, is dropped."""
    listed = said.get(key)
    if listed is None:
        return None
    if not isinstance(listed, list) or not all(isinstance(token, int) and -1 <= token < size for token in listed):
        raise ModelError(f"{path}: {key} must list token ids below {size}: copy or download it again")
    return tuple(token for token in listed if token >= 0)


def _heads(listed: Any, path: Path, dimensions: Dimensions) -> tuple[tuple[int, int], ...]:
    def known(pair: Any) -> bool:
        if not isinstance(pair, list) or len(pair) != 2:
            return False
        layer, head = pair
        return layer in range(dimensions.text_layers) and head in range(dimensions.text_heads)

    if isinstance(listed, list) and all(map(known, listed)):
        return tuple((layer, head) for layer, head in listed)
    raise ModelError(f"{path}: alignment_heads must list pairs of layer and head: copy or download it again")
