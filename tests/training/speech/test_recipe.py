from pathlib import Path
from typing import Any

import pytest
import yaml

from linnet.data import SourceSpec
from linnet.errors import OptionError
from linnet.training.recipe import read_recipe
from linnet.training.speech.recipe import SpeechRecipe, TrainingSource


def read(tmp_path: Path, content: dict[str, Any]) -> SpeechRecipe:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    recipe = read_recipe(path)
    assert isinstance(recipe, SpeechRecipe)
    return recipe


def test_the_task_says_which_recipe_it_is(tmp_path: Path) -> None:
    assert read(tmp_path, {"task": "speech"}) == SpeechRecipe()


def test_sources_and_open_dictionaries_are_read(tmp_path: Path) -> None:
    recipe = read(
        tmp_path,
        {
            "task": "speech",
            "model": {"projector": {"kind": "mlp", "stack": 5, "normalize": False}},
            "freeze": {"encoder": "top:4", "language_model": "lora(r=8)"},
            "data": {
                "train": [{"path": "a.jsonl"}, {"path": "b", "kind": "kaldi", "transcribe_with": "tiny"}],
                "validation": {"path": "c.jsonl"},
            },
        },
    )
    assert recipe.model.projector == {"kind": "mlp", "stack": 5, "normalize": False}
    assert recipe.freeze == {"encoder": "top:4", "language_model": "lora(r=8)"}
    assert recipe.data.train == (TrainingSource("a.jsonl"), TrainingSource("b", "kaldi", transcribe_with="tiny"))
    assert recipe.data.validation == SourceSpec("c.jsonl")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"task": "speach"}, "unknown task 'speach'; did you mean 'speech'?"),
        ({"task": "speech", "frieze": {}}, "unknown key 'frieze'; did you mean 'freeze'?"),
        ({"task": "speech", "data": {"train": [{"paht": "a"}]}}, "train: unknown key 'paht'; did you mean 'path'?"),
        ({"task": "speech", "data": {"train": [{"kind": "nemo"}]}}, "the key 'path' is missing"),
        ({"task": "speech", "data": {"train": "a.jsonl"}}, "train: expected a list"),
        ({"task": "speech", "data": {"batching": {"buget": 1}}}, "did you mean 'budget'?"),
        ({"task": "speech", "data": {"augment": {"room": 0.3}}}, "augment: the key 'room' was renamed: use 'reverb'"),
        ({"task": "speech", "freeze": ["encoder"]}, "freeze: expected keys and values"),
        ({"task": "speech", "freeze": {"encoder": 4}}, "freeze: encoder: expected str, got 4"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError) as caught:
        read(tmp_path, content)
    assert says in str(caught.value)
    assert "recipe.yaml" in str(caught.value)
