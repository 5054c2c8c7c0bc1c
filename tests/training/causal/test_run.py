"""The causal task from a manifest to a saved model, and what it says of data that it cannot use."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from linnet.errors import OptionError
from linnet.models.causal import read_causal_spec
from linnet.models.resolve import resolve
from linnet.models.whisper import load_whisper
from linnet.training.batch import IGNORED
from linnet.training.causal.corpus import CausalBatches, augmented_example, read_clips, read_unlabeled, token_times
from linnet.training.causal.recipe import CausalRecipe
from linnet.training.causal.run import outline, steps_of
from linnet.training.causal.targets import CausalExample
from linnet.training.causal.task import load_causal
from linnet.training.context import ALONE, RunContext
from linnet.training.loop import run_recipe
from linnet.training.recipe import read_recipe
from linnet.training.speech.recipe import AugmentOptions
from tests.support.places import RECIPES

WORDS = [{"word": word, "start": 0.3 * i, "end": 0.3 * i + 0.25} for i, word in enumerate(("three", "one", "four"))]


@pytest.fixture
def manifest(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for number in range(3):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, (0.1 * rng.standard_normal(16_000)).astype(np.float32), 16_000)
        row = {"audio": str(path), "text": "three one four", "duration": 1.0, "words": WORDS}
        rows.append(row if number else {**row, "text": "", "words": []})
    path = tmp_path / "aligned.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def recipe_of(tmp_path, manifest, **changes) -> CausalRecipe:
    content = {
        "task": "causal",
        "model": {"checkpoint": "digits", "language": "en"},
        "freeze": {"model.encoder": "lora(r=2)", "model.decoder": "lora(r=2)"},
        "data": {"train": [str(manifest)], "validation": str(manifest), "batch_seconds": 4.0, "augment": True},
        "optimization": {"steps": 3},
        "run": {"output": str(tmp_path / "run"), "device": "cpu", "workers": 0, "log_every": 1},
        **changes,
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(content))
    return read_recipe(path)


def test_a_recipe_trains_and_saves_an_adapter(tmp_path, manifest):
    recipe = recipe_of(tmp_path, manifest)
    rows = list(run_recipe(recipe, RunContext(score=lambda references, texts, languages: 0.5)))
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert all(np.isfinite(row["loss"]) for row in rows)
    assert {"wer", "lag_p50", "lag_p95", "whole_wer"} <= rows[-1].keys()
    for folder in ("best", "model"):
        spec = read_causal_spec(tmp_path / "run" / folder)
        assert (spec.base, spec.language, spec.hours) == ("digits", "en", pytest.approx(0.001, abs=1e-3))
        assert (tmp_path / "run" / folder / "adapter_model.safetensors").is_file()


def test_a_recipe_trains_with_a_teacher_and_saves_no_more(tmp_path, manifest):
    recipe = recipe_of(tmp_path, manifest, imitation={"frames": 1.0, "words": 0.5}, causal={"full_context": 0.5})
    rows = list(run_recipe(recipe, RunContext(score=lambda references, texts, languages: 0.5)))
    assert all(row["loss"] == pytest.approx(row["loss_text"] + row["loss_imitation"], rel=1e-3) for row in rows)
    assert all(row["loss_imitation"] >= 0 for row in rows)
    saved = load_file(tmp_path / "run" / "model" / "adapter_model.safetensors")
    assert saved
    assert all("lora_" in name for name in saved)


def test_the_first_steps_learn_frames_alone_also_of_recordings_without_words(tmp_path, manifest):
    speech = unlabeled(tmp_path, seconds=4.5)
    data = {"train": [str(manifest)], "unlabeled": [str(speech)], "batch_seconds": 4.0, "longest": 2.0}
    recipe = recipe_of(
        tmp_path,
        manifest,
        data=data,
        imitation={"frames": 1.0, "words": 1.0, "first": 0.5},
        optimization={"steps": 4, "warmup": 0.0},
    )
    rows = list(run_recipe(recipe, ALONE))
    assert [row["loss_text"] > 0 for row in rows] == [False, False, True, True]
    assert all(row["loss_imitation"] > 0 for row in rows)
    _, batches, _ = recipe.prepare(ALONE)
    heard = [{one for number in some for one in batches[number].ids} for some in (range(2), range(2, 4))]
    assert "speech" in heard[0]
    assert "speech" not in heard[1]


def unlabeled(folder, *, seconds: float):
    rng = np.random.default_rng(1)
    soundfile.write(folder / "speech.wav", (0.1 * rng.standard_normal(round(seconds * 16_000))), 16_000)
    path = folder / "speech.jsonl"
    path.write_text(json.dumps({"audio": str(folder / "speech.wav"), "id": "speech", "language": "fi"}) + "\n")
    return path


def test_recordings_without_words_are_cut_into_equal_pieces(tmp_path):
    clips = read_unlabeled([str(unlabeled(tmp_path, seconds=4.5))], 2.0, ALONE)
    spans = [(one.aligned.utterance.start, one.aligned.utterance.end) for one in clips]
    assert spans == [(0.0, 1.5), (1.5, 3.0), (3.0, 4.5)]
    assert {one.seconds for one in clips} == {1.5}


def test_an_unreadable_recording_without_words_is_named_or_skipped(tmp_path):
    path = unlabeled(tmp_path, seconds=1.0)
    path.write_text(json.dumps({"audio": str(tmp_path / "none.wav"), "id": "lost"}) + "\n" + path.read_text())
    with pytest.raises(OptionError, match=r"1 utterances cannot be used\n  lost: .*none\.wav"):
        read_unlabeled([str(path)], 28.0, ALONE)
    said: list[str] = []
    assert len(read_unlabeled([str(path)], 28.0, RunContext(skip_bad=True, notify=said.append))) == 1
    assert "lost" in said[0]


def test_batches_depend_on_their_number_alone(tmp_path, manifest):
    recipe = recipe_of(tmp_path, manifest)
    task = load_causal("digits", {}, None, seed=0)
    clips = read_clips(recipe.data.train, task.whisper, 28.0, ALONE)
    first, again = (CausalBatches(recipe, task.whisper, clips, task.shape) for _ in range(2))
    again[5]
    for number in range(6):
        for name, value in first[number].tensors.items():
            torch.testing.assert_close(again[number].tensors[name], value, rtol=0, atol=0)
    assert {tuple(first[number].tensors["features"].shape) for number in range(6)} != {(1, 1000, 80)}


def test_shares_make_noise_pairs_and_middles(tmp_path, manifest):
    task = load_causal("digits", {}, None, seed=0)

    def made(*, joined=False, **shares):
        data = {"train": [str(manifest)], "empty": 0.0, "middle": 0.0, **shares}
        recipe = recipe_of(tmp_path, manifest, data=data)
        clips = read_clips(recipe.data.train, task.whisper, 28.0, ALONE)
        batches = CausalBatches(recipe, task.whisper, clips, task.shape)
        rows = range(len(clips))
        return [batches.example(np.random.default_rng(seed), row, joined=joined) for seed in range(4) for row in rows]

    assert all(not one.tokens for one in made(empty=1.0))
    assert {len(one.tokens) for one in made(joined=True)} == {3, 6}
    assert all(list(one.ends) == sorted(one.ends) and one.ends[-1] <= one.seconds for one in made(joined=True))
    previous = task.whisper.vocabulary.start_of_previous
    assert all(one.prefix[0] == previous and len(one.tokens) < 3 for one in made(middle=1.0) if one.tokens)


def test_augmentation_moves_the_ends_of_words_with_the_sound():
    click = np.zeros(16_000, np.float32)
    click[8000:8010] = 1.0
    one = CausalExample(click, (1,), (5,), (0.5,))
    for seed in range(5):
        made = augmented_example(one, AugmentOptions(1, 0, 0, 0, 0, 0, 0), np.random.default_rng(seed))
        assert len(made.samples) != len(click)
        assert made.ends[0] == pytest.approx(np.abs(made.samples).argmax() / 16_000, abs=0.002)


def test_tokens_of_words_are_those_of_the_text():
    from linnet.data.manifest import WordTime

    tokenizer = load_whisper(resolve("digits").path, name="digits", weights=False).vocabulary.tokenizer
    words = [WordTime("three", 0.0, 0.4), WordTime("hello,", 0.5, 0.7), WordTime("four", 0.8, 0.9)]
    tokens, starts, ends = token_times(tokenizer, words)
    assert list(tokens) == tokenizer(" three hello, four", add_special_tokens=False)["input_ids"]
    assert [starts[0], starts[1], starts[-1]] == [0.0, 0.5, 0.8]
    assert (ends[-1], ends[-2]) == (0.9, 0.7)
    assert len(starts) == len(ends) == len(tokens) > 3


def test_data_that_cannot_be_used_is_named(tmp_path, manifest):
    task = load_causal("digits", {}, None, seed=0)
    bad = tmp_path / "bad.jsonl"
    bad.write_text(manifest.read_text() + json.dumps({"audio": "b.wav", "text": "one", "duration": 1.0}) + "\n")
    with pytest.raises(OptionError, match=r"1 utterances cannot be used(.|\n)*line 4(.|\n)*--skip-bad"):
        read_clips([str(bad)], task.whisper, 28.0, ALONE)
    told: list[str] = []
    assert len(read_clips([str(bad)], task.whisper, 28.0, RunContext(skip_bad=True, notify=told.append))) == 3
    assert "line 4" in told[0]
    with pytest.raises(OptionError, match="no utterance with word times"):
        read_clips([str(manifest)], task.whisper, 0.5, RunContext(notify=told.append))
    assert "longer than 0.5 s" in told[-1]
    empty = recipe_of(tmp_path, manifest, data={})
    with pytest.raises(OptionError, match="names no manifest"):
        empty.prepare(ALONE)
    other = recipe_of(tmp_path, manifest, model={"checkpoint": "digits", "language": "xx"})
    with pytest.raises(OptionError, match="language: xx"):
        list(run_recipe(other))


def test_a_dry_run_counts(tmp_path, manifest):
    recipe = recipe_of(tmp_path, manifest, optimization={"epochs": 8.0})
    lines = dict(outline(recipe, ALONE))
    assert lines["saved as"] == "adapter"
    assert lines["data"].startswith("3 utterances")
    assert (
        lines["steps"]
        == str(
            steps_of(
                recipe, read_clips([str(manifest)], load_causal("digits", {}, None, seed=0).whisper, 28.0, ALONE), 1
            )
        )
        == "6"
    )
    assert "trained" in lines["model.encoder"]


def test_the_shipped_recipe_reads_and_other_names_are_refused(tmp_path):
    recipe = read_recipe(RECIPES / "causal.yaml")
    assert isinstance(recipe, CausalRecipe)
    for text, says in (
        ("task: casual", "did you mean 'causal'"),
        ("task: causal\ncausal: {first_blok: 3}", "first_block"),
        ("task: causal\ncausal: {shortest_block: 9, longest_block: 3}", "swap them"),
        ("task: causal\nmodel: {checkpoint: ''}", "name the `checkpoint`"),
        ("task: causal\ndata: {train: [], empty: 2}", "empty"),
        ("task: causal\ndata: {unlabeled: a.jsonl}", "unlabeled: expected a list"),
        ("task: causal\ndata: {unlabeled: [a.jsonl]}", "first: 0.7"),
        ("task: causal\nimitation: {first: 0.5}", "give `frames`"),
    ):
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        with pytest.raises(OptionError, match=says):
            read_recipe(path)


def test_every_row_is_labelled(tmp_path, manifest):
    recipe = recipe_of(tmp_path, manifest)
    _, data, _ = recipe.prepare(ALONE)
    batch = data[0]
    assert (batch.tensors["labels"] != IGNORED).any(-1).all()
    assert batch.tokens > 0
