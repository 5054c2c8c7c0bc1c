"""A language model in GGUF: its numbers by a twin of the format, its talk, and what is said where it cannot be read."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from linnet.errors import MissingExtra, ModelError
from linnet.models.gguf import import_gguf
from tests.support.real_weights import require_language_model

WIDTH, VOCABULARY = 64, 10
WORDS = ["<unk>", "<s>", "</s>", "Ġ", "Ġone", "o", "n", "e", "on", "one"]


def q4_1(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of floats as Q4_1 blocks of 32 (float16 step and minimum, 16 bytes of nibbles), and what they stand for."""
    blocks = values.reshape(-1, 32)
    low = blocks.min(1).astype(np.float16)
    step = ((blocks.max(1) - low) / 15).astype(np.float16)
    codes = np.clip(np.round((blocks - low[:, None]) / step[:, None]), 0, 15).astype(np.uint8)
    packed = codes[:, :16] | codes[:, 16:] << 4
    raw = np.concatenate([step[:, None].view(np.uint8), low[:, None].view(np.uint8), packed], axis=1)
    meant = codes * step[:, None].astype(np.float32) + low[:, None].astype(np.float32)
    return raw.reshape(len(values), -1), meant.reshape(values.shape)


def write_llama(path: Path) -> dict[str, np.ndarray]:
    """A Llama of one layer whose matrices are Q4_1; what its feed-forward matrices stand for."""
    gguf = pytest.importorskip("gguf", reason='needs the extra: pip install "linnet[gguf]"')
    random = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    for add, value in (
        (writer.add_block_count, 1),
        (writer.add_context_length, 32),
        (writer.add_embedding_length, WIDTH),
        (writer.add_feed_forward_length, WIDTH),
        (writer.add_head_count, 2),
        (writer.add_head_count_kv, 2),
        (writer.add_layer_norm_rms_eps, 1e-5),
        (writer.add_rope_freq_base, 10_000.0),
        (writer.add_vocab_size, VOCABULARY),
        (writer.add_tokenizer_model, "gpt2"),
        (writer.add_token_list, WORDS),
        (writer.add_token_types, [3, 3, 3, *[1] * 7]),
        (writer.add_token_merges, ["o n", "on e", "Ġ one"]),
        (writer.add_unk_token_id, 0),
        (writer.add_bos_token_id, 1),
        (writer.add_eos_token_id, 2),
    ):
        add(value)
    meant = {}
    writer.add_tensor("token_embd.weight", random.standard_normal((VOCABULARY, WIDTH)).astype(np.float32))
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", np.ones(WIDTH, np.float32))
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        raw, meant[name] = q4_1(random.standard_normal((WIDTH, WIDTH)).astype(np.float32))
        writer.add_tensor(f"blk.0.{name}.weight", raw, raw_dtype=gguf.GGMLQuantizationType.Q4_1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return meant


def test_quantized_weights_are_what_the_format_says(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    meant = write_llama(tmp_path / "tiny.gguf")
    import_gguf(tmp_path / "tiny.gguf", tmp_path / "model", card={"source": "a test"})
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    layer = model.model.layers[0]
    assert model.dtype == torch.float32
    for name, found in (("ffn_gate", layer.mlp.gate_proj), ("ffn_down", layer.mlp.down_proj)):
        assert torch.equal(found.weight, torch.from_numpy(meant[name]))
    assert torch.equal(layer.self_attn.v_proj.weight, torch.from_numpy(meant["attn_v"]))
    assert not hasattr(model.config, "quantization_config")
    assert AutoTokenizer.from_pretrained(tmp_path / "model").eos_token == "</s>"
    assert "source: a test" in (tmp_path / "model/README.md").read_text()


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason='needs the extra: pip install "linnet[gguf]"')
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(40))
    with pytest.raises(ModelError, match=r"broken\.gguf cannot be read as a GGUF language model"):
        import_gguf(tmp_path / "broken.gguf", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_without_the_extra_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingExtra, match=r"linnet\[gguf\]"):
        import_gguf(tmp_path / "any.gguf", tmp_path / "model")


def test_the_pulled_model_talks_sense() -> None:
    """Wrongly ordered or wrongly scaled weights would not: greedy answers, and the perplexity of plain prose."""
    folder = require_language_model()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    asked = [{"role": "user", "content": "What is the capital of France?"}]
    given = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**given, max_new_tokens=12, do_sample=False)[0, given["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer)
    prose = tokenizer(
        "The sun rises in the east and sets in the west. At night the moon can be seen.", return_tensors="pt"
    )
    with torch.no_grad():
        assert model(**prose, labels=prose["input_ids"]).loss.exp() < 15
