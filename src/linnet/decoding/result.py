"""The result of decoding one window."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DecodingResult:
    """The best hypothesis of one window and the model's confidence in it."""

    tokens: tuple[int, ...]  # text and timestamp tokens, without the prompt, the start sequence and <|endoftext|>
    text: str
    language: str | None
    avg_logprob: float  # mean over the tokens and <|endoftext|>, natural logarithm
    no_speech_prob: float  # of <|nospeech|> right after <|startoftranscript|>; 0 where the model has none
    compression_ratio: float  # len(utf-8 text) / len(zlib of it)
    temperature: float
    token_logprobs: tuple[float, ...] = ()  # per token, natural logarithm
