"""Small random speech encoders and language models, saved as folders, and fusion models made of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GraniteSpeech5CTCConfig,
    GraniteSpeech5EncoderConfig,
    GraniteSpeech5ForCTC,
    HubertConfig,
    HubertModel,
    LlamaConfig,
    LlamaForCausalLM,
    ParakeetCTCConfig,
    ParakeetEncoderConfig,
    ParakeetFeatureExtractor,
    ParakeetForCTC,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from linnet.models.fusion import build

_NARROW: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "initializer_range": 0.3,
}
_WAVES: dict[str, Any] = {
    **_NARROW,
    "num_hidden_layers": 2,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
_LARGE: dict[str, Any] = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def save_hubert(folder: Path, *, norm: str = "layer") -> None:
    HubertModel(HubertConfig(**_WAVES, **(_LARGE if norm == "layer" else {}))).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=norm == "layer").save_pretrained(folder)


def save_wav2vec2(folder: Path) -> None:
    """A CTC model with a head, of which only the encoder is wanted."""
    Wav2Vec2ForCTC(Wav2Vec2Config(vocab_size=32, **_WAVES, **_LARGE)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(folder)


def save_wavlm(folder: Path) -> None:
    WavLMModel(WavLMConfig(**_WAVES, **_LARGE)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True).save_pretrained(folder)


def save_whisper(folder: Path) -> None:
    """Its window is 2 s."""
    config = WhisperConfig(
        vocab_size=51865,
        d_model=16,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_source_positions=100,
        init_std=0.3,
    )
    WhisperForConditionalGeneration(config).save_pretrained(folder)
    WhisperFeatureExtractor(chunk_length=2).save_pretrained(folder)


def save_parakeet(folder: Path) -> None:
    encoder = ParakeetEncoderConfig(num_hidden_layers=2, subsampling_conv_channels=8, **_NARROW)
    config = ParakeetCTCConfig(vocab_size=32, encoder_config=encoder, pad_token_id=0)
    ParakeetForCTC(config).save_pretrained(folder)
    ParakeetFeatureExtractor().save_pretrained(folder)


def save_granite(folder: Path) -> None:
    """Its feature extractor needs torchaudio, so only its file is written."""
    encoder = GraniteSpeech5EncoderConfig(
        vocab_size=32, num_hidden_layers=4, context_size=8, max_position_embeddings=16, **_NARROW
    )
    config = GraniteSpeech5CTCConfig(vocab_size=32, encoder_config=encoder)
    GraniteSpeech5ForCTC(config).save_pretrained(folder)


ENCODERS = {
    "hubert": save_hubert,
    "hubert-base": lambda folder: save_hubert(folder, norm="group"),
    "wav2vec2": save_wav2vec2,
    "wavlm": save_wavlm,
    "whisper": save_whisper,
    "parakeet": save_parakeet,
    "granite": save_granite,
}


def words(*, chat: bool) -> PreTrainedTokenizerFast:
    """A tokenizer of a few words: <unk> 0, <s> 1, </s> 2, <pad> 3, <end> 4."""
    special = ["<unk>", "<s>", "</s>", "<pad>", "<end>", "<|user|>", "<|assistant|>"]
    names = [*special, *_WORDS, "Transcribe", "the", "speech", "."]
    tokenizer = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.Fuse()
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=["<end>", "<|user|>", "<|assistant|>"],
    )
    if chat:
        made.chat_template = CHAT
    return made


_LANGUAGE_MODELS: dict[str, tuple[Any, Any, bool]] = {
    "llama": (LlamaConfig, LlamaForCausalLM, False),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, True),
    "smollm3": (SmolLM3Config, SmolLM3ForCausalLM, True),
    "gpt2": (GPT2Config, GPT2LMHeadModel, False),  # the only one that counts places from the first
}


def save_language_model(folder: Path, name: str) -> None:
    config, model, chat = _LANGUAGE_MODELS[name]
    tokenizer = words(chat=chat)
    extra = {"head_dim": 8} if name == "qwen3" else {}
    made = model(
        config(
            vocab_size=len(tokenizer),
            num_hidden_layers=2,
            num_key_value_heads=1,
            max_position_embeddings=512,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=3,
            tie_word_embeddings=name == "qwen3",
            **_NARROW,
            **extra,
        )
    )
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@contextmanager
def one_thread() -> Iterator[None]:
    """Models as small as these are faster without a second thread, and much faster where the cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def granite_features(sound: np.ndarray, bands: int) -> torch.Tensor:
    """A slow float64 twin of GraniteSpeech5FeatureExtractor for one clip: [1, pairs, 4 bands]."""
    hop, n_fft, frames = 160, 512, -(-(len(sound) // 160) // 2) * 2
    sound = np.pad(sound.astype(np.float64), (0, max(0, (frames - 1) * hop + 1 - len(sound))))
    window = np.zeros(n_fft)
    window[56:456] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    padded = np.pad(sound, n_fft // 2, mode="reflect")
    spectrum = np.stack([np.abs(np.fft.rfft(padded[t * hop : t * hop + n_fft] * window)) ** 2 for t in range(frames)])
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), bands + 2) / 2595) - 1)
    hertz = np.linspace(0, 8000, n_fft // 2 + 1)
    rise = (hertz[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hertz[:, None]) / (edges[2:] - edges[1:-1])
    log = np.log10(np.maximum(spectrum @ np.maximum(0, np.minimum(rise, fall)), 1e-10))
    log = np.maximum(log, log.max() - 8) / 4 + 1
    wide = np.concatenate([log[:1], log, log[-1:]])
    whole = np.concatenate([log, (wide[2:] - wide[:-2]) / 2], axis=1)
    return torch.from_numpy(whole.reshape(1, frames // 2, -1)).float()


def save_all(root: Path, names: Iterable[str], seed: int = 0) -> dict[str, Path]:
    """One folder for each of these encoders and language models."""
    for name in names:
        torch.manual_seed(seed)
        if name in ENCODERS:
            ENCODERS[name](root / name)
        else:
            save_language_model(root / name, name)
    return {name: root / name for name in names}


TEXTS = ["one two", "", "three", "four five six"]


def clips() -> list[np.ndarray]:
    """Four sounds, one for each of `TEXTS`: the third is longer than a window, the last shorter than a frame."""
    generator = np.random.default_rng(0)
    return [generator.standard_normal(n).astype(np.float32) * 0.1 for n in (8000, 5000, 20000, 100)]


def fusion(bases: dict[str, Path], encoder: str = "hubert", language_model: str = "qwen3", **options: Any) -> Any:
    """A model whose windows are at most a second, and its processor."""
    given = {"window_seconds": 1.0, "overlap_seconds": 0.1, **options}
    return build(str(bases[encoder]), str(bases[language_model]), {"hidden": 16}, **given)


def trained_fusion(bases: dict[str, Path]) -> Any:
    """The same, with a projector that is not fresh."""
    model, processor = fusion(bases)
    with torch.no_grad():
        model.projector.last.weight.mul_(3.0)
    return model, processor
