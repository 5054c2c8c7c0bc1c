"""The loss of a step does not depend on how its utterances are dealt out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from linnet.training.batch import Batch
from linnet.training.speech import loss as loss_module
from linnet.training.speech.corpus import AudioBatches
from linnet.training.speech.loss import FusionLoss
from linnet.training.speech.model import load_task
from linnet.training.speech.recipe import SpeechRecipe
from linnet.training.speech.run import prepare
from linnet.training.trainer import Trainer
from tests.support.tiny_recipes import fusion_recipe, save_bases, speech_recipe, tone_corpus
from tests.support.tiny_whispers import save_whisper


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], Path, Path]:
    root = tmp_path_factory.mktemp("loss")
    whisper = save_whisper(root / "whisper", seed=0)
    return save_bases(root / "bases"), tone_corpus(root / "corpus", 8), whisper


def recipe_of(
    kind: str, parts: tuple[dict[str, Path], Path, Path], folder: Path, losses: dict[str, Any] | None = None
) -> SpeechRecipe:
    bases, manifest, whisper = parts
    content = fusion_recipe(bases, manifest, folder / "out", optimization={"clip": 0.0})
    content["losses"] = losses or {}
    if kind == "whisper":
        content["model"] = {"checkpoint": str(whisper)}
    return speech_recipe(folder / "recipe.yaml", content)


def gradients(trainer: Trainer, window: list[Batch]) -> dict[str, Tensor]:
    """What a step would move by."""
    trainer.loss.train()
    trainer.backward(window)
    found = {name: value.grad.clone() for name, value in trainer.loss.named_parameters() if value.grad is not None}
    trainer.optimizer.zero_grad()
    return found


@pytest.mark.parametrize(
    ("kind", "losses"),
    [
        ("fusion", {}),
        ("whisper", {}),
        ("fusion", {"distill": True, "ctc": True}),
        ("whisper", {"distill": {"teacher": "another"}, "ctc": True}),
    ],
)
def test_one_by_eight_two_by_four_and_eight_by_one_are_one_gradient(
    kind: str, losses: dict[str, Any], parts: tuple[dict[str, Path], Path, Path], tmp_path: Path
) -> None:
    if losses.get("distill") not in (None, True):
        losses = {**losses, "distill": {"teacher": str(save_whisper(tmp_path / "another", seed=9))}}
    recipe = recipe_of(kind, parts, tmp_path, losses)
    task = load_task(recipe)
    trainer, data, _ = prepare(recipe, task)
    splits = [
        gradients(trainer, [data[range(first, first + size)] for first in range(0, 8, size)]) for size in (8, 4, 1)
    ]
    assert len(splits[0]) >= 2
    for other in splits[1:]:
        assert other.keys() == splits[0].keys()
        for name, value in splits[0].items():
            least = 1e-5 * float(value.abs().max())
            torch.testing.assert_close(other[name], value, rtol=2e-4, atol=least, msg=name)


@pytest.mark.parametrize("kind", ["fusion", "whisper"])
def test_it_is_the_sum_of_each_utterances_own_loss(
    kind: str, parts: tuple[dict[str, Path], Path, Path], tmp_path: Path
) -> None:
    """The oracle is Transformers' mean loss of each utterance alone, times its tokens."""
    recipe = recipe_of(kind, parts, tmp_path)
    task = load_task(recipe)
    _, data, _ = prepare(recipe, task)
    loss = task.loss.eval()
    with torch.no_grad():
        whole = loss(tensors(data, range(8)))["text"]
        alone = sum(float(task.model(**tensors(data, [row])).loss) * data[[row]].tokens for row in range(8))
    assert float(whole) == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("policy", ["frozen", "all"])
def test_logits_in_pieces_give_the_same_loss_and_gradients(
    policy: str, parts: tuple[dict[str, Path], Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of("fusion", parts, tmp_path)
    task = load_task(replace(recipe, freeze={"language_model": policy}))
    trainer, data, _ = prepare(recipe, task)
    whole = gradients(trainer, [data[range(8)]])
    most: list[int] = []
    head = task.model.get_output_embeddings()
    head.register_forward_hook(lambda *given: most.append(given[2].numel()))
    monkeypatch.setattr(loss_module, "LOGITS", 3 * len(head.weight))
    pieces = gradients(trainer, [data[range(8)]])
    assert max(most) == 3 * len(head.weight)
    assert pieces.keys() == whole.keys()
    assert len(whole) >= (3 if policy == "all" else 2)
    for name, value in whole.items():
        torch.testing.assert_close(pieces[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_a_head_that_is_not_all_is_not_gone_around(
    parts: tuple[dict[str, Path], Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some language models scale their logits after the head: there the model itself tells its loss."""
    recipe = recipe_of("fusion", parts, tmp_path)
    task = load_task(recipe)
    _, data, _ = prepare(recipe, task)
    made, language_model = tensors(data, range(8)), task.model.language_model
    forward = language_model.forward

    def scaled(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        output.logits = output.logits / 8.0
        return output

    with torch.no_grad():
        plain = float(FusionLoss(task.model)(made)["text"])
        monkeypatch.setattr(language_model, "forward", scaled)
        expected = float(task.model(**made).loss) * data[range(8)].tokens
        assert float(FusionLoss(task.model)(made)["text"]) == pytest.approx(expected, rel=1e-5)
    assert plain != pytest.approx(expected, rel=0.02)


def tensors(data: AudioBatches, rows: Any) -> dict[str, Tensor]:
    return data[rows].tensors


def test_whispers_labels_are_its_own_tokens(parts: tuple[dict[str, Path], Path, Path], tmp_path: Path) -> None:
    task = load_task(recipe_of("whisper", parts, tmp_path))
    (ids,) = task.inputs.labels(["one two"], ["en"])
    assert isinstance(ids, list)
    names = [task.inputs.tokenizer.convert_ids_to_tokens(token) for token in ids]  # type: ignore[attr-defined]
    assert names[:3] == ["<|en|>", "<|transcribe|>", "<|notimestamps|>"]
    assert names[-1] == "<|endoftext|>"
    assert task.inputs.texts(torch.tensor([ids])) == ["one two"]
    given = task.inputs.batch([torch.zeros(1600).numpy()], [ids])["decoder_input_ids"][0].tolist()
    assert given == [task.model.config.decoder_start_token_id, *ids[:-1]]
