"""Map the names in OpenAI's code, which whisper.cpp also uses, to those of Transformers."""

from __future__ import annotations

import re

_LAYER = re.compile(r"(encoder|decoder)\.blocks\.(\d{1,3})\.([a-z_.0-2]+)\.(weight|bias)")
_IN_LAYER = {
    **{f"attn.{a}": f"self_attn.{b}" for a, b in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"))},
    **{
        f"cross_attn.{a}": f"encoder_attn.{b}" for a, b in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"))
    },
    "attn.out": "self_attn.out_proj",
    "cross_attn.out": "encoder_attn.out_proj",
    "attn_ln": "self_attn_layer_norm",
    "cross_attn_ln": "encoder_attn_layer_norm",
    "mlp.0": "fc1",
    "mlp.2": "fc2",
    "mlp_ln": "final_layer_norm",
}
_TOP = {
    "encoder.ln_post": "encoder.layer_norm",
    "decoder.ln": "decoder.layer_norm",
    "encoder.positional_embedding": "encoder.embed_positions.weight",
    "decoder.positional_embedding": "decoder.embed_positions.weight",
    "decoder.token_embedding": "decoder.embed_tokens",
    "encoder.conv1": "encoder.conv1",
    "encoder.conv2": "encoder.conv2",
}


def transformers_name(name: str) -> str | None:
    """The name in Transformers of a tensor of OpenAI's Whisper; None if it has none.

    >>> transformers_name("decoder.blocks.3.cross_attn.query.weight")
    'model.decoder.layers.3.encoder_attn.q_proj.weight'
    """
    if match := _LAYER.fullmatch(name):
        side, index, part, kind = match.groups()
        return f"model.{side}.layers.{int(index)}.{_IN_LAYER[part]}.{kind}" if part in _IN_LAYER else None
    if name in _TOP:
        return f"model.{_TOP[name]}"
    stem, _, kind = name.rpartition(".")
    return f"model.{_TOP[stem]}.{kind}" if stem in _TOP and kind in ("weight", "bias") else None
