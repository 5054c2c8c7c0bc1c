"""Settings: YAML or a mapping to a frozen dataclass, with checked values; an unknown key names the nearest one."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from linnet.errors import OptionError

T = TypeVar("T")

_SWITCHES = {"yes": True, "on": True, "no": False, "off": False}
_LEFT_TO_FIELDS = (":bool", ":timestamp", ":int")
_NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?")
_TOO_LARGE = 2**63  # for NumPy, PyTorch, and any run


# --- what a value may be


@dataclass(frozen=True)
class ValueRule:
    """The allowed values of a setting: in words, and as a test."""

    words: str
    allows: Callable[[Any], bool]

    def __or__(self, other: ValueRule) -> ValueRule:
        return ValueRule(f"{self.words} or {other.words}", lambda value: self.allows(value) or other.allows(value))

    def check(self, name: str, value: Any) -> None:
        """Raise an `OptionError` that names the key if its value is not allowed.

        >>> SHARE.check("warmup", 500)
        Traceback (most recent call last):
        linnet.errors.OptionError: warmup must be from 0 to 1, got 500
        """
        with suppress(TypeError):  # text, a list
            if self.allows(value):
                return
        if isinstance(value, int | float) and value >= _TOO_LARGE:
            raise OptionError(f"{name} must be below 2**63")
        raise OptionError(f"{name} must be {self.words}, got {value!r}")


POSITIVE = ValueRule("more than 0", lambda value: 0 < value < _TOO_LARGE)
NOT_NEGATIVE = ValueRule("0 or more", lambda value: 0 <= value < _TOO_LARGE)
ONE_OR_MORE = ValueRule("1 or more", lambda value: 1 <= value < _TOO_LARGE)
SHARE = ValueRule("from 0 to 1", lambda value: 0 <= value <= 1)
BELOW_ONE = ValueRule("from 0 to below 1", lambda value: 0 <= value < 1)


def require(options: object, rule: ValueRule, *names: str) -> None:
    """Check fields of a dataclass against a rule. Raises `OptionError`."""
    for name in names:
        rule.check(name, getattr(options, name))


def require_known(options: object, name: str, known: Iterable[str]) -> None:
    """Check that a field is one of the known words; an empty word means that it may be left out."""
    value, words = getattr(options, name), tuple(known)
    if value not in words:
        left_out = ", or leave it out" if "" in words else ""
        raise OptionError(f"{name} {value!r} is unknown: use {', '.join(filter(None, words))}{left_out}.")


# --- what a word may have meant


def did_you_mean(word: str, known: Iterable[str] | Mapping[str, str], *, most: int = 1, cutoff: float = 0.6) -> str:
    """A clause in brackets with similar known words; empty without any, or if the word is known.

    A mapping gives the displayed form of each word.

    >>> did_you_mean("bema_size", ["beam_size", "seed"])
    " (did you mean 'beam_size'?)"
    """
    shown = known if isinstance(known, Mapping) else {one: repr(one) for one in known}
    found = _nearest(word, shown, most, cutoff)
    return f" (did you mean {' or '.join(found)}?)" if found and word not in shown else ""


def unknown(what: str, word: object, known: Iterable[str]) -> str:
    """A sentence on an unknown word, which always names the nearest one.

    >>> unknown("kind", "Deepgramm", ["deepgram", "openai"])
    "unknown kind 'Deepgramm'; did you mean 'deepgram'? Known: deepgram, openai"
    """
    known = list(known)
    near = _nearest(str(word), {one: repr(one) for one in known}, 1, 0.0)[0]
    return f"unknown {what} {word!r}; did you mean {near}? Known: {', '.join(known)}"


def _nearest(word: str, shown: Mapping[str, str], most: int, cutoff: float) -> list[str]:
    lower = {one.lower(): text for one, text in shown.items()}
    return [lower[one] for one in difflib.get_close_matches(word.lower(), lower, n=most, cutoff=cutoff)]


# --- YAML


def read_yaml(text: str, where: str) -> Any:
    """The values of a YAML document. `no`, `on`, dates and 010 stay strings: the field decides what they mean.

    Raises:
        OptionError: it is not YAML, or gives a key twice; `where` names the source.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {  # noqa: RUF012 (as PyYAML has it)
            first: [(tag, expression) for tag, expression in resolvers if not tag.endswith(_LEFT_TO_FIELDS)]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [key.value for key, _ in node.value]
            if (twice := next((key for key in keys if keys.count(key) > 1), None)) is not None:
                raise OptionError(f"{where}: the key {twice!r} is given twice.")
            return super().construct_mapping(node, deep)

    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:bool", re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF")
    )
    Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?(0|[1-9][\d_]*)$"), list("-+0123456789"))
    try:
        return yaml.load(text, Loader)
    except OptionError:
        raise
    except RecursionError:
        raise OptionError(f"{where}: not YAML: its values are nested too deeply.") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an integer with too many digits
        raise OptionError(f"{where}: not YAML: {error}") from error


def read_yaml_file(path: Path, what: str) -> Any:
    """The values of a YAML file, as by `read_yaml`; `{}` for an empty one. `what` names the file's kind in messages.

    Raises:
        OptionError: the file cannot be read, or as `read_yaml`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise OptionError(f"{path}: cannot read the {what}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise OptionError(f"{path}: not YAML: {error}") from error
    return read_yaml(text, str(path)) or {}


# --- dataclasses


def build(kind: type[T], content: Any, where: str) -> T:
    """Build a (nested) dataclass from plain values; `where` names the source in messages.

    `true` means a part with all its defaults, `false` an omitted part. Raises `OptionError` for an unknown key, with
    the nearest one (or the new name, by the class's `FORMER_KEYS`), a missing key, and a value that is invalid or of
    another type.
    """
    if not isinstance(content, dict):
        raise OptionError(f"{where}: expected keys and values, got {content!r}")
    hints = typing.get_type_hints(kind)
    known = {item.name: item for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in content.items():
        if key in getattr(kind, "FORMER_KEYS", ()):
            raise OptionError(f"{where}: the key {key!r} was renamed: use {kind.FORMER_KEYS[key]!r}")  # type: ignore[attr-defined]
        if key not in known:
            raise OptionError(f"{where}: {unknown('key', key, known)}")
        values[key] = _value(hints[key], value, f"{where}: {key}")
    for name, item in known.items():
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise OptionError(f"{where}: the key {name!r} is missing")
    try:
        return kind(**values)
    except OptionError as error:
        raise OptionError(f"{where}: {error}") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    """The value in the type of the hint: a class, a dataclass, a list or mapping of one, or an optional one."""
    optional = isinstance(hint, types.UnionType)
    inner = typing.get_args(hint)[0] if optional else hint
    is_part = dataclasses.is_dataclass(inner)
    if isinstance(value, str) and is_part:
        value = _SWITCHES.get(value.lower(), value)
    if optional and (value is None or (value is False and is_part)):
        return None
    if is_part:
        return build(inner, {} if value is True else value, where)
    if typing.get_origin(inner) in (tuple, dict):
        return _values(inner, value, where)
    value = _as_asked(inner, value)
    if inner is not Any and (not isinstance(value, inner) or (isinstance(value, bool) and inner is not bool)):
        raise OptionError(f"{where}: expected {inner.__name__}{' or nothing' * optional}, got {value!r}")
    return value


def _as_asked(hint: Any, value: Any) -> Any:
    """The value converted to the type of its field: to PyYAML (YAML 1.1), 1e-5 is a string."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and hint in (bool, Any):
        return _SWITCHES.get(value.lower(), value)
    if isinstance(value, str) and hint in (int, float) and _NUMBER.fullmatch(value):
        value = float(value.replace("_", ""))
    if hint is float and isinstance(value, int):
        return float(value) if abs(value) < 2**1023 else math.inf
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _values(hint: Any, value: Any, where: str) -> Any:
    """The items of a list, or the values of a mapping."""
    if typing.get_origin(hint) is dict:
        if not isinstance(value, dict):
            raise OptionError(f"{where}: expected keys and values, got {value!r}")
        inner = typing.get_args(hint)[1]
        return {str(key): _value(inner, item, f"{where}: {key}") for key, item in value.items()}
    if not isinstance(value, list):
        raise OptionError(f"{where}: expected a list, got {value!r}")
    inner = typing.get_args(hint)[0]
    return tuple(_value(inner, item, where) for item in value)
