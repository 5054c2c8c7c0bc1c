"""The recipe of `digits-stream` on made-up speech: its streams, their ends, its training from `digits`."""

from __future__ import annotations

import numpy as np
import pytest

from linnet.models.causal import read_causal_spec
from linnet.training.causal.options import CausalOptions
from linnet.training.context import ALONE
from linnet.training.loop import run_recipe
from linnet.training.recipe import read_recipe
from recipes.digits.bank import Voices, load_bank
from recipes.digits.causal import DigitsCausalRecipe
from recipes.digits.causal_run import DigitStreams, error_rate, example_of, strings
from recipes.digits.compose import Recording, Word
from recipes.digits.tokens import Vocabulary
from tests.support.places import RECIPES


def recipe_of(bank, tmp_path) -> DigitsCausalRecipe:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"""
task: {RECIPES}/digits/causal.py:DigitsCausalRecipe
data: {{banks: ["{bank}"], windows: [1.5, 2.5], shares: [0.5, 0.5], batch_seconds: 6.0, middle: 0.5}}
optimization: {{steps: 2, average: 0.9}}
run: {{output: "{tmp_path / "run"}", device: cpu, workers: 0, log_every: 1}}
"""
    )
    return read_recipe(path)


def test_it_trains_and_saves_a_whole_model(bank, tmp_path):
    recipe = recipe_of(bank, tmp_path)
    rows = list(run_recipe(recipe, ALONE))
    assert [row["step"] for row in rows] == [1, 2]
    assert all(np.isfinite(row["loss"]) for row in rows)
    folder = tmp_path / "run" / "model"
    assert (folder / "model.safetensors").is_file()
    assert (folder / "tokenizer.json").is_file()
    assert read_causal_spec(folder).base == "digits"
    assert dict(recipe.outline(ALONE))["steps"] == "2"


def test_a_batch_depends_on_its_number_alone(bank, tmp_path):
    recipe = recipe_of(bank, tmp_path)
    _, data, _ = recipe.prepare(ALONE)
    again = DigitStreams(recipe, data.shape, 2)
    for name, value in data[1].tensors.items():
        assert value.equal(again[1].tensors[name])
    with pytest.raises(IndexError):
        data[2]


def test_words_end_where_their_clips_end():
    v = Vocabulary.build()
    words = [Word(3, 0.2, 0.5), Word(1, 0.6, 0.9)]
    made = example_of(Recording(np.zeros(20_000, np.float32), "de", words, cut=1.0), v)
    assert made.tokens == (v.word("drei"), v.word("eins"))
    assert made.ends == (0.5, 0.9)
    assert made.prefix == tuple(v.special(name) for name in ("startoftranscript", "de", "transcribe", "notimestamps"))


def test_validation_strings_end_with_their_words(bank):
    voices: Voices = {}
    load_bank(bank, voices)
    voice = voices["en"]["espeak"][0]
    for one in strings(voice, 5, np.random.default_rng(0)):
        assert 3 <= len(one.tokens) <= 8
        assert list(one.ends) == sorted(one.ends)
        for end in one.ends:  # loud before, all but silent after
            at = round(end * 16_000)
            loud = float(np.abs(one.samples[at - 800 : at]).max())
            assert float(np.abs(one.samples[at : at + 700]).max()) < 0.1 * loud


def test_the_error_rate_counts_over_the_corpus():
    assert error_rate(["one two", "three"], ["one", "three three"], [None, None]) == pytest.approx(2 / 3)


def test_the_shipped_recipe_has_the_blocks_that_it_is_served_with():
    recipe = read_recipe(RECIPES / "digits-causal.yaml")
    assert isinstance(recipe.causal, CausalOptions)
    assert (recipe.causal.first_block, recipe.causal.default_block) == (16, 16)
