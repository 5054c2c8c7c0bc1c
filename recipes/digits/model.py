"""The embedded model: a small stock Whisper."""

from __future__ import annotations

from dataclasses import dataclass, fields

from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

from linnet.errors import OptionError
from linnet.settings import NOT_NEGATIVE, ONE_OR_MORE, require

from .initialize import initialize
from .tokens import LANGUAGES, TIME_STEP, WINDOW, Vocabulary


@dataclass(frozen=True)
class DigitsModel:
    """The size of the embedded model.

    `start` is the folder of an earlier run, whose averaged weights this one begins with, or an exported model's.
    """

    start: str = ""
    width: int = 128
    encoder_heads: int = 2
    decoder_heads: int = 4
    feed_forward: int = 512
    encoder_layers: int = 5
    decoder_layers: int = 2
    decoder_feed_forward: int = 512
    mels: int = 80
    max_tokens: int = 128

    def __post_init__(self) -> None:
        require(self, NOT_NEGATIVE, "encoder_layers")
        require(self, ONE_OR_MORE, *({field.name for field in fields(self)} - {"start", "encoder_layers"}))
        for name in ("encoder_heads", "decoder_heads"):
            if self.width % getattr(self, name):
                raise OptionError(f"width {self.width} cannot be shared by {name} {getattr(self, name)}.")


def build_model(size: DigitsModel) -> WhisperForConditionalGeneration:
    """A freshly initialized Whisper of this size with the digit vocabulary and its generation settings."""
    vocabulary = Vocabulary.build()
    end = vocabulary.special("endoftext")
    config = WhisperConfig(
        vocab_size=len(vocabulary),
        num_mel_bins=size.mels,
        d_model=size.width,
        encoder_layers=size.encoder_layers,
        decoder_layers=size.decoder_layers,
        encoder_attention_heads=size.encoder_heads,
        decoder_attention_heads=size.decoder_heads,
        encoder_ffn_dim=size.feed_forward,
        decoder_ffn_dim=size.decoder_feed_forward,
        max_source_positions=round(WINDOW / TIME_STEP),
        max_target_positions=size.max_tokens,
        dropout=0.0,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=vocabulary.special("startoftranscript"),
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    model = WhisperForConditionalGeneration(config)
    initialize(model)
    model.set_attn_implementation("eager")  # on a CPU its backward pass is twice as fast as the fused kernel's
    model.generation_config = generation_config(size)
    return model


def generation_config(size: DigitsModel) -> GenerationConfig:
    """What the stock Whisper `generate` reads. The first speech may come late, so the first time is free."""
    vocabulary = Vocabulary.build()
    end = vocabulary.special("endoftext")
    return GenerationConfig(
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=vocabulary.special("startoftranscript"),
        max_length=size.max_tokens,
        is_multilingual=True,
        lang_to_id={f"<|{language}|>": vocabulary.special(language) for language in LANGUAGES},
        task_to_id={task: vocabulary.special(task) for task in ("transcribe", "translate")},
        task="transcribe",  # else the stock generate leaves the task out where it detects the language
        no_timestamps_token_id=vocabulary.special("notimestamps"),
        prev_sot_token_id=vocabulary.special("startofprev"),
        max_initial_timestamp_index=round(WINDOW / TIME_STEP),
        suppress_tokens=[],
        begin_suppress_tokens=[],
        alignment_heads=[[size.decoder_layers - 1, head] for head in range(max(1, size.decoder_heads // 2))],
        alignment_lag=0.0,  # these heads look at a word's onset
        return_timestamps=False,
    )
