"""Recipes: frozen dataclasses read from YAML; an unknown key is an error that names the nearest one."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from linnet.errors import OptionError
from linnet.training.options import Recipe
from linnet.training.speech.recipe import SpeechRecipe
from linnet.training.task import is_own, load_task

T = TypeVar("T")

_SWITCHES = {"yes": True, "on": True, "no": False, "off": False}
_LEFT_TO_FIELDS = (":bool", ":timestamp", ":int")
_NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?")


def read_recipe(path: Path) -> Recipe:
    """Read a recipe from YAML; its key `task` is `speech` (the default), or names a class (`load_task`).

    Raises:
        OptionError: no such file, not YAML, an unknown key (names the nearest), a value of the wrong type or that
            no run could take, or a task that is not there.
    """
    content = _load(path) or {}
    task = content.pop("task", SpeechRecipe.task) if isinstance(content, dict) else SpeechRecipe.task
    if task == SpeechRecipe.task:
        return build(SpeechRecipe, content, str(path))
    if not isinstance(task, str) or not is_own(task):
        known = SpeechRecipe.task
        raise OptionError(f"{path}: unknown task {task!r}; did you mean {known!r}? Or name a FILE.py:Class.")
    try:
        kind, task = load_task(task, path.parent)
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from error
    return build(kind, {**content, "task": task}, str(path))


def _load(path: Path) -> Any:
    """The values of a YAML file.

    `no`, `on` and dates stay words, and so does 010 (8 in YAML): what they stand for is the field's to say.
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
                raise OptionError(f"{path}: the key {twice!r} is given twice.")
            return super().construct_mapping(node, deep)

    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:bool", re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF")
    )
    Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?(0|[1-9][\d_]*)$"), list("-+0123456789"))
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader)
    except OSError as error:
        raise OptionError(f"{path}: cannot read the recipe: {error.strerror}.") from error
    except RecursionError:
        raise OptionError(f"{path}: not a recipe: its values are nested too deeply.") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: text that is not UTF-8, an integer without end
        raise OptionError(f"{path}: not YAML: {error}") from error


def build(kind: type[T], content: Any, where: str) -> T:
    """Make a (nested) recipe dataclass from plain YAML values; `where` names the place in messages.

    Within it `true` stands for a part with all its defaults, `false` for one that is left out.
    """
    if not isinstance(content, dict):
        raise OptionError(f"{where}: expected keys and values, got {content!r}.")
    hints = typing.get_type_hints(kind)
    known = [item.name for item in dataclasses.fields(kind)]  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in content.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)
            raise OptionError(f"{where}: unknown key {key!r}; did you mean {near[0]!r}? Known: {', '.join(known)}.")
        values[key] = _value(hints[key], value, f"{where}: {key}")
    for item in dataclasses.fields(kind):  # type: ignore[arg-type]
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if required and item.name not in values:
            raise OptionError(f"{where}: the key {item.name!r} is missing.")
    try:
        return kind(**values)
    except OptionError as error:
        raise OptionError(f"{where}: {error}") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    part = typing.get_args(hint)[0] if isinstance(hint, types.UnionType) else hint
    if isinstance(value, str) and dataclasses.is_dataclass(part):
        value = _SWITCHES.get(value.lower(), value)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, {} if value is True else value, where)
    if typing.get_origin(hint) in (tuple, dict):
        return _values(hint, value, where)
    if isinstance(hint, types.UnionType):
        inner = typing.get_args(hint)[0]
        left_out = value is None or (value is False and dataclasses.is_dataclass(inner))
        return None if left_out else _value(inner, value, where)
    value = _as_asked(hint, value)
    if hint is not Any and (not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool)):
        raise OptionError(f"{where}: expected {hint.__name__}, got {value!r}.")
    return value


def _as_asked(hint: Any, value: Any) -> Any:
    """The value in the type of its field, where YAML has it in another one: to PyYAML (YAML 1.1) 1e-5 is a text."""
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
    """The items of a list, or the values of keys."""
    if typing.get_origin(hint) is dict:
        if not isinstance(value, dict):
            raise OptionError(f"{where}: expected keys and values, got {value!r}.")
        inner = typing.get_args(hint)[1]
        return {str(key): _value(inner, item, f"{where}: {key}") for key, item in value.items()}
    if not isinstance(value, list):
        raise OptionError(f"{where}: expected a list, got {value!r}.")
    inner = typing.get_args(hint)[0]
    return tuple(_value(inner, item, where) for item in value)
