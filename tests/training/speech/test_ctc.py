"""The head that spells: its loss against a slow twin, its alphabet, its room, and where it is kept."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.errors import ModelError, OptionError
from linnet.training.batch import IGNORED
from linnet.training.context import RunContext
from linnet.training.estimate.dry_run import dry_run
from linnet.training.loop import run_recipe, train
from linnet.training.speech.ctc import (
    FILE,
    Alphabet,
    CtcHead,
    frames_of,
    load_ctc_head,
    make_ctc_head,
    outputs_needed,
    spelled,
)
from linnet.training.speech.model import load_task
from linnet.training.speech.recipe import SpeechRecipe
from linnet.training.speech.run import prepare
from tests.support.ctc_twin import twin
from tests.support.tiny_fusion import clips, fusion, save_all
from tests.support.tiny_recipes import fusion_recipe, speech_recipe, tone_corpus
from tests.support.tiny_speech import MAKERS
from tests.support.tiny_whispers import save_whisper

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tone_corpus(tmp_path_factory.mktemp("corpus"), 8)


def recipe_at(folder: Path, bases: dict[str, Path], manifest: Path, **changes: dict[str, Any]) -> SpeechRecipe:
    folder.mkdir(exist_ok=True)
    content = fusion_recipe(bases, manifest, folder / "out", **changes)
    content["losses"] = {"ctc": True}
    return speech_recipe(folder / "recipe.yaml", content)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), outputs=st.integers(1, 3), data=st.data())
def test_the_loss_is_that_of_a_slow_twin(seed: int, outputs: int, data: st.DataObject) -> None:
    torch.manual_seed(seed)
    head = CtcHead(4, Alphabet("abc"), outputs)
    frames = [torch.randn(length, 4) for length in data.draw(st.lists(st.integers(2, 7), min_size=1, max_size=3))]
    spellings = [data.draw(st.lists(st.integers(1, 3), max_size=3)) for _ in frames]
    padded = torch.full((len(frames), 3), IGNORED)
    for row, ids in zip(padded, spellings, strict=True):
        row[: len(ids)] = torch.tensor(ids, dtype=torch.long)
    with torch.no_grad():
        found = head.losses(frames, padded).tolist()
        for clip, ids, loss in zip(frames, spellings, found, strict=True):
            told = head(clip).numpy()
            assert told.shape == (outputs * len(clip), 4)
            room = outputs_needed(ids) <= outputs * len(clip)
            assert loss == pytest.approx(twin(told, ids) if room else 0.0, rel=1e-4, abs=1e-5)


def test_a_clip_without_room_has_no_loss_and_no_gradient() -> None:
    torch.manual_seed(0)
    head = CtcHead(4, Alphabet("ab"))
    short, long = torch.randn(2, 4, requires_grad=True), torch.randn(9, 4, requires_grad=True)
    losses = head.losses([short, long], torch.tensor([[1, 1, 2], [1, 1, 2]]))
    losses.sum().backward()
    assert losses[0] == 0
    assert losses[1] > 0
    assert short.grad is not None
    assert not short.grad.any()
    assert long.grad is not None
    assert torch.isfinite(long.grad).all()
    assert long.grad.any()


def test_what_can_be_heard_is_spelled() -> None:
    assert spelled("It\u2019s 5 o'clock\u2014NOW!\n") == "it's 5 o'clock now"
    assert spelled("E\u0301TE\u0301, \u65e5\u672c") == "\u00e9t\u00e9 \u65e5\u672c"
    assert spelled("... ?") == ""
    assert Alphabet.of(["b a", "", "A\u00df!"]) == Alphabet(" ab\u00df")
    assert Alphabet(" ab").ids("Abc ba?") == [2, 3, 1, 3, 2]


@given(st.text(max_size=30))
def test_an_alphabet_of_a_text_spells_it(text: str) -> None:
    alphabet = Alphabet.of([text])
    assert "".join(alphabet.characters[number - 1] for number in alphabet.ids(text)) == spelled(text)


def test_a_slow_encoder_gets_more_outputs_for_each_frame(tmp_path: Path) -> None:
    bases = save_all(tmp_path, ("hubert", "whisper", "parakeet", "qwen3"))
    for encoder, expected in (("hubert", 1), ("whisper", 1), ("parakeet", 4)):
        model, processor = fusion(bases, encoder)
        head = make_ctc_head(model, ["one"])
        assert head.outputs == expected
        counts = [len(frames) for frames in model.encode_audio(**processor(clips()))]
        assert counts == [frames_of(model)(len(clip)) for clip in clips()]


@pytest.mark.parametrize("kind", ["fusion", "whisper"])
def test_it_is_trained_kept_and_exported_with_the_model(
    kind: str, bases: dict[str, Path], manifest: Path, tmp_path: Path
) -> None:
    """Its part of the loss falls, a checkpoint has it, the exported one spells the same, and the next run begins so."""
    optimization = {"steps": 12, "learning_rate": 0.01, "average": 0.5}
    recipe = recipe_at(tmp_path, bases, manifest, optimization=optimization, freeze={"encoder": "all"})
    if kind == "whisper":
        whisper = save_whisper(tmp_path / "whisper", seed=0)
        recipe = replace(recipe, model=type(recipe.model)(checkpoint=str(whisper)), freeze={})
    trainer, data, _ = prepare(recipe, load_task(recipe))
    rows = list(train(trainer, data))
    assert rows[-1]["loss_ctc"] < 0.8 * rows[0]["loss_ctc"]
    assert rows[-1]["loss"] == pytest.approx(rows[-1]["loss_ctc"] + rows[-1]["loss_text"])
    folder = tmp_path / "out" / "model"
    head = load_ctc_head(folder)
    assert head.alphabet == Alphabet(" efhnortuw")
    for name, value in head.linear.state_dict().items():
        torch.testing.assert_close(value, trainer.average[f"ctc.linear.{name}"])
    again = list(run_recipe(replace(recipe, optimization=replace(recipe.optimization, steps=14))))
    assert [row["step"] for row in again] == [13, 14]
    load_task(replace(recipe, model=type(recipe.model)(checkpoint=str(folder))))  # the folder is a model's as before
    begun = make_ctc_head(trainer.task.model, ["two"], folder)
    assert torch.equal(begun.linear.weight, load_ctc_head(folder).linear.weight)
    assert make_ctc_head(trainer.task.model, ["xyz"], folder).alphabet == Alphabet("xyz")


def test_a_batch_that_could_not_be_read_has_no_loss(bases: dict[str, Path], manifest: Path, tmp_path: Path) -> None:
    recipe = recipe_at(tmp_path, bases, manifest)
    trainer, data, _ = prepare(recipe, load_task(recipe))
    tensors = data[[1, 2]].tensors
    lost = {**tensors, "labels": torch.full_like(tensors["labels"], IGNORED)}
    with torch.no_grad():
        assert float(trainer.loss(lost)["ctc"]) == 0
        assert float(trainer.loss(tensors)["ctc"]) > 0


def test_texts_without_room_are_counted_and_said(bases: dict[str, Path], tmp_path: Path) -> None:
    manifest = tone_corpus(tmp_path / "corpus", 4)
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    rows[1]["text"] = " ".join(["three"] * 5)  # 29 characters and 5 blanks in the 9 frames of 0.2 s
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = recipe_at(tmp_path, bases, manifest)
    said: list[str] = []
    prepare(recipe, load_task(recipe), RunContext(notify=said.append))
    line = "1 of 4 utterances have more characters than encoder frames: no CTC loss for them"
    assert line in said
    table = dict(dry_run(recipe))
    assert table["ctc head"].startswith("187 trained, for 10 characters")
    assert line in table["ctc head"]


def test_what_has_no_head_is_refused(bases: dict[str, Path], manifest: Path, tmp_path: Path) -> None:
    MAKERS["moonshine"](tmp_path / "moonshine")
    recipe = recipe_at(tmp_path, bases, manifest)
    moonshine = load_task(replace(recipe, model=type(recipe.model)(checkpoint=str(tmp_path / "moonshine"))))
    with pytest.raises(OptionError, match="a moonshine model does not state the number"):
        make_ctc_head(moonshine.model, ["one"])
    with pytest.raises(OptionError, match="have no characters to spell"):
        make_ctc_head(load_task(recipe).model, ["", "..."])
    with pytest.raises(ModelError, match="not a readable CTC head"):
        load_ctc_head(tmp_path)
    (tmp_path / FILE).write_bytes(b"{}")
    with pytest.raises(ModelError, match="not a readable CTC head"):
        load_ctc_head(tmp_path)
