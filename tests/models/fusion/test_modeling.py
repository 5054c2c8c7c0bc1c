"""What a fusion model computes: loss, batches, generation, prompts and labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from linnet.errors import ModelError
from linnet.models.fusion import configure, prompt, skeleton
from tests.support.tiny_fusion import TEXTS, clips, fusion, one_thread, save_all


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return save_all(
        tmp_path_factory.mktemp("bases"), ("hubert", "whisper", "parakeet", "llama", "qwen3", "smollm3", "gpt2")
    )


@pytest.mark.parametrize(
    ("encoder", "language_model"),
    [("hubert", "llama"), ("hubert", "smollm3"), ("whisper", "qwen3"), ("hubert", "gpt2")],
)
def test_the_loss_of_a_batch_is_that_of_a_slow_twin(bases: dict[str, Path], encoder: str, language_model: str) -> None:
    """One clip after the other, put together by hand, the whole sequence through the language model."""
    model, processor = fusion(bases, encoder, language_model)
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
        rows = model.embed_audio(batch["input_values"], batch["attention_mask"])
        states = model.answer_states(rows, batch["labels"])
        logits = model(**batch).logits[batch["labels"] != -100]
        torch.testing.assert_close(model.get_output_embeddings()(states), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("language_model", ["llama", "qwen3", "smollm3", "gpt2"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_clips_end_to_end_in_one_row_are_what_they_are_in_a_batch(
    bases: dict[str, Path], language_model: str, attention: str
) -> None:
    """States and gradients, without a column of padding."""
    model, processor = fusion(bases, language_model=language_model)
    model.language_model.set_attn_implementation(attention)
    batch = processor(clips(), TEXTS)
    seen: list[int] = []
    decoder = model.language_model.get_decoder()
    decoder.register_forward_pre_hook(lambda _, __, given: seen.append(given["inputs_embeds"].shape), with_kwargs=True)
    found = []
    for packed in (False, True):
        rows = model.embed_audio(batch["input_values"], batch["attention_mask"])
        states = model.answer_states(rows, batch["labels"], packed=packed)
        (states * torch.linspace(-1, 1, states.shape[1])).sum().backward()
        found.append([states.detach(), *(value.grad.clone() for value in model.projector.parameters())])
        model.zero_grad()
    columns = sum(model.prompt_tokens(len(clip)) for clip in clips()) + int((batch["labels"] != -100).sum()) - 4
    assert seen[1][:2] == (1, columns)
    assert seen[0][0] * seen[0][1] > columns
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-4)


def test_a_clip_alone_is_what_it_is_in_a_batch(bases: dict[str, Path]) -> None:
    model, processor = fusion(bases)
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
    model, processor = fusion(bases)
    given = processor(clips()[0])
    answer: list[int] = []
    while len(answer) < 6 and model.config.answer_end not in answer:
        with torch.no_grad():
            logits = model(**given, labels=torch.tensor([[*answer, 0]])).logits  # the last label is only asked for
        answer.append(int(logits[0, -1].argmax()))
    assert model.generate(**given, max_new_tokens=6)[0].tolist() == answer


def test_beams_and_length_penalty_reach_the_search(bases: dict[str, Path]) -> None:
    model, processor = fusion(bases)
    given = processor(clips()[2])
    options: dict[str, Any] = {"max_new_tokens": 5, "return_dict_in_generate": True, "output_scores": True}
    short, long = (model.generate(**given, num_beams=4, length_penalty=p, **options) for p in (-2.0, 5.0))
    assert short.sequences_scores[0] != long.sequences_scores[0]
    assert model.generate(**given, num_beams=1, **options).get("sequences_scores") is None


def test_training_the_projector_alone_lowers_the_loss(bases: dict[str, Path]) -> None:
    model, processor = fusion(bases)
    batch = processor(clips()[:3], ["one two", "nine", "three"])
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    before = {name: value.clone() for name, value in model.named_parameters() if not value.requires_grad}
    losses = []
    for _ in range(30):
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2
    now = dict(model.named_parameters())
    assert all(torch.equal(now[name], value) for name, value in before.items())


@pytest.mark.parametrize("encoder", ["hubert", "parakeet"])
def test_an_encoder_in_training_skips_and_masks_nothing(bases: dict[str, Path], encoder: str) -> None:
    """Its masks of time would refuse a sound as short as the last one, and their chance is not the recipe's."""
    model, processor = fusion(bases, encoder)
    for module in model.encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name in [name for name, value in vars(module).items() if "dropout" in name and isinstance(value, float)]:
            setattr(module, name, 0.0)
    batch = processor(clips()[-1], "one")
    model.encoder.requires_grad_(True).train()
    for module in model.encoder.modules():
        module.training &= not isinstance(module, torch.nn.BatchNorm1d)
    losses = {float(model(**batch).loss.detach()) for _ in range(20)}
    assert len(losses) == 1


def test_sound_beyond_the_language_model_is_refused(bases: dict[str, Path]) -> None:
    model, processor = fusion(bases)
    with pytest.raises(ModelError, match=r"clip 1 of the batch would take 1258 positions .* which has 512"):
        model.generate(**processor([clips()[0], np.zeros(16000 * 100, dtype=np.float32)]))
    with pytest.raises(ModelError, match="the longest clip and the longest text of the batch would take"):
        model(**processor(clips()[:1], " ".join(["one"] * 600)))


def test_rows_are_as_loud_as_text(bases: dict[str, Path]) -> None:
    model, processor = fusion(bases, "whisper")
    with torch.no_grad():
        rows = torch.cat(model.embed_audio(**processor(clips())))
        text = model.language_model.get_input_embeddings().weight
    assert 0.3 < float(rows.square().mean().sqrt() / text.square().mean().sqrt()) < 3.0


@pytest.mark.parametrize("options", [{}, {"window_seconds": 1.0, "overlap_seconds": 0.1}])
def test_a_skeleton_has_the_shapes_of_the_model(bases: dict[str, Path], options: dict[str, float]) -> None:
    model, _ = fusion(bases, **options)
    config, processor = configure(str(bases["hubert"]), str(bases["qwen3"]), {"hidden": 16}, **options)
    empty = skeleton(config)
    assert processor.answer_end == model.config.answer_end
    assert all(value.is_meta for value in empty.parameters())
    shapes = {name: (value.shape, value.requires_grad) for name, value in model.named_parameters()}
    assert {name: (value.shape, value.requires_grad) for name, value in empty.named_parameters()} == shapes


# --- prompts


def test_the_prompt_is_that_of_the_chat_template(bases: dict[str, Path]) -> None:
    model, processor = fusion(bases)
    tokens = processor.tokenizer.convert_ids_to_tokens
    assert tokens(model.config.prompt_before) == ["<|user|>"]
    assert tokens(model.config.prompt_after) == ["Transcribe", "the", "speech", ".", "<end>", "<|assistant|>"]
    assert tokens([model.config.answer_end]) == ["<end>"], "the stop token is the template's, not the tokenizer's"
    plain = prompt(fusion(bases, language_model="llama")[1].tokenizer, "the speech")
    assert (tokens(plain[0]), tokens(plain[1]), tokens([plain[2]])) == (["<s>"], ["the", "speech"], ["</s>"])


def test_a_system_turn_replaces_the_templates_own(bases: dict[str, Path]) -> None:
    """As in SmolLM2, whose template speaks first where no system turn does."""
    tokenizer = fusion(bases)[1].tokenizer
    own = "{% if messages[0].role != 'system' %}one two{% endif %}"
    tokenizer.chat_template = own + tokenizer.chat_template.replace("<|{{ m.role }}|>", "<|user|>")
    tokens = tokenizer.convert_ids_to_tokens
    assert tokens(prompt(tokenizer, "the speech")[0]) == ["one", "two", "<|user|>"]
    assert tokens(prompt(tokenizer, "the speech", "")[0]) == ["<|user|>", "<end>", "<|user|>"]
    assert tokens(prompt(tokenizer, "the speech", "three")[0]) == ["<|user|>", "three", "<end>", "<|user|>"]


THINKING = (
    "{{ '<s>' }}{% for m in messages %}<|{{ m.role }}|>"
    "{% if m.role == 'assistant' %}zero zero\n\n{% endif %}{{ m.content.strip() }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% if enable_thinking is false %}zero zero\n\n{% endif %}{% endif %}"
)


def test_a_template_that_thinks_is_told_not_to(bases: dict[str, Path]) -> None:
    """As in Qwen3 and SmolLM3, where an empty thought stands before the answer."""
    tokenizer = fusion(bases)[1].tokenizer
    tokenizer.chat_template = THINKING
    before, after, end = prompt(tokenizer, "the speech")
    assert tokenizer.convert_ids_to_tokens(before) == ["<s>", "<|user|>"]
    assert tokenizer.convert_ids_to_tokens(after) == ["the", "speech", "<end>", "<|assistant|>", "zero", "zero"]
    assert tokenizer.convert_ids_to_tokens([end]) == ["<end>"]
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}{% endfor %}"
    with pytest.raises(ModelError, match="does not show the user's turn"):
        prompt(tokenizer)


def test_labels_end_and_an_empty_text_is_the_end_alone(bases: dict[str, Path]) -> None:
    _, processor = fusion(bases)
    word = processor.tokenizer.convert_tokens_to_ids
    assert processor(text=["", "one two"])["labels"].tolist() == [[4, -100, -100], [word("one"), word("two"), 4]]
    assert 4 not in processor(text="one <end>")["labels"][0, :-1], "what is spelled in a text ends no answer"
    with pytest.raises(ModelError, match="resample it first"):
        processor(clips()[0], sampling_rate=8000)
    with pytest.raises(ModelError, match="`audio`, `text` or both"):
        processor()


@pytest.mark.parametrize("what", ["shape", "gap", "mask", "nothing"])
def test_sound_of_another_form_is_said(bases: dict[str, Path], what: str) -> None:
    model, processor = fusion(bases)
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
        "mask": "must be equal",
        "nothing": "input_values",
    }
    with pytest.raises(ModelError, match=says[what]):
        model.generate(**given)
