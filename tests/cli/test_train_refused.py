"""A dry run refuses what a run refuses, in the same words, before anything is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.calling import Call, make_call
from tests.support.places import RECIPES
from tests.support.tiny_fusion import one_thread
from tests.support.tiny_recipes import fusion_recipe, save_bases, tone_corpus, write_recipe

pytest.importorskip("accelerate", reason="the extra `train` is not installed")


DIGITS = f"task: {RECIPES}/digits/recipe.py:DigitsRecipe"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return make_call(monkeypatch, capsys)


def refused(call: Call, path: Path, *more: str) -> str:
    """What the command says on stderr; it must fail, in plain words and before it gives anything."""
    done = call("train", path, *more)
    assert done.status == 1
    assert done.out == ""
    assert "Traceback" not in done.err
    return done.err


BAD = [
    ("optimization: {learning_rate: -1e-3}", "optimization: learning_rate must be 0 or more, got -0.001"),
    ("optimization: {warmup: 500}", "warmup must be from 0 to 1, got 500.0"),
    ("optimization: {rates: {encoder: 0}}", "rates: encoder must be more than 0"),
    ("optimization: {accumulate: 0}", "accumulate must be 1 or more, got 0"),
    ("optimization: {betas: [0.9]}", "betas must be two numbers"),
    ("optimization: {betas: [0.9, 1]}", "betas must be from 0 to below 1"),
    ("optimization: {average: 1}", "average must be from 0 to below 1"),
    ("optimization: {epochs: 0}", "epochs must be more than 0"),
    ("optimization: {steps: 2.5}", "steps: expected int, got 2.5"),
    ("run: {precision: float8}", "run: precision 'float8' is unknown: use no, bf16, fp16"),
    ("run: {precision: fp16, shard: all}", "precision fp16 does not go with  shard: all"),
    ("run: {precision: fp16, device: cpu}", "precision fp16 needs a GPU"),
    ("run: {device: gpu}", "device 'gpu' is unknown"),
    ("run: {shard: some}", "shard 'some' is unknown: use none, trained, all"),
    ("run: {track: wandbb}", "track 'wandbb' is unknown: use trackio, wandb, or leave it out"),
    ("run: {validate_every: 0}", "validate_every must be 1 or more"),
    ("run: {keep: 0}", "keep must be 1 or more"),
    ("run: {output: ''}", "output is empty"),
    ("run: {beams: 0}", "beams must be 1 or more"),
    ("run: {normalizer: french}", "normalizer 'french' is unknown: use auto, english, digits"),
    ("model: {dtype: float8}", "dtype 'float8' is unknown"),
    ("model: {projector: {kind: mpl}}", "unknown projector 'mpl' (did you mean 'mlp'?)"),
    ("model: {projector: {stack: 0}}", "projector: stack must be a whole number of at least 1"),
    ("freeze: {projector: al}", "unknown freeze policy 'al'"),
    ("freeze: {encoder: top:0}", "top must be a whole number of at least 1"),
    ("data: {batching: {memory: lots}}", "data: batching: invalid amount of memory 'lots'"),
    ("data: {batching: {memory: 40GB, packed: true}}", "packed batches are planned by a `budget`"),
    ("data: {batching: {per_second: 0}}", "recordings would cost nothing"),
    ("data: {train: [{path: a, kind: nemmo}]}", "unknown kind of source 'nemmo'; did you mean 'nemo'?"),
    ("data: {augment: {speed: 1.5}}", "data: augment: speed must be from 0 to 1"),
    ("data: {augment: true, cache_features: true}", "cache_features and augment exclude each other"),
    ("data: {deviations: .nan}", "deviations must be more than 0, got nan"),
    ("losses: {ctc: {weight: -1}}", "losses: the weight of ctc must be 0 or more"),
    ("losses: {distill: {temperature: 0}}", "temperature must be more than 0"),
    (f"{DIGITS}\nmodel: {{width: 100, encoder_heads: 3}}", "width 100 cannot be shared by encoder_heads 3"),
    (f"{DIGITS}\ndata: {{shares: [1, 0]}}", "shares must be one number for each of the windows"),
    ("optimization: {steps: " + "9" * 5000 + "}", "not YAML"),
    ("a: " + "[" * 900 + "]" * 900, "nested too deeply"),
]


@pytest.mark.parametrize(("text", "says"), BAD)
def test_a_dry_run_refuses_what_a_run_refuses(call: Call, tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    run, dry = refused(call, path), refused(call, path, "--dry-run")
    assert run == dry
    assert says in run


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"freeze": {"projektor": "all"}}, "has no part 'projektor' (did you mean 'projector'?)"),
        ({"freeze": {"projector": "frozen"}}, "nothing is trained"),
        ({"freeze": {"encoder": "top:99"}}, "encoder is top:99"),
        ({"freeze": {"encoder": "lora(r=2, targets=nope)"}}, "no linear layer named nope"),
        ({"optimization": {"rates": {"encodr": 1e-5}}}, "the model has no part 'encodr'"),
        ({"data": {"cache_features": {}}, "freeze": {"encoder": "all"}}, "cache_features needs a frozen encoder"),
        ({"data": {"train": []}}, "`train` names no source"),
        ({"losses": {"distill": {"teacher": "x"}}}, "leave the teacher x out"),
        ({"model": {"checkpoint": "digits"}}, "either an encoder and a language_model, or a checkpoint"),
    ],
)
def test_what_does_not_fit_the_model_makes_no_valid_recipe(
    call: Call, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    pytest.importorskip("peft", reason="the extra `train` is not installed")
    content = fusion_recipe(save_bases(tmp_path), tone_corpus(tmp_path / "corpus", 4), tmp_path / "out", **changes)
    path = write_recipe(tmp_path / "recipe.yaml", content)
    with one_thread():
        run, dry = refused(call, path), refused(call, path, "--dry-run")
    assert run.splitlines()[-1] == dry.splitlines()[-1]
    assert says in dry
    assert "valid" not in dry
    assert not (tmp_path / "out").exists()


def test_a_dry_run_names_a_validation_set_that_is_not_there(call: Call, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"data": {"validation": {"path": str(tmp_path / "none.jsonl")}}}
    content = fusion_recipe(save_bases(tmp_path), tone_corpus(tmp_path / "corpus", 4), tmp_path / "out", **changes)
    done = call("train", write_recipe(tmp_path / "recipe.yaml", content), "--dry-run")
    assert done.status == 1
    assert "device            cpu (as asked)" in done.out
    assert "validation        missing: " in done.out
    assert "the recipe is valid, but its validation is missing" in done.err
