"""A recipe that no run could take is refused where it is read, so that a dry run and a run agree; numbers as YAML has
them."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from linnet.errors import OptionError
from linnet.training.recipe import build, read_recipe
from linnet.training.speech.recipe import SpeechRecipe
from recipes.digits.recipe import DigitsRecipe

Place = tuple[str, ...]


def read(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return read_recipe(path)


def numbers(kind: Any, place: Place = ()) -> Iterator[Place]:
    """Where a recipe holds a number."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        inner = next((part for part in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(part)), None)
        if inner is not None and typing.get_origin(hint) is not tuple:
            yield from numbers(inner, (*place, field.name))
        elif hint in (int, float):
            yield (*place, field.name)


def nested(place: Place, value: Any) -> dict[str, Any]:
    for name in reversed(place):
        value = {name: value}
    return typing.cast("dict[str, Any]", value)


@pytest.mark.parametrize("kind", [SpeechRecipe, DigitsRecipe])
def test_every_number_of_a_recipe_has_a_limit(kind: type[Any]) -> None:
    """None is below zero, and none is no number or without end."""
    found = list(numbers(kind))
    assert len(found) > 20
    for place in found:
        for value in (-1, -1e-9, math.nan, math.inf, 10**400):
            with pytest.raises(OptionError, match=place[-1].split("_")[0]):
                build(kind, nested(place, value), "recipe.yaml")


@pytest.mark.parametrize(
    ("written", "rate"),
    [("1e-5", 1e-5), ("1E-5", 1e-5), ("1.0e-5", 1e-5), (".5", 0.5), ("+.5e-3", 5e-4), ("1", 1.0), ("1e0", 1.0)],
)
def test_numbers_are_read_as_people_write_them(tmp_path: Path, written: str, rate: float) -> None:
    recipe = read(tmp_path, f"optimization: {{learning_rate: {written}, rates: {{encoder: {written}}}}}")
    assert recipe.optimization.learning_rate == recipe.optimization.rates["encoder"] == rate
    assert isinstance(recipe.optimization.learning_rate, float)


@pytest.mark.parametrize(("written", "steps"), [("1e5", 100_000), ("1_000", 1000), ("20.0", 20), ("1_0e1", 100)])
def test_whole_numbers_too(tmp_path: Path, written: str, steps: int) -> None:
    found = read(tmp_path, f"optimization: {{steps: {written}}}").optimization.steps
    assert found == steps
    assert isinstance(found, int)


@pytest.mark.parametrize(
    ("written", "value"), [("yes", True), ("on", True), ("True", True), ("no", False), ("OFF", False)]
)
def test_switches_are_read_by_their_fields(tmp_path: Path, written: str, value: bool) -> None:
    """The word `no` is a precision, `yes` a way to say true, and a day is a good name for a run."""
    recipe = read(
        tmp_path,
        f"optimization: {{gradient_checkpointing: {written}}}\n"
        f"model: {{projector: {{normalize: {written}}}}}\n"
        "run: {precision: no, output: 2026-11-28}",
    )
    assert recipe.optimization.gradient_checkpointing is value
    assert recipe.model.projector == {"normalize": value}
    assert recipe.run.precision == "no"
    assert recipe.run.output == "2026-11-28"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("optimization: {learning_rate: fast}", "learning_rate: expected float, got 'fast'"),
        ("optimization: {learning_rate: 1e-5x}", "expected float, got '1e-5x'"),
        ("optimization: {learning_rate: yes}", "expected float, got 'yes'"),
        ("optimization: {gradient_checkpointing: 1}", "expected bool, got 1"),
        ("run: {output: true}", "expected str, got True"),
    ],
)
def test_what_is_no_such_value_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(OptionError) as caught:
        read(tmp_path, text)
    assert says in str(caught.value)
