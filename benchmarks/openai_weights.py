"""A Whisper folder of Transformers as the `.pt` checkpoint that openai-whisper loads: the same weights under its names.

python benchmarks/openai_weights.py MODEL_FOLDER OUTPUT.pt
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

_PARTS = (
    ("model.", ""),
    (".layers.", ".blocks."),
    ("encoder_attn_layer_norm", "cross_attn_ln"),
    ("self_attn_layer_norm", "attn_ln"),
    ("final_layer_norm", "mlp_ln"),
    ("encoder_attn", "cross_attn"),
    ("self_attn", "attn"),
    ("q_proj", "query"),
    ("k_proj", "key"),
    ("v_proj", "value"),
    ("out_proj", "out"),
    ("fc1", "mlp.0"),
    ("fc2", "mlp.2"),
    ("encoder.embed_positions.weight", "encoder.positional_embedding"),
    ("decoder.embed_positions.weight", "decoder.positional_embedding"),
    ("embed_tokens", "token_embedding"),
    ("encoder.layer_norm", "encoder.ln_post"),
    ("decoder.layer_norm", "decoder.ln"),
)


def write_openai_checkpoint(folder: Path, output: Path) -> None:
    """Write `dims` and `model_state_dict`; tensors are copied bit for bit, only their names change."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    dims = {
        "n_mels": config["num_mel_bins"],
        "n_vocab": config["vocab_size"],
        "n_audio_ctx": config["max_source_positions"],
        "n_audio_state": config["d_model"],
        "n_audio_head": config["encoder_attention_heads"],
        "n_audio_layer": config["encoder_layers"],
        "n_text_ctx": config["max_target_positions"],
        "n_text_state": config["d_model"],
        "n_text_head": config["decoder_attention_heads"],
        "n_text_layer": config["decoder_layers"],
    }
    weights = load_file(folder / "model.safetensors")
    state = {_renamed(name): tensor for name, tensor in weights.items() if name != "proj_out.weight"}
    torch.save({"dims": dims, "model_state_dict": state}, output)


def _renamed(name: str) -> str:
    for old, new in _PARTS:
        name = name.replace(old, new)
    return name


if __name__ == "__main__":
    write_openai_checkpoint(Path(sys.argv[1]), Path(sys.argv[2]))
