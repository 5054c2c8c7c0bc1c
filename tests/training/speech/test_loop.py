"""The loop of speech models: broken off and taken up again it gives the same numbers; what goes wrong is said."""

import errno
import json
import os
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import linnet
from linnet.errors import LinnetError, OptionError, OutputError
from linnet.training.batch import Batch
from linnet.training.checkpoint import load_checkpoint, swap_folder
from linnet.training.context import RunContext
from linnet.training.loop import run_recipe, train
from linnet.training.recipe import read_recipe
from linnet.training.speech.model import load_task
from linnet.training.speech.recipe import SpeechRecipe
from linnet.training.speech.run import prepare
from linnet.training.trainer import Step, Trainer
from tests.support.forked import Killed
from tests.support.tiny_recipes import fusion_recipe, speech_recipe, tone_corpus
from tests.support.tiny_speech import save_all as save_speech
from tests.support.tiny_whispers import save_whisper

Changes = dict[str, dict[str, Any]]


pytestmark = pytest.mark.usefixtures("quick")


def recipe_at(folder: Path, bases: dict[str, Path], manifest: Path, **changes: dict[str, Any]) -> SpeechRecipe:
    folder.mkdir(exist_ok=True)
    content = fusion_recipe(bases, manifest, folder / "out", **changes)
    return speech_recipe(folder / "recipe.yaml", content)


def rows_of(recipe: SpeechRecipe, stop: int | None = None, **options: Any) -> list[dict[str, Any]]:
    found = []
    for row in run_recipe(recipe, RunContext(**options)):
        found.append(row)
        if row["step"] == stop:
            break
    return found


FULL: Changes = {
    "freeze": {"language_model": "lora(r=2, dropout=0.2)", "encoder": "top:1"},
    "data": {"augment": True},
    "optimization": {"steps": 7, "accumulate": 3, "average": 0.9, "weight_decay": 0.1},
}


def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(
    tmp_path: Path, bases: dict[str, Path], manifest: Path
) -> None:
    def score(_: Sequence[str], heard: Sequence[str], __: Sequence[str | None]) -> float:
        return 1.0 + len("".join(heard))

    whole = recipe_at(tmp_path / "whole", bases, manifest, **FULL)
    broken = recipe_at(tmp_path / "broken", bases, manifest, **FULL)
    unbroken = rows_of(whole, score=score)
    first = rows_of(broken, stop=5, score=score)  # in the fourth epoch; the newest checkpoint is of step 4
    second = rows_of(broken, score=score)
    assert [row["step"] for row in second] == [5, 6, 7]
    same = ("loss", "norm", "rate", "epoch", "audio_padding", "text_padding", "wer", "drift")
    for row, other in zip(unbroken, [*first[:4], *second], strict=True):
        assert {key: row.get(key) for key in same} == {key: other.get(key) for key in same}
    ends = [load_checkpoint(folder / "out" / "checkpoints") for folder in (tmp_path / "whole", tmp_path / "broken")]
    assert ends[0] is not None
    assert ends[1] is not None
    assert ends[0]["batches"] == ends[1]["batches"]
    for part in ("weights", "average"):
        assert ends[0][part].keys() == ends[1][part].keys()
        assert all(torch.equal(ends[0][part][name], ends[1][part][name]) for name in ends[0][part])
    log = [json.loads(line) for line in (tmp_path / "broken" / "out" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log] == [1, 2, 3, 4, 5, 6, 7]


def test_each_epoch_has_each_utterance_once(tmp_path: Path, bases: dict[str, Path], manifest: Path) -> None:
    recipe = recipe_at(tmp_path, bases, manifest, optimization={"steps": 0, "epochs": 2.0})
    trainer, data, _ = prepare(recipe, load_task(recipe))
    taken: list[str] = []
    update = trainer.update
    trainer.update = lambda window: taken.extend(n for b in window for n in b.ids) or update(window)  # type: ignore
    last = list(train(trainer, data))[-1]
    assert last["epoch"] == 2.0
    assert len(taken) == 48
    assert sorted(taken[:24]) == sorted(taken[24:])
    assert len(set(taken)) == 24


def test_training_lowers_the_loss_and_the_folder_is_used(
    tmp_path: Path, bases: dict[str, Path], manifest: Path
) -> None:
    optimization = {"steps": 30, "learning_rate": 0.01, "accumulate": 2}
    recipe = recipe_at(
        tmp_path, bases, manifest, optimization=optimization, freeze={"language_model": "lora(r=4)"},
        run={"log_every": 10},
    )  # fmt: skip
    found = rows_of(recipe)
    assert found[-1]["loss"] < 0.7 * found[0]["loss"]
    assert found[-1]["drift" if "drift" in found[-1] else "seconds_left"] == 0.0
    heard = linnet.load(str(tmp_path / "out" / "model")).transcribe(np.zeros(8000, np.float32), max_new_tokens=4)
    assert isinstance(heard.text, str)


def test_a_whisper_checkpoint_is_trained_with_adapters_and_saved_whole(tmp_path: Path, manifest: Path) -> None:
    whisper = save_whisper(tmp_path / "whisper")
    content = fusion_recipe({"hubert": whisper, "llama": whisper}, manifest, tmp_path / "out")
    content |= {"model": {"checkpoint": str(whisper)}, "freeze": {"model": "lora(r=2)"}}
    recipe = speech_recipe(tmp_path / "recipe.yaml", content)
    task = load_task(recipe)
    trainer, data, validate = prepare(recipe, task, RunContext(score=lambda *_: 0.5))
    found = list(train(trainer, data, validate))
    assert found[-1]["wer"] == 0.5
    assert found[-1]["audio_padding"] > 0.5  # its windows are 2 s
    again = linnet.load(str(tmp_path / "out" / "best"), engine="torch", device="cpu")
    assert isinstance(again.transcribe(np.zeros(16000, np.float32)).text, str)
    from transformers import WhisperForConditionalGeneration

    saved = WhisperForConditionalGeneration.from_pretrained(tmp_path / "out" / "model").eval()
    made = data[[0]].tensors
    with torch.no_grad():
        expected = task.model.eval()(**made).logits
        torch.testing.assert_close(saved(**made).logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["moonshine", "speech2text"])
def test_other_encoder_decoder_models_are_trained(kind: str, tmp_path: Path) -> None:
    """Their tokenizer writes letters; one takes samples, the other log-mel features."""
    folder, manifest = save_speech(tmp_path)[kind], tone_corpus(tmp_path / "corpus", 16)
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    manifest.write_text("".join(json.dumps({**line, "text": line["text"][:1]}) + "\n" for line in lines))
    content = fusion_recipe({"hubert": folder, "llama": folder}, manifest, tmp_path / "out")
    content |= {"model": {"checkpoint": str(folder)}}
    recipe = speech_recipe(tmp_path / "recipe.yaml", content)
    found = rows_of(recipe, score=lambda *_: 0.5)
    assert sum(row["loss"] for row in found[3:]) < sum(row["loss"] for row in found[:3])
    heard = linnet.load(str(tmp_path / "out" / "model")).transcribe(np.zeros(16000, np.float32), max_new_tokens=4)
    assert isinstance(heard.text, str)


def test_the_best_model_stays_while_others_come(tmp_path: Path, bases: dict[str, Path], manifest: Path) -> None:
    rates = iter([0.3, 0.2, 0.4])
    recipe = recipe_at(tmp_path, bases, manifest, run={"validate_every": 2})
    kept: list[dict[str, torch.Tensor]] = []
    task = load_task(recipe)
    trainer, data, _ = prepare(recipe, task)

    def validate(trainer: Trainer) -> dict[str, float]:
        kept.append({name: value.detach().clone() for name, value in task.model.projector.state_dict().items()})
        return {"wer": next(rates)}

    rows = [row for row in train(trainer, data, validate) if "wer" in row]
    assert [row["best_wer"] for row in rows] == [0.3, 0.2, 0.2]
    from safetensors.torch import load_file

    best = load_file(tmp_path / "out" / "best" / "model.safetensors")
    assert all(torch.equal(best[f"projector.{name}"], value) for name, value in kept[1].items())


def poisoned(trainer: Trainer, steps: set[int]) -> None:
    """Make the loss of some steps no number."""
    forward = trainer.loss.forward

    def bad(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        total: torch.Tensor = forward(tensors)["text"]
        return {"text": total * float("nan") if trainer.step in steps else total}

    trainer.loss.forward = bad


def test_a_step_without_a_finite_loss_is_skipped_and_its_utterances_written_down(
    tmp_path: Path, bases: dict[str, Path], manifest: Path
) -> None:
    recipe = recipe_at(tmp_path, bases, manifest, optimization={"steps": 8})
    task = load_task(recipe)
    trainer, data, _ = prepare(recipe, task)
    poisoned(trainer, {1, 2, 4})
    begun = task.model.projector.last.weight.detach().clone()
    moved = []
    for row in train(trainer, data):
        moved.append(not torch.equal(begun, task.model.projector.last.weight))
        begun = task.model.projector.last.weight.detach().clone()
        assert torch.isfinite(begun).all()
        assert row.get("skipped", 0) == (row["step"] in (2, 3, 5))
        assert (row["loss"] is None) == (row["step"] in (2, 3, 5))
    assert moved == [True, False, False, True, False, True, True, True]
    lines = [json.loads(line) for line in (tmp_path / "out" / "not_finite.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 3, 5]
    assert all(line["ids"] for line in lines)


def test_a_bin_that_runs_out_of_memory_shrinks_and_nothing_is_lost(
    tmp_path: Path, bases: dict[str, Path], manifest: Path
) -> None:
    """Batches of more than four utterances are said not to fit."""
    recipe = recipe_at(tmp_path, bases, manifest, optimization={"steps": 0, "epochs": 3.0, "accumulate": 2})
    trainer, data, _ = prepare(recipe, load_task(recipe))
    forward, update, taken = trainer.loss.forward, trainer.update, list[str]()

    def cramped(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if len(tensors["labels"]) > 4:
            raise torch.OutOfMemoryError("no room")
        return forward(tensors)

    def counted(window: Sequence[Batch]) -> Step:
        step = update(window)
        taken.extend(name for batch in window for name in batch.ids)
        return step

    trainer.loss.forward, trainer.update = cramped, counted  # type: ignore[method-assign]
    rows = []
    for row in train(trainer, data):
        rows.append(row)
        if trainer.batches.epoch == 1 and trainer.read:
            break
    assert len(taken) >= 24
    assert len(set(taken[:24])) == 24
    assert max(trainer.batches.planner.limits) <= 4
    said = [text for row in rows for text in row.get("out_of_memory", [])]
    assert said
    assert all("now, not of" in text for text in said)
    trainer.save()
    again, _, _ = prepare(recipe, load_task(recipe))
    assert again.resume()
    assert again.batches.planner.limits == trainer.batches.planner.limits


def test_an_utterance_that_is_too_large_alone_ends_the_run(
    tmp_path: Path, bases: dict[str, Path], manifest: Path
) -> None:
    recipe = recipe_at(tmp_path, bases, manifest)
    trainer, data, _ = prepare(recipe, load_task(recipe))

    def full(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        raise torch.OutOfMemoryError("no room")

    trainer.loss.forward = full
    with pytest.raises(OptionError, match=r"one utterance of .* alone is too large"):
        list(train(trainer, data))


def test_workers_read_what_one_process_reads(tmp_path: Path, bases: dict[str, Path], manifest: Path) -> None:
    changes: Changes = {"data": {"augment": True}, "optimization": {"steps": 5, "accumulate": 2}}
    alone = rows_of(recipe_at(tmp_path / "alone", bases, manifest, **changes))
    shared = rows_of(recipe_at(tmp_path / "shared", bases, manifest, **changes, run={"workers": 2}))
    assert [row["loss"] for row in shared] == [row["loss"] for row in alone]


def test_three_such_steps_in_a_row_end_the_run(tmp_path: Path, bases: dict[str, Path], manifest: Path) -> None:
    recipe = recipe_at(tmp_path, bases, manifest)
    trainer, data, _ = prepare(recipe, load_task(recipe))
    poisoned(trainer, {2, 3, 4})
    with pytest.raises(LinnetError, match=r"3 consecutive steps, the last of them step 5.*not_finite\.jsonl"):
        list(train(trainer, data))
    state = load_checkpoint(tmp_path / "out" / "checkpoints")
    assert state is not None
    assert all(torch.isfinite(value).all() for value in state["weights"].values())


def test_a_full_disk_is_said_and_the_older_checkpoint_stays(
    tmp_path: Path, bases: dict[str, Path], manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_at(tmp_path, bases, manifest)
    found = iter(run_recipe(recipe))
    assert [next(found)["step"] for _ in range(3)] == [1, 2, 3]

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"checkpoints: cannot write .*No space left.*free some space"):
        list(found)
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "out" / "checkpoints").iterdir()] == ["step-00000002"]
    assert [row["step"] for row in rows_of(recipe)] == [3, 4, 5, 6]


def test_too_little_room_is_said_before_anything_is_trained(
    tmp_path: Path, bases: dict[str, Path], manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(OutputError, match=r"checkpoints need .* [kM]B, and 1 B are free"):
        rows_of(recipe_at(tmp_path, bases, manifest))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"freeze": {"language_model": "all"}}, "of another model or freeze policy"),
        ({"data": {"longest": 0.5}}, "planned from other lengths, bins"),
        ({"run": {"seed": 1}}, "or seed than this run"),
    ],
)
def test_a_checkpoint_of_another_recipe_is_refused(
    tmp_path: Path, bases: dict[str, Path], manifest: Path, changes: Changes, says: str
) -> None:
    rows_of(recipe_at(tmp_path, bases, manifest), stop=3)
    with pytest.raises(OptionError, match=says):
        rows_of(recipe_at(tmp_path, bases, manifest, **changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"run": {"precision": "fp8"}}, "precision 'fp8' is unknown: use no, bf16, fp16"),
        ({"run": {"device": "gpu"}}, "device 'gpu' is unknown: use auto, cpu, cuda"),
        ({"run": {"precision": "fp16"}}, "precision fp16 needs a GPU, and the device is cpu"),
        ({"optimization": {"betas": [0.9]}}, "betas must be two numbers"),
        ({"freeze": {"projector": "frozen"}}, "nothing is trained"),
        ({"freeze": {"projektor": "all"}}, "did you mean 'projector'?"),
        ({"model": {"checkpoint": "digits"}}, "either an encoder and a language_model, or a checkpoint"),
        ({"data": {"train": []}}, "`train` names no source"),
        ({"data": {"batching": {"budget": 0.1}}}, "alone costs"),
    ],
)
def test_a_recipe_that_cannot_be_is_said_so(
    tmp_path: Path, bases: dict[str, Path], manifest: Path, changes: Changes, says: str
) -> None:
    with pytest.raises(OptionError) as caught:
        rows_of(recipe_at(tmp_path, bases, manifest, **changes))
    assert says in str(caught.value)


def run_for_ever(tell: Callable[[int], None], recipe: Path) -> None:
    """Each score is better than the one before, so that the best model is written again and again."""
    scores = count(1)
    for row in run_recipe(read_recipe(recipe), RunContext(score=lambda *_: 1 / next(scores))):
        tell(row["step"])


def test_kill_9_leaves_a_run_that_goes_on(tmp_path: Path, bases: dict[str, Path], manifest: Path) -> None:
    often = {"checkpoint_every": 1, "validate_every": 1, "keep": 1}
    recipe = recipe_at(tmp_path, bases, manifest, run=often, optimization={"steps": 100000})
    with Killed(run_for_ever, tmp_path / "recipe.yaml") as process:
        for _ in range(4):
            written = process.told()
        time.sleep(0.013)
    trainer, data, _ = prepare(recipe, load_task(recipe))
    assert next(iter(train(trainer, data)))["step"] > written
    assert (tmp_path / "out" / "best" / "model.safetensors").is_file()


def test_a_folder_is_whole_while_it_is_swapped(tmp_path: Path) -> None:
    folder = tmp_path / "best"
    swap_folder(folder, lambda place: (place / "a").write_text("old") and None)
    with pytest.raises(OutputError):
        swap_folder(folder, lambda place: (place / "gone" / "a").write_text("new") and None)
    assert (folder / "a").read_text() == "old"
    folder.rename(tmp_path / ".best.old")  # killed between the two renames
    swap_folder(folder, lambda place: (place / "a").write_text("new") and None)
    assert (folder / "a").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def damaged(folder: Path) -> Path:
    """A corpus of 16 utterances that can be used and 15 that cannot."""
    manifest = tone_corpus(folder, 16)
    soundfile.write(folder / "long.wav", np.zeros(16_000 * 12), 16_000)
    with manifest.open("a") as file:
        for number in range(11):
            file.write(json.dumps({"audio": f"gone-{number}.wav", "text": "one", "duration": 1.0}) + "\n")
        file.write(json.dumps({"audio": "0.wav", "id": "odd", "text": "one xylophone", "duration": 1.0}) + "\n")
        file.write(json.dumps({"audio": "long.wav", "text": "one " * 500, "duration": 12.0}) + "\n")
        file.write(json.dumps({"audio": "1.wav", "id": "mute", "duration": 1.0}) + "\n")
        file.write(json.dumps({"text": "one"}) + "\n")
    return manifest


def test_what_cannot_be_used_is_named_and_counted(tmp_path: Path, bases: dict[str, Path]) -> None:
    recipe = recipe_at(tmp_path, bases, damaged(tmp_path / "corpus"))
    with pytest.raises(OptionError) as caught:
        rows_of(recipe)
    said = str(caught.value)
    assert said.startswith("15 of 31 utterances cannot be used")
    assert "11 missing audio: gone-0.wav, gone-1.wav" in said
    assert "gone-9.wav, and 1 more" in said
    assert "gone-10.wav" not in said
    assert "1 text outside the tokenizer: odd" in said
    assert "1 over the 512 places of the language model: long.wav" in said
    assert "1 without a text: mute" in said
    assert "1 no utterance: line 31: the key 'audio' must be" in said
    assert "--skip-bad" in said
    told: list[str] = []
    assert len(rows_of(recipe, skip_bad=True, notify=told.append)) == 6
    assert told[0] == "15 of 31 utterances cannot be used"
    assert "16 utterances are kept" in told


def test_a_sound_that_turns_out_damaged_ends_the_run_or_is_left_out(tmp_path: Path, bases: dict[str, Path]) -> None:
    manifest = tone_corpus(tmp_path / "corpus", 16)
    (manifest.parent / "3.wav").write_bytes(b"no sound at all")
    recipe = recipe_at(tmp_path, bases, manifest, optimization={"steps": 0, "epochs": 1.0})
    with pytest.raises(LinnetError, match=r"3\.wav.*--skip-bad"):
        rows_of(recipe)
    found = rows_of(recipe, skip_bad=True)
    assert [name for row in found for name in row.get("left_out", [])] == ["3.wav"]
