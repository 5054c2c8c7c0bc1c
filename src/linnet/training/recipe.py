"""Recipes: frozen dataclasses read from YAML; an unknown key is an error that names the nearest one."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from linnet.errors import OptionError
from linnet.training.digits.recipe import DigitsRecipe
from linnet.training.speech.recipe import SpeechRecipe

T = TypeVar("T")


TASKS: dict[str, type[DigitsRecipe] | type[SpeechRecipe]] = {kind.task: kind for kind in (SpeechRecipe, DigitsRecipe)}


def read_recipe(path: Path) -> DigitsRecipe | SpeechRecipe:
    """Read a recipe from YAML; its key `task` says which kind it is, `speech` (the default) or `digits`.

    Raises:
        OptionError: no such file, not YAML, an unknown key (names the nearest), or a value of the wrong type.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"{path}: cannot read the recipe: {error.strerror}.") from error
    except yaml.YAMLError as error:
        raise OptionError(f"{path}: not YAML: {error}") from error
    content = content or {}
    task = content.pop("task", SpeechRecipe.task) if isinstance(content, dict) else SpeechRecipe.task
    if task not in TASKS:
        near = difflib.get_close_matches(str(task), TASKS, n=1, cutoff=0.0)
        raise OptionError(f"{path}: unknown task {task!r}; did you mean {near[0]!r}? Known: {', '.join(TASKS)}.")
    return build(TASKS[task], content, str(path))


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
    return kind(**values)


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, {} if value is True else value, where)
    if typing.get_origin(hint) in (tuple, dict):
        return _values(hint, value, where)
    if isinstance(hint, types.UnionType):
        inner = typing.get_args(hint)[0]
        left_out = value is None or (value is False and dataclasses.is_dataclass(inner))
        return None if left_out else _value(inner, value, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is not Any and (not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool)):
        raise OptionError(f"{where}: expected {hint.__name__}, got {value!r}.")
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
