"""When to decode a window again at a higher temperature."""

from __future__ import annotations

import zlib

from linnet.decoding.options import DecodingOptions
from linnet.decoding.result import DecodingResult


def compression_ratio(text: str) -> float:
    """Bytes of the text / its bytes compressed by zlib; 0 for no text.

    Ordinary speech is below 2, repetition loops are far above.
    """
    data = text.strip().encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def needs_fallback(decoded: DecodingResult, options: DecodingOptions) -> bool:
    """Whether a result is repetitive or improbable, and not silence (Radford et al. 2022, section 4.5)."""
    ratio, log_probability = options.compression_ratio_threshold, options.log_probability_threshold
    improbable = log_probability is not None and decoded.avg_logprob < log_probability
    silent = options.no_speech_threshold is not None and decoded.no_speech_prob > options.no_speech_threshold
    if silent and improbable:
        return False
    return improbable or (ratio is not None and decoded.compression_ratio > ratio)


def shortfall(decoded: DecodingResult, options: DecodingOptions) -> float:
    """How far a result exceeds the two thresholds in total; 0 if it needs no fallback.

    If every temperature fails, the result with the smallest shortfall is kept: sampled text may be worse than the first
    result, for example for a chorus that really is repetitive.
    """
    ratio, log_probability = options.compression_ratio_threshold, options.log_probability_threshold
    improbable = 0.0 if log_probability is None else max(log_probability - decoded.avg_logprob, 0.0)
    return improbable + (0.0 if ratio is None else max(decoded.compression_ratio - ratio, 0.0))
