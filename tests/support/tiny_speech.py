"""Small random speech models other than Whisper, saved as folders with their processors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models
from transformers import (
    MoonshineConfig,
    MoonshineForConditionalGeneration,
    ParakeetCTCConfig,
    ParakeetEncoderConfig,
    ParakeetFeatureExtractor,
    ParakeetForCTC,
    ParakeetProcessor,
    ParakeetTokenizer,
    PreTrainedTokenizerFast,
    Speech2TextConfig,
    Speech2TextFeatureExtractor,
    Speech2TextForConditionalGeneration,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz"
_NARROW: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "initializer_range": 0.5}
_ENDS: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}


def letters(kind: type[Any] = PreTrainedTokenizerFast) -> Any:
    """A tokenizer of letters, each also as the first of a word: <unk> 0, <s> 1, </s> 2, <pad> 3."""
    names = ["<unk>", "<s>", "</s>", "<pad>", *("▁" + letter for letter in LETTERS), *LETTERS]
    tokenizer = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.decoder = decoders.Metaspace()
    return kind(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def save_wav2vec2(folder: Path, *, norm: str) -> None:
    """`norm` group: without mask, normalized over time (base-960h); layer: with mask (large-robust)."""
    masked = norm == "layer"
    folder.mkdir()
    vocabulary = {name: index for index, name in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *LETTERS])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    config = Wav2Vec2Config(
        vocab_size=len(vocabulary),
        num_hidden_layers=2,
        num_attention_heads=2,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm=norm,
        do_stable_layer_norm=masked,
        pad_token_id=0,
        **_NARROW,
    )
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    Wav2Vec2Processor(Wav2Vec2FeatureExtractor(return_attention_mask=masked), tokenizer).save_pretrained(folder)


def save_parakeet(folder: Path) -> None:
    encoder = ParakeetEncoderConfig(num_hidden_layers=2, num_attention_heads=2, subsampling_conv_channels=8, **_NARROW)
    tokenizer = letters(ParakeetTokenizer)
    config = ParakeetCTCConfig(vocab_size=len(tokenizer), encoder_config=encoder, pad_token_id=3)
    ParakeetForCTC(config).save_pretrained(folder)
    ParakeetProcessor(ParakeetFeatureExtractor(), tokenizer).save_pretrained(folder)


def save_moonshine(folder: Path) -> None:
    config = MoonshineConfig(
        vocab_size=len(letters()),
        encoder_num_hidden_layers=1,
        decoder_num_hidden_layers=1,
        encoder_num_attention_heads=2,
        decoder_num_attention_heads=2,
        max_position_embeddings=64,
        **_NARROW,
        **_ENDS,
    )
    MoonshineForConditionalGeneration(config).save_pretrained(folder)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True)
    Wav2Vec2Processor(extractor, letters()).save_pretrained(folder)


def save_speech2text(folder: Path) -> None:
    """Saved in parts, without a processor class; its 300 source positions are windows of 3 s."""
    config = Speech2TextConfig(
        vocab_size=len(letters()),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        conv_channels=16,
        max_source_positions=300,
        max_target_positions=40,
        decoder_start_token_id=2,
        init_std=0.5,
        **_ENDS,
    )
    Speech2TextForConditionalGeneration(config).save_pretrained(folder)
    Speech2TextFeatureExtractor().save_pretrained(folder)
    letters().save_pretrained(folder)


MAKERS = {
    "wav2vec2-group": lambda folder: save_wav2vec2(folder, norm="group"),
    "wav2vec2-layer": lambda folder: save_wav2vec2(folder, norm="layer"),
    "parakeet": save_parakeet,
    "moonshine": save_moonshine,
    "speech2text": save_speech2text,
}


def save_all(root: Path, seed: int = 0) -> dict[str, Path]:
    """One folder for each of `MAKERS`."""
    for name, make in MAKERS.items():
        torch.manual_seed(seed)
        make(root / name)
    return {name: root / name for name in MAKERS}
