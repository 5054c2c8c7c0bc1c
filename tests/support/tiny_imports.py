"""Small random Whispers written as other programs write them: openai-whisper, whisper.cpp, CTranslate2."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from linnet.models.importing.pieces import byte_alphabet
from tests.support.tiny_whispers import generation_settings, small_tokenizer

LANGUAGES = ("en", "zh", "de", "es", "ru")  # the first of Whisper's own order
SECONDS, WIDTH, MELS, LAYERS, HEADS, TEXT_CONTEXT = 2, 64, 16, 2, 4, 64

_IN_LAYER = {
    "self_attn.q_proj": "attn.query",
    "self_attn.k_proj": "attn.key",
    "self_attn.v_proj": "attn.value",
    "self_attn.out_proj": "attn.out",
    "self_attn_layer_norm": "attn_ln",
    "encoder_attn.q_proj": "cross_attn.query",
    "encoder_attn.k_proj": "cross_attn.key",
    "encoder_attn.v_proj": "cross_attn.value",
    "encoder_attn.out_proj": "cross_attn.out",
    "encoder_attn_layer_norm": "cross_attn_ln",
    "fc1": "mlp.0",
    "fc2": "mlp.2",
    "final_layer_norm": "mlp_ln",
}
_TOP = {
    "encoder.layer_norm.": "encoder.ln_post.",
    "decoder.layer_norm.": "decoder.ln.",
    "encoder.embed_positions.weight": "encoder.positional_embedding",
    "decoder.embed_positions.weight": "decoder.positional_embedding",
    "decoder.embed_tokens.": "decoder.token_embedding.",
}


def whisper_folder(folder: Path, dtype: torch.dtype = torch.float32, *, seed: int = 0) -> Path:
    """A Transformers folder of a random Whisper of whose numbers no two tensors are alike."""
    tokenizer = small_tokenizer(languages=LANGUAGES, seconds=SECONDS)
    ids = tokenizer.get_vocab()
    end = ids["<|endoftext|>"]
    config = WhisperConfig(
        vocab_size=max(ids.values()) + 1,
        num_mel_bins=MELS,
        d_model=WIDTH,
        encoder_layers=LAYERS,
        decoder_layers=LAYERS,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=4 * WIDTH,
        decoder_ffn_dim=4 * WIDTH,
        max_source_positions=50 * SECONDS,
        max_target_positions=TEXT_CONTEXT,
        decoder_start_token_id=ids["<|startoftranscript|>"],
        eos_token_id=end,
        bos_token_id=end,
        pad_token_id=end,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    torch.manual_seed(seed)
    model = WhisperForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    settings = {**generation_settings(tokenizer, LANGUAGES), "alignment_heads": [[1, 0], [1, 3]]}
    model.generation_config = GenerationConfig(**settings)
    model.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=MELS, chunk_length=SECONDS).save_pretrained(folder)
    return folder


def openai_state(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors by the names of openai-whisper."""
    return {_openai_name(name.removeprefix("model.")): tensor for name, tensor in weights.items()}


def _openai_name(name: str) -> str:
    parts = name.split(".")
    if parts[1] == "layers":
        return ".".join([parts[0], "blocks", parts[2], _IN_LAYER[".".join(parts[3:-1])], parts[-1]])
    return next((new + name[len(old) :] for old, new in _TOP.items() if name.startswith(old)), name)


def dimensions(weights: Mapping[str, Tensor], heads: int = HEADS) -> dict[str, int]:
    """`dims` of openai-whisper for these weights."""
    layers = [sum(name.endswith("fc1.weight") and side in name for name in weights) for side in ("encoder", "decoder")]
    width = weights["model.encoder.conv1.weight"].shape[0]
    return {
        "n_mels": weights["model.encoder.conv1.weight"].shape[1],
        "n_vocab": weights["model.decoder.embed_tokens.weight"].shape[0],
        "n_audio_ctx": weights["model.encoder.embed_positions.weight"].shape[0],
        "n_audio_state": width,
        "n_audio_head": heads,
        "n_audio_layer": layers[0],
        "n_text_ctx": weights["model.decoder.embed_positions.weight"].shape[0],
        "n_text_state": width,
        "n_text_head": heads,
        "n_text_layer": layers[1],
    }


def write_pt(path: Path, weights: Mapping[str, Tensor], heads: int = HEADS) -> Path:
    """A checkpoint as openai-whisper saves one."""
    torch.save({"dims": dimensions(weights, heads), "model_state_dict": openai_state(weights)}, path)
    return path


def text_pieces(tokenizer: Any) -> list[bytes]:
    """The bytes of the text tokens of a Transformers tokenizer, in order."""
    ids = tokenizer.get_vocab()
    names = {token: name for name, token in ids.items()}
    byte_of = {letter: byte for byte, letter in enumerate(byte_alphabet())}
    return [bytes(byte_of[c] for c in names[token]) for token in range(ids["<|endoftext|>"])]


def write_ggml(
    path: Path, weights: Mapping[str, Tensor], pieces: list[bytes], *, kind: str = "f16", heads: int = HEADS
) -> Path:
    """A file as whisper.cpp's converters write one: small tensors in float32, matrices in `kind`."""
    sizes = dimensions(weights, heads)
    order = ("n_vocab", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer", "n_text_ctx")
    order += ("n_text_state", "n_text_head", "n_text_layer", "n_mels")  # type: ignore[assignment]
    filters = WhisperFeatureExtractor(feature_size=sizes["n_mels"]).mel_filters.T.astype(np.float32)
    with path.open("wb") as file:
        file.write(struct.pack("<I", 0x67676D6C))
        file.write(struct.pack("<11i", *(sizes[name] for name in order), KINDS[kind]))
        file.write(struct.pack("<2i", *filters.shape) + filters.tobytes())
        file.write(struct.pack("<i", len(pieces)))
        for piece in pieces:
            file.write(struct.pack("<i", len(piece)) + piece)
        for name, tensor in openai_state(weights).items():
            file.write(_ggml_tensor(name, tensor, kind))
    return path


KINDS = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8}


def _ggml_tensor(name: str, tensor: Tensor, kind: str) -> bytes:
    values = tensor.float().numpy()
    if name.endswith(("conv1.bias", "conv2.bias")):
        values = values.reshape(-1, 1)
    small = values.ndim < 2 or name.endswith((".bias", "positional_embedding"))
    own = "f32" if small else "f16" if values.ndim == 3 and kind != "f32" else kind
    head = struct.pack("<3i", values.ndim, len(name), KINDS[own])
    head += struct.pack(f"<{values.ndim}i", *values.shape[::-1]) + name.encode()
    if own == "f32":
        return head + values.tobytes()
    return head + (values.astype(np.float16).tobytes() if own == "f16" else quantize(values, own)[0])


def quantize(values: NDArray[np.float32], kind: str) -> tuple[bytes, NDArray[np.float64]]:
    """Blocks of 32 values as ggml packs them, value by value; and what they stand for, in float64: the slow twin."""
    packed, meant = bytearray(), np.empty(values.size)
    for index, block in enumerate(values.reshape(-1, 32).astype(np.float64)):
        data, exact = _block(block, kind)
        packed += data
        meant[32 * index : 32 * index + 32] = exact
    return bytes(packed), meant.reshape(values.shape)


def _block(block: NDArray[np.float64], kind: str) -> tuple[bytes, NDArray[np.float64]]:
    if kind == "q8_0":
        scale = np.float16(np.abs(block).max() / 127)
        signed = np.clip(np.round(block / scale), -128, 127).astype(np.int8)
        return struct.pack("<e", scale) + signed.tobytes(), float(scale) * signed
    most, has_minimum = (31 if kind.startswith("q5") else 15), kind.endswith("1")
    offset = 0 if has_minimum else (most + 1) // 2
    minimum = np.float16(block.min() if has_minimum else 0)
    scale = np.float16((block.max() - block.min() if has_minimum else 2 * np.abs(block).max()) / most)
    stored = np.clip(np.round((block - float(minimum)) / scale) + offset, 0, most).astype(int)
    data = struct.pack("<e", scale) + (struct.pack("<e", minimum) if has_minimum else b"")
    if most == 31:
        data += struct.pack("<I", sum(int(q >> 4) << place for place, q in enumerate(stored)))
    data += bytes((stored[:16] & 15 | (stored[16:] & 15) << 4).tolist())
    return data, float(scale) * (stored - offset) + float(minimum)


def write_ctranslate2(folder: Path, source: Path, quantization: str | None = None) -> Path:
    """A folder as CTranslate2's own converter writes it from a Transformers folder."""
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(source)).convert(str(folder), quantization=quantization)
    return folder
