"""Custom tasks: the recipe class named by the key `task`, in a Python file or an importable module."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import sys
from pathlib import Path
from types import ModuleType

from linnet.errors import OptionError
from linnet.training.options import Recipe

_NEEDED = ("task", "optimization", "run", "prepare", "outline")


def is_own(task: str) -> bool:
    """Whether a task is a custom class: `FILE.py:Class` or `module:Class`."""
    return ":" in task


def load_task(task: str, folder: Path) -> tuple[type[Recipe], str]:
    """Import the class `FILE.py:Class` (FILE relative to `folder`) or `module:Class`; returns it and its absolute name.

    Raises `OptionError` where it does not exist, cannot be imported, or is not a recipe.
    """
    place, _, title = task.rpartition(":")
    file = (folder / Path(place).expanduser()).absolute() if place.endswith(".py") else None
    module = _module(place) if file is None else _module_of(file)
    kind = getattr(module, title, None)
    if kind is None:
        known = [name for name, value in vars(module).items() if isinstance(value, type)]
        near = difflib.get_close_matches(title, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f": write it as {place}:Class."
        raise OptionError(f"task {task!r}: {file or place} has no class {title!r}{hint}")
    lacking = [name for name in _NEEDED if not hasattr(kind, name) and name not in _fields(kind)]
    if not _fields(kind) or lacking:
        raise OptionError(
            f"task {task!r}: {title} is not a recipe: it should be a frozen dataclass with the fields task, "
            f"optimization and run and the methods prepare and outline{_without(lacking)}."
        )
    return kind, f"{file or place}:{title}"


def code_of(task: str) -> list[Path]:
    """The Python files of a task in a file: those of its package, or of its folder if there is none."""
    place, _, _ = task.rpartition(":")
    if not place.endswith(".py"):
        return []
    file = Path(place)
    root = _import_root(file)
    return sorted(file.parent.glob("*.py") if root == file.parent else (root / _name(file)[0]).rglob("*.py"))


def _fields(kind: object) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []


def _without(lacking: list[str]) -> str:
    return f"; it has no {' and no '.join(lacking)}" if lacking else ""


def _module_of(file: Path) -> ModuleType:
    """Import a file under its name within its package."""
    if not file.is_file():
        raise OptionError(f"task: there is no file {file}: name one relative to the recipe's folder, or module:Class.")
    root, name = str(_import_root(file)), ".".join(_name(file))
    if root not in sys.path:
        sys.path.append(root)
    module = _module(name)
    found = getattr(module, "__file__", None)
    if found is None or not Path(found).samefile(file):
        raise OptionError(f"task: {file} cannot be imported: {found} has the same name, {name}; rename one of them.")
    return module


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:  # user code may raise anything
        raise OptionError(f"task: cannot import {name} ({type(error).__name__}: {error}).") from error


def _import_root(file: Path) -> Path:
    """The folder that contains the outermost package of a file."""
    folder = file.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


def _name(file: Path) -> tuple[str, ...]:
    return file.relative_to(_import_root(file)).with_suffix("").parts
