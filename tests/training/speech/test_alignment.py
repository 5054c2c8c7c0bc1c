"""The loss of rows against token embeddings: against a slow twin, and that it teaches a projector without the model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from linnet.errors import OptionError
from linnet.training.batch import IGNORED
from linnet.training.loop import train
from linnet.training.speech.alignment import RowAlignment, make_alignment
from linnet.training.speech.model import load_task
from linnet.training.speech.recipe import SpeechRecipe
from linnet.training.speech.run import prepare
from tests.support.ctc_twin import twin
from tests.support.tiny_recipes import fusion_recipe, speech_recipe, tone_corpus
from tests.support.tiny_whispers import save_whisper

pytestmark = pytest.mark.usefixtures("quick")
END = 9


def recipe_at(folder: Path, bases: dict[str, Path], manifest: Path, losses: dict[str, Any]) -> SpeechRecipe:
    folder.mkdir(exist_ok=True)
    content = fusion_recipe(bases, manifest, folder / "out", data={"validation": None})
    content["losses"] = losses
    return speech_recipe(folder / "recipe.yaml", content)


def test_the_loss_is_that_of_a_slow_twin() -> None:
    torch.manual_seed(0)
    table, tokens = torch.randn(3, 6), [2, 5, 7]
    made = RowAlignment(table, tokens, 10)
    rows = [torch.randn(5, 6), torch.randn(3, 6), torch.randn(2, 6)]
    texts = [[5, 5, 2], [7], [2, 5, 7]]  # the last has no path
    labels = torch.full((3, 4), IGNORED)
    for row, text in zip(labels, texts, strict=True):
        row[: len(text) + 1] = torch.tensor([*text, END])
    found = made.losses(rows, labels)
    outputs = torch.cat([made.blank[None], table]).double()
    for clip, text, loss in zip(rows, texts, found.tolist(), strict=True):
        if len(text) > len(clip):
            assert loss == 0
            continue
        cosines = torch.stack([torch.cosine_similarity(row[None].double(), outputs) for row in clip])
        told = torch.log_softmax(made.scale.exp() * cosines, -1).detach().numpy()
        assert loss == pytest.approx(twin(told, [1 + tokens.index(token) for token in text]), rel=1e-4)


def test_its_tokens_are_those_of_the_texts_without_the_end(
    bases: dict[str, Path], manifest: Path, tmp_path: Path
) -> None:
    model = load_task(recipe_at(tmp_path, bases, manifest, {})).model
    made = make_alignment(model, [[3, 4, END], [4, END], [END]])
    assert made.numbers.nonzero().flatten().tolist() == [3, 4]
    with pytest.raises(OptionError, match="have no tokens to align"):
        make_alignment(model, [[END], [END]])


def test_it_teaches_the_projector_without_the_language_model(
    bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_at(tmp_path, bases, tone_corpus(tmp_path / "corpus", 8), {"text": 0.0, "alignment": True})
    trainer, data, validate = prepare(recipe, load_task(recipe))
    monkeypatch.setattr(trainer.task.model, "answer_states", None)  # what would read the rows
    frozen = {n: v.clone() for n, v in trainer.loss.named_parameters() if not v.requires_grad}
    rows = list(train(trainer, data, validate))
    assert rows[0]["loss_text"] == 0
    assert np.mean([row["loss"] for row in rows[-2:]]) < rows[0]["loss"]
    assert all(torch.equal(v, frozen[n]) for n, v in trainer.loss.named_parameters() if n in frozen)
    assert (tmp_path / "out/model/config.json").is_file()


def test_it_stands_beside_the_other_losses(bases: dict[str, Path], manifest: Path, tmp_path: Path) -> None:
    apart = {}
    for name, losses in (("text", {}), ("both", {"alignment": {"weight": 0.5}}), ("twice", {"alignment": True})):
        recipe = recipe_at(tmp_path / name, bases, manifest, losses)
        trainer, data, _ = prepare(recipe, load_task(recipe))
        trainer.loss.eval()
        with torch.no_grad():
            apart[name] = {part: float(value) for part, value in trainer.loss(data[[1, 2, 3]].tensors).items()}
    assert apart["both"]["text"] == pytest.approx(apart["text"]["text"])
    assert apart["twice"]["alignment"] == pytest.approx(2 * apart["both"]["alignment"]) != 0


def test_what_has_no_rows_is_refused(bases: dict[str, Path], manifest: Path, tmp_path: Path) -> None:
    save_whisper(tmp_path / "whisper")
    content = fusion_recipe(bases, manifest, tmp_path / "out")
    content["model"] = {"checkpoint": str(tmp_path / "whisper"), "language": "en"}
    content["losses"] = {"alignment": True}
    with pytest.raises(OptionError, match="alignment is for models"):
        load_task(speech_recipe(tmp_path / "recipe.yaml", content))
