"""A recipe names its own task: a class in a file beside it, or of a module that can be imported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from linnet.errors import OptionError
from linnet.training.recipe import read_recipe
from linnet.training.remote.parcel import pack
from recipes.digits.recipe import DigitsRecipe
from tests.support.digits_bank import TASK
from tests.support.forked import run_linnet

OWN = """
from __future__ import annotations
from dataclasses import dataclass, field
from linnet.training.options import Optimization, RunSettings
from {helper} import LABEL

@dataclass(frozen=True)
class Own:
    label: str = LABEL
    optimization: Optimization = field(default_factory=Optimization)
    run: RunSettings = field(default_factory=RunSettings)
    task: str = ""

    def prepare(self, context):
        raise NotImplementedError

    def outline(self, context):
        yield "label", self.label
        yield "skips", str(context.skip_bad)

@dataclass(frozen=True)
class Half:
    run: RunSettings = field(default_factory=RunSettings)
    task: str = ""
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_file_beside_the_recipe_is_the_task_from_any_folder(tmp_path: Path) -> None:
    write(tmp_path / "mine" / "lone_task.py", OWN.format(helper="lone_helper"))
    write(tmp_path / "mine" / "lone_helper.py", "LABEL = 'lone'")
    recipe = write(tmp_path / "mine" / "r.yaml", "task: lone_task.py:Own\nrun: {output: out}\n")
    for arguments, label in ((["--skip-bad"], "lone"), ([], "lone")):
        done = run_linnet("train", recipe, "--dry-run", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["label", label, "skips", str(bool(arguments))]


def test_a_file_of_a_package_is_imported_with_its_package(tmp_path: Path) -> None:
    write(tmp_path / "packed_task" / "__init__.py", "")
    write(tmp_path / "packed_task" / "inner" / "__init__.py", "")
    write(tmp_path / "packed_task" / "inner" / "task.py", OWN.format(helper="..words"))
    write(tmp_path / "packed_task" / "words.py", "LABEL = 'packed'")
    recipe = read_recipe(write(tmp_path / "r.yaml", "task: packed_task/inner/task.py:Own"))
    assert type(recipe).__module__ == "packed_task.inner.task"
    assert recipe.task == f"{tmp_path}/packed_task/inner/task.py:Own"
    parcel = pack(recipe)
    assert parcel.recipe["task"] == f"../../files{recipe.task}"
    assert [Path(path).name for path in parcel.paths] == ["__init__.py", "__init__.py", "task.py", "words.py"]


def test_an_importable_module_is_named_by_its_name(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path / "r.yaml", "task: recipes.digits.recipe:DigitsRecipe"))
    assert recipe == DigitsRecipe()
    assert recipe == read_recipe(write(tmp_path / "r.yaml", f"task: {TASK}"))
    assert pack(recipe).paths == []


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wrong")
    write(folder / "bad_task.py", "class Own(:")
    write(folder / "json.py", "class Own: pass")
    write(folder / "half_task.py", OWN.format(helper="string").replace("import LABEL", "import digits as LABEL"))
    return folder


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ("digits", "the task digits is now digits/recipe.py:DigitsRecipe, in the folder recipes"),
        ("gone.py:Own", "there is no file .*gone.py: name one relative to the recipe's folder"),
        ("no_such_module_here:Own", r"cannot import no_such_module_here \(ModuleNotFoundError"),
        ("bad_task.py:Own", r"cannot import bad_task \(SyntaxError"),
        ("half_task.py:Owm", "has no class 'Owm'; did you mean 'Own'"),
        ("half_task.py:Half", "Half is not a recipe: .* it has no optimization and no prepare and no outline"),
        ("json.py:Own", "has the same name, json; rename one of them"),
    ],
)
def test_what_is_wrong_with_a_task_is_named(wrong: Path, task: str, says: str) -> None:
    with pytest.raises(OptionError, match=says) as caught:
        read_recipe(write(wrong / "r.yaml", f"task: {task}"))
    assert "r.yaml" in str(caught.value)


def test_a_run_keeps_the_name_of_its_task(tmp_path: Path, bank: Path) -> None:
    from linnet.training.loop import run_recipe
    from tests.support.digits_bank import tiny_recipe

    recipe = read_recipe(write(tmp_path / "r.yaml", tiny_recipe(bank, tmp_path / "out", steps=1)))
    assert [row["step"] for row in run_recipe(recipe)] == [1]
    kept = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert kept["task"] == str(TASK)
    again = {name: value for name, value in kept.items() if name != "versions"}
    assert read_recipe(write(tmp_path / "again.yaml", yaml.safe_dump(again))) == recipe
