"""Random Whisper checkpoints that write exactly 90 tokens for each window and then end, in every runtime.

Nothing is forced from outside (runtimes differ in what they let one force), the weights themselves see to it:

- Dimension 0 of the last norm is a constant. Text tokens do not read it, all special tokens read it with a large
  negative weight, so that none is ever likelier than a text token (of the timestamps <|0.00|> is the likeliest).
- Dimension 1 of the position embeddings is 0 up to the input of the 90th token, then large; <|endoftext|> reads it.

So greedy and beam search, with timestamps (one more token, <|0.00|>) or without, all do the same work.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

TOKENS = 90  # text tokens of one window: 3 a second, as in quick speech
PREFIX = 4  # <|startoftranscript|><|en|><|transcribe|><|notimestamps|>
SHAPES = {"tiny": (384, 4, 6), "small": (768, 12, 12)}  # width, layers, heads
END, START, ENGLISH, TRANSLATE, TRANSCRIBE = 50257, 50258, 50259, 50358, 50359
START_OF_LM, START_OF_PREVIOUS, NO_SPEECH, NO_TIMESTAMPS = 50360, 50361, 50362, 50363
FIRST_TIMESTAMP = 50364
SEED = 2026


def make_checkpoint(folder: Path, shape: str, tokenizer: Path) -> Path:
    """A Transformers folder with the files that a Whisper on the Hub has; made once."""
    if (folder / "done").is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    model = random_model(shape)
    model.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps(_generation(tokenizer), indent=2))
    _copy_tokenizer(tokenizer, folder)
    (folder / "done").touch()
    return folder


def random_model(shape: str) -> Any:
    """A Whisper of this shape whose tokens vary with the sound and which ends after `TOKENS` of them."""
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    width, layers, heads = SHAPES[shape]
    torch.manual_seed(SEED)
    config = WhisperConfig(
        vocab_size=51865,
        num_mel_bins=80,
        d_model=width,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        decoder_start_token_id=START,
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=END,
    )
    model = WhisperForConditionalGeneration(config).eval().requires_grad_(False)
    for layer in (*model.model.encoder.layers, *model.model.decoder.layers):
        for parameter in layer.parameters():
            if parameter.ndim > 1:
                parameter.mul_(2.0)
    _end_by_itself(model.model.decoder)
    return model


def _end_by_itself(decoder: Any) -> None:
    import torch

    embedding = decoder.embed_tokens.weight
    embedding[:, :2] = 0.0
    embedding[END:, 0] = -4.0
    embedding[FIRST_TIMESTAMP, 0] = -3.0
    embedding[END, 1] = 8.0
    decoder.embed_positions.weight.normal_(std=0.3, generator=torch.Generator().manual_seed(SEED))
    decoder.embed_positions.weight[:, 1] = 0.0
    decoder.embed_positions.weight[PREFIX + TOKENS - 1 :, 1] = 60.0
    norm = decoder.layer_norm
    norm.weight[0], norm.bias[0] = 0.0, 10.0
    norm.weight[1] = 1.0


def _generation(tokenizer: Path) -> dict[str, Any]:
    names = {token["content"]: token["id"] for token in _tokenizer(tokenizer)["added_tokens"]}
    languages = {name: token for name, token in names.items() if START < token < TRANSLATE}
    return {
        "alignment_heads": [[2, 2], [3, 0], [3, 2], [3, 3]],
        "begin_suppress_tokens": [220, END],
        "bos_token_id": END,
        "decoder_start_token_id": START,
        "eos_token_id": END,
        "pad_token_id": END,
        "is_multilingual": True,
        "lang_to_id": languages,
        "task_to_id": {"transcribe": TRANSCRIBE, "translate": TRANSLATE},
        "max_initial_timestamp_index": 50,
        "max_length": 448,
        "no_timestamps_token_id": NO_TIMESTAMPS,
        "prev_sot_token_id": START_OF_PREVIOUS,
        "return_timestamps": False,
        "suppress_tokens": [],
    }


def _tokenizer(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    return content


def _copy_tokenizer(source: Path, folder: Path) -> None:
    """The tokenizer and, for runtimes that read them, its older files and those of the feature extractor."""
    for name in ("tokenizer.json", "processor_config.json"):
        shutil.copyfile(source / name, folder / name)
    settings = json.loads((source / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"pad_token": "<|endoftext|>"}))
    extractor = json.loads((source / "processor_config.json").read_text())["feature_extractor"]
    (folder / "preprocessor_config.json").write_text(json.dumps(extractor | {"processor_class": "WhisperProcessor"}))
    model = _tokenizer(source)["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False), encoding="utf-8")
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
