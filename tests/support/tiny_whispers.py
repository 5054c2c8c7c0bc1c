"""Small random Whisper models whose outputs vary, and what Transformers' `generate` makes of them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

LANGUAGES = ("en", "de", "fr", "es", "it")
WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "zero")
SECONDS = 2
POSITIONS = SECONDS * 50
SAVED = 1_700_000_000  # seconds since 1970
END_PULL = 6.0  # how much likelier the end token is made: a sequence then ends after some ten tokens


def small_tokenizer(*, languages: Sequence[str] = LANGUAGES, seconds: int = SECONDS) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer of ten words and the bytes, with Whisper's special tokens in Whisper's order."""
    pieces = [*pre_tokenizers.ByteLevel.alphabet()]
    pieces.sort()
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        left = "Ġ"
        for letter in word:
            merges.append((left, letter))
            left += letter
    merges = list(dict.fromkeys(merges))
    pieces += [a + b for a, b in merges]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    backend = Tokenizer(models.BPE(vocabulary, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    names = ["endoftext", "startoftranscript", *languages, "translate", "transcribe"]
    names += ["startoflm", "startofprev", "nospeech", "notimestamps"]
    backend.add_special_tokens([AddedToken(f"<|{name}|>", special=True) for name in names])
    times = [AddedToken(f"<|{index * 0.02:.2f}|>", special=False) for index in range(seconds * 50 + 1)]
    backend.add_tokens(times)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|endoftext|>",
        bos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
    )


def generation_settings(tokenizer: Any, languages: Sequence[str]) -> dict[str, Any]:
    """What a Whisper generation_config.json says of this tokenizer."""
    ids = tokenizer.get_vocab()
    end = ids["<|endoftext|>"]
    settings: dict[str, Any] = {
        "decoder_start_token_id": ids["<|startoftranscript|>"],
        "eos_token_id": end,
        "pad_token_id": end,
        "bos_token_id": end,
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "prev_sot_token_id": ids["<|startofprev|>"],
        "is_multilingual": bool(languages),
        "max_length": 448,
        "max_initial_timestamp_index": 20,
        "suppress_tokens": [1, 2, 7, ids["<|startoftranscript|>"], ids["<|startofprev|>"], ids["<|startoflm|>"]],
        "begin_suppress_tokens": [220, end],
    }
    if languages:
        settings["lang_to_id"] = {f"<|{code}|>": ids[f"<|{code}|>"] for code in languages}
        settings["task_to_id"] = {task: ids[f"<|{task}|>"] for task in ("transcribe", "translate")}
    return settings


def random_whisper(
    tokenizer: Any, *, seed: int, size: int | None = None, seconds: int = SECONDS, layers: int = 2
) -> Any:
    """A random `WhisperForConditionalGeneration`, its weights enlarged until tokens vary and the end is reached."""
    ids = tokenizer.get_vocab()
    torch.manual_seed(seed)
    config = WhisperConfig(
        vocab_size=size or max(ids.values()) + 1,
        num_mel_bins=16,
        d_model=64,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=96,
        decoder_ffn_dim=96,
        max_source_positions=seconds * 50,
        max_target_positions=64,
        decoder_start_token_id=ids["<|startoftranscript|>"],
        eos_token_id=ids["<|endoftext|>"],
        bos_token_id=ids["<|endoftext|>"],
        pad_token_id=ids["<|endoftext|>"],
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    model = WhisperForConditionalGeneration(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.1)
            elif parameter.ndim > 1 and "embed_positions" not in name:
                parameter.mul_(14.0 if "decoder.layers" in name else 7.0)
        decoder = model.model.decoder
        decoder.embed_positions.weight.normal_(std=1.0)
        decoder.layer_norm.weight.mul_(3.0)
        toward_end = decoder.embed_tokens.weight[ids["<|endoftext|>"]].normal_(std=0.14)  # zero, being the padding too
        decoder.layer_norm.bias += END_PULL * toward_end / toward_end.norm()
    return model.eval()


def save_whisper(
    folder: Path,
    *,
    seed: int = 0,
    tokenizer: Any = None,
    languages: Sequence[str] = LANGUAGES,
    size: int | None = None,
    layers: int = 2,
) -> Path:
    """Write a random model folder as Transformers saves one; returns it.

    Its weights have one time of change wherever they lie, so that equal models are converted for OpenVINO once. One of
    one layer (of each side) is converted soonest.
    """
    tokenizer = tokenizer or small_tokenizer(languages=languages)
    model = random_whisper(tokenizer, seed=seed, size=size, layers=layers)
    model.generation_config = GenerationConfig(**generation_settings(tokenizer, languages))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=16, chunk_length=SECONDS).save_pretrained(folder)
    os.utime(folder / "model.safetensors", (SAVED, SAVED))
    return folder


def random_features(batch: int, *, seed: int = 0, frames: int = 2 * POSITIONS, bands: int = 16) -> Tensor:
    """Log-mel features [batch, frames, bands] that differ from window to window and change slowly."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(batch, bands, frames // 10 + 2, generator=generator)
    return torch.nn.functional.interpolate(coarse, frames, mode="linear").transpose(1, 2).contiguous()


def generate(model: Any, features: Tensor, **settings: Any) -> list[tuple[int, ...]]:
    """The new tokens of each window by Transformers' `generate`, without the end; its prefixes must be `prefix`."""
    prefix = settings.pop("prefix")
    result = model.generate(
        features.transpose(1, 2).to(model.dtype),
        force_unique_generate_call=True,
        return_dict_in_generate=True,
        **settings,
    )
    rows = result.sequences.tolist()
    assert [row[: len(prefix[0])] for row in rows] == [list(p) for p in prefix]
    end = model.generation_config.eos_token_id
    cut = [row[len(prefix[0]) :] for row in rows]
    return [tuple(row[: row.index(end)] if end in row else row) for row in cut]


def edit_json(path: Path, **changes: Any) -> None:
    """Set fields of a JSON file; a value of `...` removes its field."""
    data = json.loads(path.read_text())
    data.update(changes)
    path.write_text(json.dumps({key: value for key, value in data.items() if value is not ...}))
