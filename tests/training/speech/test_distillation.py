"""Learning from a teacher: what it says against a slow twin, what it may be, and that a student comes nearer to it."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from linnet.errors import OptionError
from linnet.models.resize import resize
from linnet.training.batch import IGNORED
from linnet.training.loop import run_recipe
from linnet.training.speech import loss as loss_module
from linnet.training.speech.distillation import TeacherTargets, divergence, has_text, load_teacher, text_states
from linnet.training.speech.loss import token_sums
from linnet.training.speech.model import load_task
from linnet.training.speech.recipe import Distillation, Losses, SpeechRecipe
from linnet.training.speech.run import prepare
from tests.support.tiny_fusion import TEXTS, clips, fusion, save_all
from tests.support.tiny_recipes import fusion_recipe, speech_recipe, tone_corpus
from tests.support.tiny_speech import MAKERS
from tests.support.tiny_whispers import save_whisper, small_tokenizer

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tone_corpus(tmp_path_factory.mktemp("corpus"), 12)


def recipe_at(folder: Path, content: dict[str, Any], **changes: dict[str, Any]) -> SpeechRecipe:
    folder.mkdir(exist_ok=True)
    for part, values in changes.items():
        content[part] = {**content.get(part, {}), **values}
    return speech_recipe(folder / "recipe.yaml", content)


def twin(student: np.ndarray, teacher: np.ndarray, temperature: float) -> float:
    """T^2 sum p log(p / q) in float64, term by term."""
    total = 0.0
    for ours, theirs in zip(student.astype(np.float64), teacher.astype(np.float64), strict=True):
        q, p = (np.exp((z - z.max()) / temperature) for z in (ours, theirs))
        q, p = q / q.sum(), p / p.sum()
        total += sum(a * (np.log(a) - np.log(b)) for a, b in zip(p, q, strict=True))
    return temperature**2 * total


@given(rows=st.integers(1, 5), seed=st.integers(0, 1000), temperature=st.sampled_from([0.5, 1.0, 2.0, 7.0]))
def test_divergence_is_that_of_a_slow_twin(rows: int, seed: int, temperature: float) -> None:
    student, teacher = torch.randn(2, rows, 11, generator=torch.Generator().manual_seed(seed)) * 3
    found = divergence(student, teacher, temperature)
    assert found.shape == (rows,)
    assert float(found.sum()) == pytest.approx(twin(student.numpy(), teacher.numpy(), temperature), rel=1e-4, abs=1e-5)
    assert float(divergence(teacher, teacher, temperature).abs().max()) < 1e-5


def test_in_pieces_it_is_the_same_and_the_teacher_gets_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    head, labels = nn.Linear(6, 13), torch.randint(0, 13, (10,))
    states, taught = torch.randn(10, 6, requires_grad=True), torch.randn(10, 6, requires_grad=True)
    lesson = TeacherTargets(taught, torch.arange(10) != 4, 2.0)
    most: list[int] = []
    head.register_forward_hook(lambda *given: most.append(given[2].numel()))
    found = []
    for limit in (2**27, 6 * 13):  # pieces of three
        monkeypatch.setattr(loss_module, "LOGITS", limit)
        sums = token_sums(states, labels, head, lesson)
        (sums[0] + 0.5 * sums[1]).backward()
        found.append((sums.detach(), states.grad, head.weight.grad))
        states.grad = None
        head.zero_grad()
    assert max(most[2:]) == 3 * 13
    assert taught.grad is None
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    kept = [row for row in range(10) if row != 4]
    logits, theirs = (head(x).detach()[kept].numpy() for x in (states, taught))
    assert float(found[0][0][1]) == pytest.approx(twin(logits, theirs, 2.0), rel=1e-4)


# --- the language model reads the text


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return save_all(tmp_path_factory.mktemp("readers"), ("hubert", "qwen3", "gpt2"))


@pytest.mark.parametrize("language_model", ["qwen3", "gpt2"])
@pytest.mark.parametrize("packed", [False, True])
def test_the_reader_has_the_text_where_the_sound_stood(
    readers: dict[str, Path], language_model: str, packed: bool
) -> None:
    """One text after the other, its tokens put together by hand; the end of the answer is told too."""
    model, processor = fusion(readers, language_model=language_model)
    labels = processor(clips(), TEXTS)["labels"]
    states = text_states(model, labels, packed=packed)
    at = 0
    for text in TEXTS:
        ids = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        asked = [*model.config.prompt_before, *ids, *model.config.prompt_after]
        with torch.no_grad():
            whole = model.language_model(torch.tensor([[*asked, *ids]])).logits[0, len(asked) - 1 :]
            told = model.get_output_embeddings()(states[at : at + len(ids) + 1])
        torch.testing.assert_close(told, whole, rtol=2e-4, atol=2e-4)
        at += len(ids) + 1
    assert at == len(states)
    inside = [len(processor.tokenizer(text)["input_ids"]) for text in TEXTS]
    assert has_text(labels).tolist() == [count > 0 for count in inside for _ in range(count + 1)]


def test_the_reader_has_no_adapters_and_drops_nothing_and_all_is_as_before(
    bases: dict[str, Path], manifest: Path, tmp_path: Path
) -> None:
    losses = {"distill": True}
    content = fusion_recipe(bases, manifest, tmp_path, freeze={"language_model": "lora(r=2, dropout=0.5)"})
    task = load_task(recipe_at(tmp_path, content, losses=losses))
    plain = load_task(recipe_at(tmp_path, content, losses=losses, freeze={"language_model": "frozen"}))
    model = task.model.train()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.normal_()
    flags = [part.training for part in model.modules()]
    labels = torch.tensor([[8, 9, 2], [2, IGNORED, IGNORED]])
    torch.testing.assert_close(text_states(model, labels), text_states(plain.model, labels))
    assert [part.training for part in model.modules()] == flags
    assert any(value.requires_grad for name, value in model.named_parameters() if "lora_" in name)
    with torch.no_grad():  # and they are on again
        rows = [torch.ones(2, model.config.text_config.hidden_size)] * 2
        assert not torch.allclose(model.answer_states(rows, labels), plain.model.answer_states(rows, labels))


def test_the_part_is_the_divergence_of_utterances_with_a_text(
    bases: dict[str, Path], manifest: Path, tmp_path: Path
) -> None:
    losses = {"text": 0.5, "distill": {"weight": 0.25, "temperature": 3.0}}
    recipe = recipe_at(tmp_path, fusion_recipe(bases, manifest, tmp_path), losses=losses)
    task = load_task(recipe)
    _, data, _ = prepare(recipe, task)
    batch = data[range(8)]
    with torch.no_grad():
        parts = task.loss.eval()(batch.tensors)
    assert list(parts) == ["text", "distill"]
    model, expected, told = task.model, 0.0, 0.0
    with torch.no_grad():
        for row in range(8):
            alone = data[[row]].tensors
            output = model(**alone)
            told += float(output.loss) * alone["labels"].numel()
            if alone["labels"].numel() > 1:
                theirs = model.get_output_embeddings()(text_states(model, alone["labels"]))
                expected += twin(output.logits[0].numpy(), theirs.numpy(), 3.0)
    assert float(parts["text"]) == pytest.approx(0.5 * told, rel=1e-5)
    assert float(parts["distill"]) == pytest.approx(0.25 * expected, rel=1e-4)


# --- a larger model


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory, manifest: Path) -> Path:
    """A tiny Whisper that has learned something of the tones."""
    folder = tmp_path_factory.mktemp("teacher")
    start = save_whisper(folder / "start", seed=3)
    recipe = whisper_recipe(start, manifest, folder / "run", optimization={"steps": 40, "learning_rate": 0.005})
    last = list(run_recipe(recipe))[-1]
    assert last["loss"] < 2.0
    return folder / "run" / "model"


def whisper_recipe(model: Path, manifest: Path, output: Path, **changes: Any) -> SpeechRecipe:
    content = fusion_recipe({"hubert": model, "llama": model}, manifest, output)
    content["model"] = {"checkpoint": str(model), "language": "en"}
    changes["run"] = {"log_every": 1000, "checkpoint_every": 1000, **changes.get("run", {})}
    changes["data"] = {"batching": {"budget": 20.0, "groups": 2}, **changes.get("data", {})}
    return recipe_at(output.parent, content, **changes)


def test_a_student_made_by_resizing_learns_from_its_teacher(teacher: Path, manifest: Path, tmp_path: Path) -> None:
    """Nearer to what the teacher says, after as many steps, than one that learned from the labels alone."""
    resize(str(teacher), tmp_path / "student", encoder_layers=1, decoder_layers=1, offline=True)
    distill = Distillation(teacher=str(teacher))
    recipe = whisper_recipe(
        tmp_path / "student", manifest, tmp_path / "run", optimization={"steps": 25, "learning_rate": 0.002}
    )
    distances = {"before": distance(recipe, distill)}
    for name, losses in {"labels": recipe.losses, "teacher": Losses(text=0.5, distill=distill)}.items():
        chosen = replace(recipe, losses=losses, run=replace(recipe.run, output=str(tmp_path / name)))
        rows = list(run_recipe(chosen))
        assert ("loss_distill" in rows[-1]) == (name == "teacher")
        trained = replace(recipe.model, checkpoint=str(tmp_path / name / "model"))
        distances[name] = distance(replace(recipe, model=trained), distill)
    assert distances["teacher"] < distances["labels"] < 0.5 * distances["before"]


def distance(recipe: SpeechRecipe, distill: Distillation) -> float:
    """KL(teacher || student) per token of the corpus."""
    recipe = replace(recipe, losses=Losses(text=0.0, distill=distill))
    task = load_task(recipe)
    _, data, _ = prepare(recipe, task)
    batch = data[range(12)]
    with torch.no_grad():
        return float(task.loss.eval()(batch.tensors)["distill"]) / batch.tokens


def test_a_teacher_is_frozen_in_its_own_format_and_says_what_it_says_alone(
    teacher: Path, manifest: Path, tmp_path: Path
) -> None:
    half = shutil.copytree(teacher, tmp_path / "half")
    from transformers import WhisperForConditionalGeneration

    WhisperForConditionalGeneration.from_pretrained(teacher, dtype=torch.bfloat16).save_pretrained(half)
    recipe = whisper_recipe(teacher, manifest, tmp_path / "run", losses={"distill": {"teacher": str(half)}})
    task = load_task(recipe)
    trainer, data, _ = prepare(recipe, task)
    loss = trainer.loss.train()
    assert task.teacher.dtype == torch.bfloat16
    assert not any(value.requires_grad for value in task.teacher.parameters())
    assert not any(part.training for part in task.teacher.modules() if part is not task.teacher)
    tensors: dict[str, Tensor] = data[range(6)].tensors
    parts = loss(tensors)
    sum(parts.values()).backward()
    assert all(value.grad is None for value in task.teacher.parameters())
    given = {name: value for name, value in tensors.items() if name != "labels"}
    inside = tensors["labels"] != IGNORED
    with torch.no_grad():
        ours = task.model(**given).logits[inside]
        theirs = task.teacher(**{**given, "input_features": given["input_features"].bfloat16()}).logits[inside]
    expected = twin(ours.numpy(), theirs.float().numpy(), 2.0)
    assert float(parts["distill"].detach()) == pytest.approx(expected, rel=1e-3, abs=1e-3)


# --- what cannot be


def test_a_teacher_that_cannot_be_compared_is_refused(teacher: Path, manifest: Path, tmp_path: Path) -> None:
    languages = ("en", "de")
    few = save_whisper(tmp_path / "few", seed=0, languages=languages)
    other = tmp_path / "other"
    MAKERS["moonshine"](other)
    assert len(small_tokenizer(languages=languages)) < len(small_tokenizer())
    for name, says in {
        str(few): "has another vocabulary .* the first difference is '<|",
        str(other): "is a moonshine model, the student a whisper",
        "": "name the `teacher`, a folder or Hub id",
    }.items():
        recipe = whisper_recipe(teacher, manifest, tmp_path / "run", losses={"distill": {"teacher": name}})
        with pytest.raises(OptionError, match=says):
            load_task(recipe)
    student = load_task(whisper_recipe(teacher, manifest, tmp_path / "run"))
    student.model.config.num_mel_bins = 80
    with pytest.raises(OptionError, match="takes other features than the student: num_mel_bins 16, not 80"):
        load_teacher(str(teacher), student.model, student.inputs.tokenizer)  # type: ignore[attr-defined]


def test_a_fusion_models_teacher_is_its_own_and_stays(bases: dict[str, Path], manifest: Path, tmp_path: Path) -> None:
    content = fusion_recipe(bases, manifest, tmp_path)
    with pytest.raises(OptionError, match=r"is its own language model.* leave the teacher big out"):
        load_task(recipe_at(tmp_path, content, losses={"distill": {"teacher": "big"}}))
    for policy in ("all", "top:1"):
        changed = {"freeze": {"language_model": policy}, "losses": {"distill": True}}
        with pytest.raises(OptionError, match=f"freeze trains it .language_model: {policy}.: use `frozen`"):
            load_task(recipe_at(tmp_path, content, **changed))


@pytest.mark.parametrize(
    ("losses", "says"),
    [
        ({"text": -1}, "the weight of text must be 0 or more, got -1"),
        ({"distill": {"weight": -2}}, "the weight of distill must be 0 or more"),
        ({"text": 0}, "all weights are zero"),
        ({"distill": {"temperature": 0}}, "temperature must be more than 0, got 0"),
        ({"destill": {}}, "did you mean 'distill'"),
    ],
)
def test_losses_that_cannot_be_are_refused(losses: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=says):
        recipe_at(tmp_path, {"task": "speech"}, losses=losses)
