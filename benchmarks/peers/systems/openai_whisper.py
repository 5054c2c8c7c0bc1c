"""openai-whisper, from its own layout with renamed weights."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACKAGES = ["openai-whisper", "torch"]
NAMES = (  # of Transformers, of openai-whisper
    (r"^model\.", ""),
    (r"\.layers\.", ".blocks."),
    (r"\.self_attn_layer_norm\.", ".attn_ln."),
    (r"\.encoder_attn_layer_norm\.", ".cross_attn_ln."),
    (r"\.self_attn\.", ".attn."),
    (r"\.encoder_attn\.", ".cross_attn."),
    (r"\.q_proj\.", ".query."),
    (r"\.k_proj\.", ".key."),
    (r"\.v_proj\.", ".value."),
    (r"\.out_proj\.", ".out."),
    (r"\.final_layer_norm\.", ".mlp_ln."),
    (r"\.fc1\.", ".mlp.0."),
    (r"\.fc2\.", ".mlp.2."),
    (r"^encoder\.layer_norm\.", "encoder.ln_post."),
    (r"^decoder\.layer_norm\.", "decoder.ln."),
    (r"^encoder\.embed_positions\.weight$", "encoder.positional_embedding"),
    (r"^decoder\.embed_positions\.weight$", "decoder.positional_embedding"),
    (r"^decoder\.embed_tokens\.", "decoder.token_embedding."),
)


def convert(checkpoint: str, output: str) -> None:
    """Rename the weights and write them beside the sizes."""
    import torch
    from safetensors.torch import load_file

    config = json.loads((Path(checkpoint) / "config.json").read_text())
    weights = load_file(Path(checkpoint) / "model.safetensors")
    renamed = {_renamed(name): tensor for name, tensor in weights.items() if not name.startswith("proj_out")}
    sizes = {
        "n_mels": config["num_mel_bins"],
        "n_audio_ctx": config["max_source_positions"],
        "n_audio_state": config["d_model"],
        "n_audio_head": config["encoder_attention_heads"],
        "n_audio_layer": config["encoder_layers"],
        "n_vocab": config["vocab_size"],
        "n_text_ctx": config["max_target_positions"],
        "n_text_state": config["d_model"],
        "n_text_head": config["decoder_attention_heads"],
        "n_text_layer": config["decoder_layers"],
    }
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    torch.save({"dims": sizes, "model_state_dict": renamed}, output)


def _renamed(name: str) -> str:
    for pattern, replacement in NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def prepare(model: str, threads: int, beams: int) -> Callable[[Any], list[int]]:
    """`whisper.load_model(...).transcribe`, window after window."""
    import torch
    import whisper

    torch.set_num_threads(threads)
    loaded = whisper.load_model(model, device="cpu")
    options = {
        "language": "en",
        "fp16": False,
        "temperature": 0.0,
        "beam_size": beams if beams > 1 else None,
        "without_timestamps": True,
        "condition_on_previous_text": False,
        "compression_ratio_threshold": None,
        "logprob_threshold": None,
        "no_speech_threshold": None,
    }
    return lambda samples: [len(segment["tokens"]) for segment in loaded.transcribe(samples, **options)["segments"]]
