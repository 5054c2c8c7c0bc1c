"""Reading recipes from YAML into the dataclass of their task."""

from __future__ import annotations

from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from linnet.errors import OptionError
from linnet.settings import build, read_yaml_file
from linnet.training.causal.recipe import CausalRecipe
from linnet.training.options import Recipe
from linnet.training.speech.recipe import SpeechRecipe
from linnet.training.task import is_own, load_task

_KINDS: dict[str, Any] = {kind.task: kind for kind in (SpeechRecipe, CausalRecipe)}


def read_recipe(path: Path) -> Recipe:
    """Read a recipe from YAML; its key `task` is `speech` (the default), `causal`, or names a class (`load_task`).

    Raises:
        OptionError: no such file, not YAML, an unknown key (names the nearest), an invalid value, or an unknown task.
    """
    content = read_yaml_file(path, "recipe")
    task = content.pop("task", SpeechRecipe.task) if isinstance(content, dict) else SpeechRecipe.task
    if isinstance(task, str) and task in _KINDS:
        found: Recipe = build(_KINDS[task], content, str(path))
        return found
    if task == "digits":  # its former name
        raise OptionError(f"{path}: the task digits is now digits/recipe.py:DigitsRecipe, in the folder recipes/.")
    if not isinstance(task, str) or not is_own(task):
        known = min(_KINDS, key=lambda kind: -SequenceMatcher(None, kind, str(task)).ratio())
        raise OptionError(f"{path}: unknown task {task!r}; did you mean {known!r}? Or name a FILE.py:Class.")
    try:
        kind, task = load_task(task, path.parent)
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from error
    return build(kind, {**content, "task": task}, str(path))
