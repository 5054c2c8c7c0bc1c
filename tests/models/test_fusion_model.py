"""The whole model: loss, batches, folders, adapters, generation, and the front doors of Transformers and Linnet."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor, pipeline

import linnet
from hub_cache import COMMIT, add_to_cache
from linnet.errors import ModelError
from linnet.models.fusion import FusionForConditionalGeneration, build, configure, prompt, skeleton
from linnet.models.fusion.adapters import Lora, add_lora, fold_lora, lora_layers
from tiny_fusion import one_thread, save_all

TEXTS = ["one two", "", "three", "four five six"]
BASES = ("hubert", "whisper", "llama", "qwen3", "smollm3")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return save_all(tmp_path_factory.mktemp("bases"), BASES)


def clips() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.standard_normal(n).astype(np.float32) * 0.1 for n in (8000, 5000, 20000, 100)]


def made(bases: dict[str, Path], encoder: str = "hubert", language_model: str = "qwen3", **options: Any) -> Any:
    """A model whose windows are at most a second, so that the third clip is cut, and its processor."""
    given = {"window_seconds": 1.0, "overlap_seconds": 0.1, **options}
    return build(str(bases[encoder]), str(bases[language_model]), {"hidden": 16}, **given)


@pytest.fixture(scope="module")
def saved(bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model whose projector differs from a fresh one."""
    model, processor = made(bases)
    with torch.no_grad():
        model.projector.last.weight.mul_(3.0)
    folder = tmp_path_factory.mktemp("fusion") / "model"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def load(folder: Path, **options: Any) -> Any:
    return AutoModelForSpeechSeq2Seq.from_pretrained(folder, local_files_only=True, **options)


# --- what is computed


@pytest.mark.parametrize(
    ("encoder", "language_model"), [("hubert", "llama"), ("hubert", "smollm3"), ("whisper", "qwen3")]
)
def test_the_loss_of_a_batch_is_that_of_a_slow_twin(bases: dict[str, Path], encoder: str, language_model: str) -> None:
    """One clip after the other, put together by hand, the whole sequence through the language model."""
    model, processor = made(bases, encoder, language_model)
    batch = processor(audio=clips(), text=TEXTS, sampling_rate=16000)
    total, count = torch.zeros(()), 0
    with torch.no_grad():
        whole = model(**batch)
        embed = model.language_model.get_input_embeddings()
        for row, (clip, text) in enumerate(zip(clips(), TEXTS, strict=True)):
            frames = model.windowing.encode(model.encoder, [torch.from_numpy(clip)])[0]
            rows = model.projector(frames[None], [len(frames)])[0]
            answer = [*processor.tokenizer(text, add_special_tokens=False)["input_ids"], model.config.answer_end]
            before, after, told = (
                embed(torch.tensor(ids, dtype=torch.long))
                for ids in (model.config.prompt_before, model.config.prompt_after, answer)
            )
            assert len(before) + len(rows) + len(after) == model.prompt_tokens(len(clip))
            logits = model.language_model(inputs_embeds=torch.cat([before, rows, after, told])[None]).logits[0]
            logits = logits[-len(answer) - 1 : -1]
            torch.testing.assert_close(whole.logits[row, : len(answer)], logits, rtol=1e-4, atol=1e-4)
            total -= logits.log_softmax(-1)[range(len(answer)), answer].sum()
            count += len(answer)
    torch.testing.assert_close(whole.loss, total / count, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(model(**batch, num_items_in_batch=100).loss, total / 100, rtol=1e-5, atol=1e-5)
        states = model.answer_states(**batch)
        torch.testing.assert_close(model.get_output_embeddings()(states), model(**batch).logits, rtol=1e-4, atol=1e-4)


def test_a_clip_alone_is_what_it_is_in_a_batch(bases: dict[str, Path]) -> None:
    model, processor = made(bases)
    batch = processor(clips(), TEXTS)
    with torch.no_grad():
        together, first = model(**batch), model(batch["input_values"], batch["attention_mask"])
        for row, (clip, text) in enumerate(zip(clips(), TEXTS, strict=True)):
            alone = model(**processor(clip, text))
            told = alone.logits.shape[1]
            torch.testing.assert_close(alone.logits[0], together.logits[row, :told], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(first.logits[row, 0], alone.logits[0, 0], rtol=1e-4, atol=1e-4)
    texts = [model.generate(**processor(clip), max_new_tokens=6, num_beams=2)[0].tolist() for clip in clips()]
    pad = model.generation_config.pad_token_id
    answers = model.generate(**processor(clips()), max_new_tokens=6, num_beams=2).tolist()
    assert [[t for t in answer if t != pad] for answer in answers] == [[t for t in text if t != pad] for text in texts]


def test_generate_is_the_greedy_answer_of_forward(bases: dict[str, Path]) -> None:
    model, processor = made(bases)
    given = processor(clips()[0])
    answer: list[int] = []
    while len(answer) < 6 and model.config.answer_end not in answer:
        with torch.no_grad():
            logits = model(**given, labels=torch.tensor([[*answer, 0]])).logits  # the last label is only asked for
        answer.append(int(logits[0, -1].argmax()))
    assert model.generate(**given, max_new_tokens=6)[0].tolist() == answer


def test_beams_and_length_penalty_reach_the_search(bases: dict[str, Path]) -> None:
    model, processor = made(bases)
    given = processor(clips()[2])
    options: dict[str, Any] = {"max_new_tokens": 5, "return_dict_in_generate": True, "output_scores": True}
    short, long = (model.generate(**given, num_beams=4, length_penalty=p, **options) for p in (-2.0, 5.0))
    assert short.sequences_scores[0] != long.sequences_scores[0]
    assert model.generate(**given, num_beams=1, **options).get("sequences_scores") is None


def test_training_the_projector_alone_lowers_the_loss(bases: dict[str, Path]) -> None:
    model, processor = made(bases)
    batch = processor(clips()[:3], ["one two", "nine", "three"])
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    before = {name: value.clone() for name, value in model.named_parameters() if not value.requires_grad}
    losses = []
    for _ in range(30):
        loss = model(**batch).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2
    now = dict(model.named_parameters())
    assert all(torch.equal(now[name], value) for name, value in before.items())


def test_rows_are_as_loud_as_text(bases: dict[str, Path]) -> None:
    model, processor = made(bases, "whisper")
    with torch.no_grad():
        rows = torch.cat(model.embed_audio(**processor(clips())))
        text = model.language_model.get_input_embeddings().weight
    assert 0.3 < float(rows.square().mean().sqrt() / text.square().mean().sqrt()) < 3.0


@pytest.mark.parametrize("options", [{}, {"window_seconds": 1.0, "overlap_seconds": 0.1}])
def test_a_skeleton_has_the_shapes_of_the_model(bases: dict[str, Path], options: dict[str, float]) -> None:
    model, _ = made(bases, **options)
    config, processor = configure(str(bases["hubert"]), str(bases["qwen3"]), {"hidden": 16}, **options)
    empty = skeleton(config)
    assert processor.answer_end == model.config.answer_end
    assert all(value.is_meta for value in empty.parameters())
    shapes = {name: (value.shape, value.requires_grad) for name, value in model.named_parameters()}
    assert {name: (value.shape, value.requires_grad) for name, value in empty.named_parameters()} == shapes


# --- prompts


def test_the_prompt_is_that_of_the_chat_template(bases: dict[str, Path]) -> None:
    model, processor = made(bases)
    tokens = processor.tokenizer.convert_ids_to_tokens
    assert tokens(model.config.prompt_before) == ["<|user|>"]
    assert tokens(model.config.prompt_after) == ["Transcribe", "the", "speech", ".", "<end>", "<|assistant|>"]
    assert tokens([model.config.answer_end]) == ["<end>"], "the stop token is the template's, not the tokenizer's"
    plain = prompt(made(bases, language_model="llama")[1].tokenizer, "the speech")
    assert (tokens(plain[0]), tokens(plain[1]), tokens([plain[2]])) == (["<s>"], ["the", "speech"], ["</s>"])


THINKING = (
    "{{ '<s>' }}{% for m in messages %}<|{{ m.role }}|>"
    "{% if m.role == 'assistant' %}zero zero\n\n{% endif %}{{ m.content.strip() }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% if enable_thinking is false %}zero zero\n\n{% endif %}{% endif %}"
)


def test_a_template_that_thinks_is_told_not_to(bases: dict[str, Path]) -> None:
    """As in Qwen3 and SmolLM3, where an empty thought stands before the answer."""
    tokenizer = made(bases)[1].tokenizer
    tokenizer.chat_template = THINKING
    before, after, end = prompt(tokenizer, "the speech")
    assert tokenizer.convert_ids_to_tokens(before) == ["<s>", "<|user|>"]
    assert tokenizer.convert_ids_to_tokens(after) == ["the", "speech", "<end>", "<|assistant|>", "zero", "zero"]
    assert tokenizer.convert_ids_to_tokens([end]) == ["<end>"]
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}{% endfor %}"
    with pytest.raises(ModelError, match="does not show the user's turn"):
        prompt(tokenizer)


def test_labels_end_and_an_empty_text_is_the_end_alone(bases: dict[str, Path]) -> None:
    _, processor = made(bases)
    word = processor.tokenizer.convert_tokens_to_ids
    assert processor(text=["", "one two"])["labels"].tolist() == [[4, -100, -100], [word("one"), word("two"), 4]]
    assert 4 not in processor(text="one <end>")["labels"][0, :-1], "what is spelt in a text ends no answer"
    with pytest.raises(ModelError, match="resample it first"):
        processor(clips()[0], sampling_rate=8000)
    with pytest.raises(ModelError, match="`audio`, `text` or both"):
        processor()


# --- folders


def test_a_folder_holds_what_was_trained_and_names_its_bases(saved: Path, bases: dict[str, Path]) -> None:
    with safe_open(saved / "model.safetensors", "np") as file:
        assert all(name.startswith("projector.") for name in file.keys())  # noqa: SIM118 (no dict)
    config = json.loads((saved / "config.json").read_text())
    assert config["bases"]["encoder"]["name"] == str(bases["hubert"])
    assert config["bases"]["language_model"]["name"] == str(bases["qwen3"])
    assert all(len(base["revision"]) == 12 for base in config["bases"].values())


def test_a_loaded_folder_is_the_same_model(saved: Path, bases: dict[str, Path], tmp_path: Path) -> None:
    model, processor = made(bases)
    with torch.no_grad():
        model.projector.last.weight.mul_(3.0)
    again, read = load(saved), AutoProcessor.from_pretrained(saved)
    batch = processor(clips(), TEXTS)
    assert {name: value.tolist() for name, value in read(clips(), TEXTS).items()} == {
        name: value.tolist() for name, value in batch.items()
    }
    with torch.no_grad():
        torch.testing.assert_close(again(**batch).logits, model(**batch).logits)
    assert {name for name, value in again.named_parameters() if value.requires_grad} == {
        name for name, _ in again.named_parameters() if name.startswith("projector.")
    }
    assert not again.training
    again.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (saved / "model.safetensors").read_bytes()
    assert load(saved, dtype=torch.bfloat16)(**batch).logits.dtype == torch.bfloat16


@pytest.mark.parametrize("language_model", ["qwen3", "smollm3"])  # the first has one table for words in and words out
def test_whatever_was_trained_is_in_the_folder(bases: dict[str, Path], tmp_path: Path, language_model: str) -> None:
    model, processor = made(bases, language_model=language_model)
    for part in (model.language_model, model.encoder.encoder.layers[-1]):
        part.requires_grad_(True)
    with torch.no_grad():
        for value in model.parameters():
            if value.requires_grad:
                value.add_(torch.randn(value.shape, generator=torch.Generator().manual_seed(0)) * 0.1)
    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    batch = processor(clips(), TEXTS)
    with torch.no_grad():
        torch.testing.assert_close(again(**batch).logits, model(**batch).logits)


def test_a_merged_folder_needs_no_bases(saved: Path, bases: dict[str, Path], tmp_path: Path) -> None:
    model, processor = load(saved), AutoProcessor.from_pretrained(saved)
    batch = processor(clips(), TEXTS)
    with torch.no_grad():
        expected = model(**batch).logits
        model.merge()
        model.save_pretrained(tmp_path / "whole")
        config = json.loads((tmp_path / "whole" / "config.json").read_text())
        assert config["bases"] is None
        torch.testing.assert_close(load(tmp_path / "whole")(**batch).logits, expected)


def test_adapters_are_saved_loaded_and_folded(bases: dict[str, Path], tmp_path: Path) -> None:
    model, processor = made(bases)
    lora = Lora(r=2, alpha=4, targets=("q_proj", "v_proj"))
    for part in ("encoder", "language_model"):
        add_lora(model.get_submodule(part), lora)
    model.config.adapters = {part: lora.as_dict() for part in ("encoder", "language_model")}
    batch = processor(clips(), TEXTS)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_" in name:
                value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(len(name))) * 0.1)
                value.requires_grad_(True)
        expected = model(**batch).logits
        assert not torch.allclose(expected, made(bases)[0](**batch).logits, atol=1e-3)
        model.save_pretrained(tmp_path / "lora")
        with safe_open(tmp_path / "lora" / "model.safetensors", "np") as file:
            names = set(file.keys())
        assert all("lora_" in name or name.startswith("projector.") for name in names)
        again = load(tmp_path / "lora")
        torch.testing.assert_close(again(**batch).logits, expected)
        again.merge()
        assert not list(lora_layers(again))
        again.save_pretrained(tmp_path / "whole")
        torch.testing.assert_close(load(tmp_path / "whole")(**batch).logits, expected, rtol=1e-4, atol=1e-4)


def test_folded_adapters_are_the_closed_form() -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(5, 4, bias=False))
    weight = module[0].weight.detach().clone()
    add_lora(module, Lora(r=2, alpha=6))
    layer: Any = module[0]
    torch.nn.init.normal_(layer.lora_B["default"].weight)
    up, down = layer.lora_B["default"].weight.detach(), layer.lora_A["default"].weight.detach()
    fold_lora(module)
    torch.testing.assert_close(module[0].weight.detach(), weight + 3.0 * up @ down)
    with pytest.raises(ModelError, match="Sequential has no linear layer named q_proj; it has 0"):
        add_lora(module, Lora(targets=("q_proj",)))


def test_a_missing_or_changed_base_is_named(saved: Path, tmp_path: Path) -> None:
    def folder(place: str, **changes: Any) -> Path:
        made = tmp_path / place
        made.mkdir()
        for path in saved.iterdir():
            if path.is_file():
                (made / path.name).write_bytes(path.read_bytes())
        config = json.loads((saved / "config.json").read_text())
        config["bases"]["encoder"] |= changes
        (made / "config.json").write_text(json.dumps(config))
        return made

    with pytest.raises(ModelError, match=r"base model nobody/hubert at revision .* the speech encoder of this model"):
        load(folder("gone", name="nobody/hubert"))
    with pytest.raises(ModelError, match="there is no such folder"):
        load(folder("moved", name="/no/hubert"))
    with pytest.raises(ModelError, match="is not what it was trained on"):
        load(folder("changed", revision="0123456789ab"))
    with pytest.raises(linnet.LinnetError, match="nobody/hubert"):
        linnet.load(str(tmp_path / "gone"))


def test_models_and_bases_come_from_the_hub_at_their_revisions(
    saved: Path, bases: dict[str, Path], tmp_path: Path
) -> None:
    def files(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    config = json.loads((saved / "config.json").read_text())
    for part, name in (("encoder", "hubert"), ("language_model", "qwen3")):
        config["bases"][part] = {"name": f"nobody/{name}", "revision": COMMIT}
        add_to_cache(tmp_path, f"nobody/{name}", files(bases[name]))
    add_to_cache(tmp_path, "nobody/fusion", {**files(saved), "config.json": json.dumps(config).encode()})
    model = AutoModelForSpeechSeq2Seq.from_pretrained("nobody/fusion", cache_dir=tmp_path, revision=COMMIT)
    batch = AutoProcessor.from_pretrained(saved)(clips(), TEXTS)
    with torch.no_grad():
        torch.testing.assert_close(model(**batch).logits, load(saved)(**batch).logits)


def test_bases_that_do_not_fit_are_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no speech encoder of type 'llama'"):
        made(bases, encoder="llama")
    with pytest.raises(ModelError, match=r"base model .*nowhere, the speech encoder"):
        build(str(tmp_path / "nowhere"), str(bases["llama"]))
    folder = tmp_path / "odd"
    folder.mkdir()
    for path in bases["whisper"].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    features = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**features, "hop_length": 200}))
    with pytest.raises(ModelError, match="hop_length 200; only 160"):
        build(str(folder), str(bases["llama"]))


@pytest.mark.parametrize("what", ["shape", "gap", "mask", "nothing"])
def test_sound_of_another_form_is_said(bases: dict[str, Path], what: str) -> None:
    model, processor = made(bases)
    given = dict(processor(clips()[:2]))
    if what == "shape":
        given["input_values"] = given["input_values"][0]
    elif what == "gap":
        given["attention_mask"][1, :3] = 0
    elif what == "mask":
        given["attention_mask"] = given["attention_mask"][:, :-1]
    else:
        del given["input_values"]
    says = {
        "shape": r"\[clips, samples\]",
        "gap": "clip 1 of the batch",
        "mask": "one number",
        "nothing": "input_values",
    }
    with pytest.raises(ModelError, match=says[what]):
        model.generate(**given)


# --- front doors


def test_the_pipeline_of_transformers_takes_beams_and_lengths(saved: Path) -> None:
    asr = pipeline("automatic-speech-recognition", str(saved))
    model, processor = load(saved), AutoProcessor.from_pretrained(saved)
    options: dict[str, Any] = {"num_beams": 3, "length_penalty": 0.5, "max_new_tokens": 7}
    expected = processor.batch_decode(model.generate(**processor(clips()), **options), skip_special_tokens=True)
    assert [row["text"] for row in asr(clips(), batch_size=2, **options)] == expected
    assert asr(clips()[2], generate_kwargs=options)["text"] == expected[2]
    assert any(expected)


def test_linnet_loads_and_transcribes_a_folder(saved: Path) -> None:
    recognizer = linnet.load(str(saved), device="cpu")
    sound = np.concatenate([clips()[2]] * 28)  # 35 s: two windows
    transcript = recognizer.transcribe(sound, vad=False, max_new_tokens=5)
    assert transcript.duration == pytest.approx(35.0)
    assert len(transcript.segments) == 2
    model, processor = load(saved), AutoProcessor.from_pretrained(saved)
    (answer,) = model.generate(**processor(clips()[2]), max_new_tokens=5, num_beams=2)
    heard = recognizer.transcribe(clips()[2], vad=False, max_new_tokens=5, beam_size=2)
    assert heard.text == processor.decode(answer, skip_special_tokens=True)


def run(code: str, tmp_path: Path) -> list[str]:
    """The lines that a fresh Python prints."""
    (tmp_path / "code.py").write_text(code)
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "PATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "code.py")], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


_SOUND = "import numpy as np; sound = np.random.default_rng(0).standard_normal(8000).astype('float32') * 0.1\n"
_ASK = "print(pipeline('automatic-speech-recognition', folder, {})(sound, num_beams=2, max_new_tokens=7)['text'])\n"


def test_stock_transformers_loads_the_folder_with_its_own_code(saved: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['linnet'] = None  # as where it is not installed\n"
        + _SOUND
        + f"folder = {str(saved)!r}\n"
        + "from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor, pipeline\n"
        + _ASK.format("trust_remote_code=True")
        + "model = AutoModelForSpeechSeq2Seq.from_pretrained(folder, trust_remote_code=True)\n"
        + "processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)\n"
        + "answer = model.generate(**processor(sound), num_beams=2, max_new_tokens=7)\n"
        + "print(processor.decode(answer[0], skip_special_tokens=True), type(model).__module__)\n"
    )
    model, processor = load(saved), AutoProcessor.from_pretrained(saved)
    (answer,) = model.generate(**processor(clips()[0]), num_beams=2, max_new_tokens=7)
    text = processor.decode(answer, skip_special_tokens=True)
    first, second = run(code, tmp_path)
    assert first == text
    assert second.startswith(f"{text} transformers_modules.")


def test_the_auto_classes_know_the_model_once_they_are_used(saved: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom linnet.models.fusion.auto import register_when_used\nregister_when_used()\n"
        "print({'torch', 'transformers', 'numpy'} & set(sys.modules) or 'nothing heavy')\n"
        + _SOUND
        + f"folder = {str(saved)!r}\n"
        + "from transformers import AutoConfig\nprint(type(AutoConfig.from_pretrained(folder)).__module__)\n"
        + "from transformers import AutoProcessor\nprint(type(AutoProcessor.from_pretrained(folder)).__module__)\n"
        + "from transformers import AutoModelForSpeechSeq2Seq, pipeline\n"
        + "print(type(AutoModelForSpeechSeq2Seq.from_pretrained(folder)).__module__)\n"
        + _ASK.format("")
    )
    home = "linnet.models.fusion"
    said = run(code, tmp_path)
    assert said[:4] == ["nothing heavy", f"{home}.configuration", f"{home}.processing", f"{home}.modeling"]
    assert FusionForConditionalGeneration.__module__ == said[3]
