"""Encoder frames that are made once: what the encoder gives, and the losses of a run without them."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from linnet.data.samples import UtteranceReader
from linnet.errors import LinnetError, OptionError
from linnet.training.context import RunContext
from linnet.training.estimate.dry_run import dry_run
from linnet.training.loop import run_recipe
from linnet.training.speech.features import CachedBatches, FeatureCache
from linnet.training.speech.model import load_task
from linnet.training.speech.recipe import CtcOptions, Distillation, Losses, SpeechRecipe
from linnet.training.speech.run import prepare
from tests.support.tiny_recipes import fusion_recipe, speech_recipe, tone_corpus
from tests.support.tiny_whispers import save_whisper

pytestmark = pytest.mark.usefixtures("quick")
CACHED = {"cache_features": True, "validation": None}


def recipe_at(folder: Path, bases: dict[str, Path], manifest: Path, **changes: dict[str, Any]) -> SpeechRecipe:
    folder.mkdir(exist_ok=True)
    return speech_recipe(folder / "recipe.yaml", fusion_recipe(bases, manifest, folder / "out", **changes))


def whisper_at(folder: Path, manifest: Path, whisper: Path, **changes: dict[str, Any]) -> SpeechRecipe:
    folder.mkdir(exist_ok=True)
    content = fusion_recipe({"hubert": whisper, "llama": whisper}, manifest, folder / "out", **changes)
    content["model"] = {"checkpoint": str(whisper)}
    content["freeze"] = {"model.decoder": "all", **content["freeze"]}
    return speech_recipe(folder / "recipe.yaml", content)


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("whisper") / "whisper")


def losses(rows: Iterator[dict[str, Any]]) -> list[float]:
    return [row["loss"] for row in rows]


def test_the_frames_are_those_of_each_clip_alone(bases: dict[str, Path], manifest: Path, tmp_path: Path) -> None:
    recipe = recipe_at(tmp_path, bases, manifest, data=CACHED)
    task = load_task(recipe)
    _, data, _ = prepare(recipe, task)
    assert isinstance(data, CachedBatches)
    batch = data[[5, 0, 3]]
    with torch.no_grad(), UtteranceReader() as listener:
        for clip, count, name in zip(batch.tensors["frames"], batch.tensors["frame_counts"], batch.ids, strict=True):
            utterance = next(row for row in data.corpus.utterances if row.id == name)
            (alone,) = task.model.encode_audio(torch.from_numpy(listener.read(utterance).samples)[None])
            assert torch.equal(clip[:count], alone)
            assert not clip[count:].any()


@pytest.mark.parametrize("ctc", [False, True])
def test_the_losses_are_those_of_a_run_that_encodes(
    bases: dict[str, Path], manifest: Path, tmp_path: Path, ctc: bool
) -> None:
    found = []
    for name, data in (("one", {"validation": None}), ("other", CACHED)):
        (tmp_path / name).mkdir()
        content = fusion_recipe(bases, manifest, tmp_path / name / "out", data=data)
        content["losses"] = {"ctc": ctc}
        found.append(losses(run_recipe(speech_recipe(tmp_path / name / "recipe.yaml", content))))
    torch.testing.assert_close(torch.tensor(found[0]), torch.tensor(found[1]), rtol=1e-4, atol=1e-5)


def test_a_whisper_with_a_frozen_encoder_learns_the_same(whisper: Path, manifest: Path, tmp_path: Path) -> None:
    """The padding that its decoder looks at is kept with the frames."""
    found = []
    for name, data in (("one", {"validation": None}), ("other", CACHED)):
        recipe = whisper_at(tmp_path / name, manifest, whisper, data=data)
        recipe = replace(recipe, losses=Losses(ctc=CtcOptions()))
        found.append(losses(run_recipe(recipe)))
        task = load_task(recipe)
        _, data_, _ = prepare(recipe, task)
        assert isinstance(data_, CachedBatches) is (name == "other")
        batch = data_[[2, 5]]
        assert batch.padded == 4.0
        assert ("frames" in batch.tensors) is ("input_features" not in batch.tensors) is (name == "other")
        assert float(dict(dry_run(recipe))["audio padding"].partition("%")[0]) > 80
    torch.testing.assert_close(torch.tensor(found[0]), torch.tensor(found[1]), rtol=1e-4, atol=1e-5)


def test_no_audio_is_read_again_and_another_run_shares_the_frames(
    bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = tone_corpus(tmp_path / "corpus", 8)
    shared = {"cache_features": {"folder": str(tmp_path / "frames")}, "validation": None}
    first = losses(run_recipe(recipe_at(tmp_path / "one", bases, manifest, data=shared)))
    read = list[str]()

    def reading(listener: UtteranceReader, utterance: Any) -> Any:
        read.append(utterance.id)
        return hear(listener, utterance)

    hear = UtteranceReader.read
    monkeypatch.setattr(UtteranceReader, "read", reading)
    again = losses(run_recipe(recipe_at(tmp_path / "two", bases, manifest, data=shared)))
    assert again == first
    assert not read
    clip = tmp_path / "corpus/3.wav"
    soundfile.write(clip, soundfile.read(clip)[0][:-320], 16_000)  # another sound under the same name
    run = recipe_at(tmp_path / "three", bases, manifest, data=shared)
    prepare(run, load_task(run))
    assert len(read) == 8


def test_frames_of_other_weights_are_made_anew(whisper: Path, manifest: Path, tmp_path: Path) -> None:
    """A folder may hold another encoder than yesterday, under the same name."""
    recipe = whisper_at(tmp_path, manifest, whisper, data=CACHED)
    keys = []
    for _ in range(3):
        task = load_task(recipe)
        if keys:
            task.model.get_encoder().layers[0].fc1.weight.data += 0.01 * (len(keys) == 2)
        prepare(recipe, task)
        keys.append((tmp_path / "out/corpus/features/key.json").read_text())
    assert keys[0] == keys[1] != keys[2]


def test_frames_of_other_windows_are_made_anew(bases: dict[str, Path], manifest: Path, tmp_path: Path) -> None:
    recipe = recipe_at(tmp_path, bases, manifest, data=CACHED)
    prepare(recipe, load_task(recipe))
    key = tmp_path / "out/corpus/features/key.json"
    before = json.loads(key.read_text())
    other = recipe_at(tmp_path, bases, manifest, data=CACHED, model={"window_seconds": 2.5})
    prepare(other, load_task(other))
    assert json.loads(key.read_text()) != before


def test_a_damaged_clip_is_named_or_left_out(bases: dict[str, Path], tmp_path: Path) -> None:
    manifest = tone_corpus(tmp_path / "corpus", 8)
    recipe = recipe_at(tmp_path, bases, manifest, data=CACHED)
    (tmp_path / "corpus/3.wav").write_bytes(b"no sound")
    with pytest.raises(LinnetError, match=r"3\.wav.*--skip-bad"):
        prepare(recipe, load_task(recipe))
    _, data, _ = prepare(recipe, load_task(recipe), RunContext(skip_bad=True))
    batch = data[[3, 2]]
    assert (batch.lost, batch.ids) == (["3.wav"], ["2.wav"])
    assert data[[3]].tokens == 0


def test_a_batch_of_nothing_has_no_loss(whisper: Path, tmp_path: Path) -> None:
    manifest = tone_corpus(tmp_path / "corpus", 8)
    recipe = whisper_at(tmp_path, manifest, whisper, data=CACHED)
    (tmp_path / "corpus/3.wav").write_bytes(b"no sound")
    trainer, data, _ = prepare(recipe, load_task(recipe), RunContext(skip_bad=True))
    assert trainer.backward([data[[3]]])[0] == {"text": 0.0}


def test_what_a_whisper_cannot_have_cached_is_said(whisper: Path, manifest: Path, tmp_path: Path) -> None:
    trained = whisper_at(tmp_path, manifest, whisper, data=CACHED, freeze={"model.encoder": "top:1"})
    with pytest.raises(OptionError, match=r"needs a frozen encoder.*model\.encoder: top:1"):
        prepare(trained, load_task(trained))
    taught = replace(
        whisper_at(tmp_path, manifest, whisper, data=CACHED), losses=Losses(distill=Distillation(teacher=str(whisper)))
    )
    with pytest.raises(OptionError, match="and a `teacher` exclude each other"):
        prepare(taught, load_task(taught))
    small = whisper_at(tmp_path, manifest, whisper, data={**CACHED, "cache_features": {"gigabytes": 1e-6}})
    with pytest.raises(OptionError, match=r"take up to .* GB.*gigabytes"):
        prepare(small, load_task(small))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": CACHED, "freeze": {"encoder": "top:1"}}, "frozen encoder.*encoder: top:1"),
        ({"data": {**CACHED, "cache_features": {"gigabytes": 1e-6}}}, r"take up to .* GB.*gigabytes"),
    ],
)
def test_what_cannot_be_cached_is_said(
    bases: dict[str, Path], manifest: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    recipe = recipe_at(tmp_path, bases, manifest, **changes)
    with pytest.raises(OptionError, match=message):
        prepare(recipe, load_task(recipe))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_cache_keeps_the_precision_of_its_frames(tmp_path: Path, dtype: torch.dtype) -> None:
    frames = torch.randn(5, 3).to(dtype)
    (tmp_path / "frames.bin").write_bytes(frames.view(torch.uint8).numpy().tobytes())
    (tmp_path / "shape.json").write_text(json.dumps({"width": 3, "dtype": str(dtype)[6:]}))
    np.save(tmp_path / "starts.npy", np.array([0, 2, 2, 5]))
    cache = FeatureCache.load(tmp_path)
    assert torch.equal(cache.tensors([2, 0])["frames"][0], frames[2:])
    assert [cache.has(row) for row in range(3)] == [True, False, True]
