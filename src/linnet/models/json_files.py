"""Read the JSON files of an untrusted model folder: bounded in size and depth, with checked fields."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from linnet.errors import ModelError
from linnet.settings import ValueRule

LARGEST = 32 * 2**20  # bytes of a settings file; the largest known, an index of shards, takes 1
LARGEST_VOCABULARY = 256 * 2**20  # bytes of a tokenizer's file; the largest known takes 35 million
DEEPEST = 64  # nesting depth; configs of nested models have 5

_AGAIN = "fetch or save the model again"


def _is_whole(value: Any) -> bool:
    return type(value) is int  # not bool


def integer(low: int, high: int) -> ValueRule:
    """A field rule: a whole number within bounds."""
    return ValueRule(
        f"a whole number from {low:,} to {high:,}", lambda value: _is_whole(value) and low <= value <= high
    )


def _list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(fits, value))


def is_plain_name(name: Any) -> bool:
    """Whether this is the name of a file in the same folder, not a path that leads elsewhere.

    >>> is_plain_name("model-00001-of-00002.safetensors"), is_plain_name("../secret"), is_plain_name("/dev/zero")
    (True, False, False)
    """
    if not isinstance(name, str) or "\0" in name or name == "..":
        return False
    return PurePosixPath(name).name == PureWindowsPath(name).name == name != ""


TEXT = ValueRule("a text", lambda value: isinstance(value, str))
TEXTS = ValueRule("a list of strings", _list_of(lambda one: isinstance(one, str)))
OBJECT = ValueRule("an object", lambda value: isinstance(value, dict))
FLAG = ValueRule("true or false", lambda value: isinstance(value, bool))
NAME = ValueRule("the name of a file in this folder", is_plain_name)
TOKEN = integer(0, 2**31 - 1)
TOKENS = ValueRule("a list of token ids", _list_of(_is_whole))
ENDS = ValueRule("a token id, or a list of them", lambda value: _is_whole(value) or TOKENS.allows(value))
TABLE = ValueRule(
    "an object that maps names to token ids",
    lambda value: isinstance(value, dict) and all(map(TOKEN.allows, value.values())),
)
PAIRS = ValueRule("a list of pairs of whole numbers", _list_of(lambda pair: TOKENS.allows(pair) and len(pair) == 2))
SHARDS = ValueRule(
    "an object that maps tensors to names of files in this folder",
    lambda value: isinstance(value, dict) and all(map(is_plain_name, value.values())),
)

_EXTRACTOR = {
    "chunk_length": integer(1, 3_600),
    "feature_size": integer(1, 10_000),
    "hop_length": integer(1, 1_000_000),
    "n_fft": integer(1, 1_000_000),
    "sampling_rate": integer(1, 1_000_000),
}
_INDEX = {"weight_map": SHARDS}
FIELDS: Mapping[str, Mapping[str, ValueRule]] = {
    "config.json": {
        "architectures": TEXTS,
        "model_type": TEXT,
        "linnet": OBJECT,
        "linnet_low_rank": OBJECT,
        "transformers_weights": NAME,
        "max_source_positions": integer(1, 1_000_000),
        "max_target_positions": integer(1, 1_000_000),
        "suppress_tokens": TOKENS,
        "begin_suppress_tokens": TOKENS,
    },
    "generation_config.json": {
        "alignment_heads": PAIRS,
        "begin_suppress_tokens": TOKENS,
        "decoder_start_token_id": ENDS,
        "eos_token_id": ENDS,
        "is_multilingual": FLAG,
        "lang_to_id": TABLE,
        "max_initial_timestamp_index": TOKEN,
        "no_timestamps_token_id": TOKEN,
        "prev_sot_token_id": TOKEN,
        "suppress_tokens": TOKENS,
        "task_to_id": TABLE,
    },
    "preprocessor_config.json": {**_EXTRACTOR, "feature_extractor": OBJECT},
    "processor_config.json": {**_EXTRACTOR, "feature_extractor": OBJECT},
    "model.safetensors.index.json": _INDEX,
    "pytorch_model.bin.index.json": _INDEX,
}  # the fields that Linnet reads itself, by file: each may be null or absent; Transformers checks the others

_SIZES = {
    "layers": integer(-1, 1_000),
    **dict.fromkeys(("size", "dim", "positions", "embeddings", "heads", "bins", "model", "labels"), integer(-1, 2**24)),
}  # sizes, by the last word of the field: a model of a million layers would fill the memory before it is refused


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a model folder.

    Raises `ModelError` that names the file, and the field if possible, for anything but a regular file of limited size
    with a JSON object of limited depth and fields according to `FIELDS`.
    """
    value = load_json(path)
    if not isinstance(value, dict):
        raise ModelError(f"{path} must hold a JSON object, but holds {type(value).__name__}: {_AGAIN}")
    kinds = FIELDS.get(path.name, {})
    _check_fields(path, value, kinds)
    if path.name in ("preprocessor_config.json", "processor_config.json"):
        _check_fields(path, value.get("feature_extractor") or {}, kinds)
    if path.name == "config.json":
        _check_sizes(path, value)
    return value


def load_json(path: Path, largest: int = LARGEST) -> Any:
    """Read any JSON value of a regular file of at most `largest` bytes and limited depth. Raises `ModelError`."""
    data = read_regular(path, largest)
    try:
        value = json.loads(data.decode("utf-8"))
    except json.JSONDecodeError as error:
        raise _damaged(path, f"is not valid JSON ({error})") from error
    except UnicodeDecodeError as error:
        raise _damaged(path, f"is not valid JSON (not UTF-8 at byte {error.start})") from error
    except ValueError as error:  # Python does not read longer ones
        raise _damaged(path, "is not valid JSON (it holds a number of thousands of digits)") from error
    except RecursionError as error:
        raise _too_deep(path) from error
    _check_depth(path, value)
    return value


def read_regular(path: Path, largest: int = LARGEST) -> bytes:
    """The bytes of a regular file, or a link to one, of limited size. Raises `ModelError`."""
    require_regular(path)
    try:
        with path.open("rb") as file:
            data = file.read(largest + 1)  # the reported size of a system file may be wrong
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) > largest:
        raise _damaged(path, f"is larger than {largest // 2**20} MiB, the limit for its kind")
    return data


def require_regular(path: Path) -> None:
    """Raise `ModelError` if the path is not a regular file, but a folder, a pipe or a device."""
    try:
        wrong = path.exists() and not path.is_file()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    if wrong:
        what = "a folder" if path.is_dir() else "a pipe or a device"
        raise ModelError(f"{path} is {what}, but a model's files must be regular files: remove it, or {_AGAIN}")


def _check_fields(path: Path, values: Mapping[str, Any], kinds: Mapping[str, ValueRule]) -> None:
    for name, kind in kinds.items():
        if values.get(name) is not None and not kind.allows(values[name]):
            raise _misfit(path, name, kind, values[name])


def _check_sizes(path: Path, config: Any) -> None:
    for name, value in config.items():
        kind = _SIZES.get(name.rpartition("_")[2])
        if isinstance(value, dict):
            _check_sizes(path, value)
        elif kind is not None and _is_whole(value) and not kind.allows(value):
            raise _misfit(path, name, kind, value)


def _misfit(path: Path, name: str, kind: ValueRule, value: Any) -> ModelError:
    found = json.dumps(value)
    found = found if len(found) <= 60 else f"{found[:60]}..."
    return ModelError(f"{path}: {name} must be {kind.words}, but is {found}: {_AGAIN}")


def _check_depth(path: Path, value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST):
        inner = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [item for items in inner for item in items if isinstance(item, dict | list)]
        if not level:
            return
    raise _too_deep(path)


def _too_deep(path: Path) -> ModelError:
    return _damaged(path, f"is nested more than {DEEPEST} levels deep")


def _damaged(path: Path, what: str) -> ModelError:
    return ModelError(f"{path} {what}: {_AGAIN}, the file is damaged")
