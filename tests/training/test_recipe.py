import dataclasses
from pathlib import Path

import pytest

from linnet.errors import OptionError
from linnet.training.recipe import read_recipe
from linnet.training.speech.recipe import JoinOptions, SpeechRecipe
from recipes.digits.recipe import DigitsRecipe
from tests.support.places import RECIPES

DIGITS = f"task: {RECIPES}/digits/recipe.py:DigitsRecipe\n"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


def test_an_empty_recipe_is_the_defaults(tmp_path: Path) -> None:
    assert read_recipe(write(tmp_path, "")) == SpeechRecipe()
    assert read_recipe(write(tmp_path, DIGITS)) == DigitsRecipe()


@pytest.mark.parametrize("name", sorted(path.name for path in RECIPES.glob("digits*.yaml")))
def test_the_shipped_recipes_read_and_keep_the_test_speaker_out(name: str) -> None:
    recipe = read_recipe(RECIPES / name)
    assert recipe.data.train_speakers == ("george", "jackson", "nicolas", "yweweler")
    assert recipe.data.validation_speakers == ("lucas",)
    assert "theo" not in str(dataclasses.asdict(recipe))


def test_the_recipe_for_ones_own_recordings_reads() -> None:
    recipe = read_recipe(RECIPES / "finetune.yaml")
    assert isinstance(recipe, SpeechRecipe)
    assert set(recipe.freeze) == {"model.encoder", "model.decoder"}
    assert recipe.data.augment is not None


def test_values_are_read_into_their_places(tmp_path: Path) -> None:
    recipe = read_recipe(
        write(tmp_path, DIGITS + "optimization: {steps: 7, learning_rate: 1}\ndata: {banks: [a, b]}\n")
    )
    assert recipe.optimization.steps == 7
    assert isinstance(recipe.optimization.learning_rate, float)
    assert recipe.data.banks == ("a", "b")


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        DigitsRecipe().run.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("optimization: {step: 7}", "unknown key 'step'; did you mean 'steps'?"),
        ("optimizer: {}", "did you mean 'optimization'?"),
        ("optimization: {steps: many}", "steps: expected int, got 'many'"),
        ("optimization: {steps: true}", "expected int, got True"),
        (DIGITS + "data: {banks: a}", "banks: expected a list"),
        ("data: 3", "expected keys and values"),
        ("- 1", "expected keys and values"),
        ("a: [", "not YAML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(OptionError) as caught:
        read_recipe(write(tmp_path, text))
    assert says in str(caught.value)
    assert "recipe.yaml" in str(caught.value)


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"gone\.yaml"):
        read_recipe(tmp_path / "gone.yaml")


def test_switches_and_numbers_are_read_as_people_write_them(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("data: {join: yes, augment: off}\noptimization: {steps: 010}\nrun: {seed: 0}\n")
    recipe = read_recipe(path)
    assert isinstance(recipe, SpeechRecipe)
    assert (recipe.data.join, recipe.data.augment) == (JoinOptions(), None)
    assert (recipe.optimization.steps, recipe.run.seed) == (10, 0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("run: {seed: 1}\nrun: {seed: 2}\n", "the key 'run' is given twice"),
        ("optimization: {steps: 1:30}\n", "steps: expected int, got '1:30'"),
        ("task: [speech]\n", "unknown task"),
    ],
)
def test_what_would_be_misread_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(OptionError, match=says):
        read_recipe(path)
