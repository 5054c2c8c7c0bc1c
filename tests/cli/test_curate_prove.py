"""`linnet curate prove` with a Whisper: fine-tuned on selections, scored, removed, resumed, named in what is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from linnet.curation.prove.options import read_experiment
from linnet.training.recipe import read_recipe
from linnet.training.speech.recipe import SpeechRecipe
from linnet.transcription import recognizer
from tests.support.calling import Called, called
from tests.support.places import RECIPES
from tests.support.tiny_whispers import WORDS, save_whisper

STEPS = 3


def write_strings(folder: Path, count: int, seed: int) -> None:
    """Strings of tones, one for each word, of at most 2 s: the window of the tiny Whisper."""
    folder.mkdir()
    random, time = np.random.default_rng(seed), np.arange(4000) / 16_000
    rows = []
    for number in range(count):
        said = random.integers(0, len(WORDS), 2 + number % 4)
        parts = [0.3 * np.sin(2 * np.pi * 250 * 1.2**word * time) * np.hanning(4000) for word in said]
        sound = np.concatenate(parts) + 0.002 * random.standard_normal(4000 * len(said))
        soundfile.write(folder / f"{number}.wav", sound, 16_000)
        row = {"audio": f"{number}.wav", "text": " ".join(WORDS[word] for word in said), "language": "en"}
        rows.append(row | {"speaker": f"s{number % 4}"})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment that fine-tunes the decoder of a tiny Whisper on a pool of 30 strings, with two tests."""
    folder = tmp_path_factory.mktemp("prove")
    for name, count in (("pool", 30), ("near", 6), ("far", 5)):
        write_strings(folder / name, count, len(name))
    model = save_whisper(folder / "small-whisper", layers=1)
    recipe = yaml.safe_load((RECIPES / "whisper-digits.yaml").read_text())
    recipe["model"]["checkpoint"] = str(model)
    recipe["data"]["batching"]["budget"] = 8.0
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (folder / "curation.yaml").write_text("workers: {workers: 1}\n")
    content = {
        "pools": [{"manifest": "pool/manifest.jsonl"}],
        "tests": {"near": "near/manifest.jsonl", "far": "far/manifest.jsonl"},
        "recipe": "recipe.yaml",
        "output": str(folder / "out"),
        "curation": "curation.yaml",
        "budgets": [0.5],
        "methods": ["random", "longest"],
        "against": "random",
        "seeds": 2,
        "draws": 1,
        "steps": STEPS,
        "normalizer": "digits",
    }
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def proved(experiment: Path) -> Iterator[tuple[Called, list[Any]]]:
    """What the first call left, and the models that it loaded."""
    loaded: list[Any] = []
    load = recognizer.load

    def counting(name: str, **options: Any) -> Any:
        loaded.append((name, options, load(name, **options)))
        return loaded[-1][-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recognizer, "load", counting)
        patch.setenv("LINNET_CACHE", str(experiment.parent / "cache"))
        yield called("curate", "prove", experiment, "--picture", experiment.with_name("picture.svg")), loaded


def test_a_whisper_is_fine_tuned_for_each_run_and_loaded_once_for_all_tests(
    experiment: Path, proved: tuple[Called, list[Any]]
) -> None:
    done, loaded = proved
    assert done.status == 0, done.err
    log = [json.loads(line) for line in (experiment.parent / "out/runs.jsonl").read_text().splitlines()]
    assert [row["run"]["steps"] for row in log] == [STEPS] * 4
    assert [len(row["tests"]["near"]["errors"]) for row in log] == [6] * 4
    assert [len(row["tests"]["far"]["errors"]) for row in log] == [5] * 4
    assert len(loaded) == len({name for name, _, _ in loaded}) == 4
    assert {options["threads"] for _, options, _ in loaded} == {1}, "as many as the recipe trains with"


def test_models_and_their_converted_copies_are_removed(experiment: Path, proved: tuple[Called, list[Any]]) -> None:
    _, loaded = proved
    assert not any(Path(name).exists() for name, _, _ in loaded)
    assert not list(experiment.parent.glob("out/*/run"))
    assert not list((experiment.parent / "cache/openvino").glob("*"))


def test_every_row_of_the_table_and_the_picture_name_the_model_and_how_few_seeds(
    experiment: Path, proved: tuple[Called, list[Any]]
) -> None:
    first, _, *rows = proved[0].out.splitlines()
    assert first == (
        "small-whisper, fine-tuned: 4 runs of 3 steps, 1 pool, 2 seeds (few: only large differences can be shown)"
    )
    assert len([row for row in rows if row.startswith("| small-whisper, fine-tuned | near | 0.5 | ")]) == 2
    assert len([row for row in rows if row.startswith("| small-whisper, fine-tuned | ")]) == 4
    picture = experiment.with_name("picture.svg").read_text()
    assert "small-whisper, fine-tuned" in picture
    assert "4 runs of 3 steps, 1 pool, 2 seeds (few: only large differences can be shown)" in picture


def test_a_second_call_trains_nothing_and_shows_the_same(experiment: Path, proved: tuple[Called, list[Any]]) -> None:
    done, loaded = proved
    before = len(loaded)
    for more in ((), ("--table-only",)):
        again = called("curate", "prove", experiment, *more)
        assert again.status == 0, again.err
        assert again.out == done.out
    assert len(loaded) == before


def test_the_shipped_experiments_differ_in_pools_recipe_output_and_normalizer_alone() -> None:
    digits, whisper = (read_experiment(RECIPES / f"prove-{name}.yaml") for name in ("digits", "whisper"))
    assert digits.budgets == whisper.budgets
    for one in (digits, whisper):
        pools = [Path(pool.manifest).parent.name for pool in one.pools]
        assert len(set(pools)) == one.seeds, "each seed has a pool of its own"
        assert not {"pool-0", "pool-1"} & set(pools), "gates were made on them"
    assert digits.tests.items() >= whisper.tests.items()
    assert whisper.normalizer == "digits", "of `3 1 4` and `three one four`, which tiny.en writes, none is an error"
    assert digits.output != whisper.output
    recipe = read_recipe(Path(whisper.recipe))
    assert isinstance(recipe, SpeechRecipe)
    assert recipe.model.checkpoint == "tiny.en"
    assert recipe.data.join is not None
    assert recipe.data.validation is None, "steps are equal for all: none stops at its best"
