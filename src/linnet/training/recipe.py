"""Recipes: read from YAML into the dataclass of their task."""

from __future__ import annotations

from pathlib import Path

from linnet.errors import OptionError
from linnet.settings import build, read_yaml, unknown
from linnet.training.digits.recipe import DigitsRecipe
from linnet.training.speech.recipe import SpeechRecipe

TASKS: dict[str, type[DigitsRecipe] | type[SpeechRecipe]] = {kind.task: kind for kind in (SpeechRecipe, DigitsRecipe)}


def read_recipe(path: Path) -> DigitsRecipe | SpeechRecipe:
    """Read a recipe from YAML; its key `task` says which kind it is, `speech` (the default) or `digits`.

    Raises:
        OptionError: no such file, not YAML, an unknown key (names the nearest), or a value of the wrong type or that
            no run could take.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise OptionError(f"{path}: cannot read the recipe: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise OptionError(f"{path}: not YAML: {error}") from error
    content = read_yaml(text, str(path)) or {}
    task = content.pop("task", SpeechRecipe.task) if isinstance(content, dict) else SpeechRecipe.task
    if not isinstance(task, str) or task not in TASKS:
        raise OptionError(f"{path}: {unknown('task', task, TASKS)}")
    return build(TASKS[task], content, str(path))
