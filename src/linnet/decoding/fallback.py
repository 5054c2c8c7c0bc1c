"""When a window is decoded again, with more chance in it."""

from __future__ import annotations

import zlib

from linnet.decoding.options import DecodingOptions
from linnet.decoding.result import DecodingResult


def compression_ratio(text: str) -> float:
    """Bytes of the text / bytes of it compressed by zlib; 0 for no text.

    Ordinary speech stays under 2; a loop of the same words is far above it.
    """
    data = text.strip().encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def needs_fallback(decoded: DecodingResult, options: DecodingOptions) -> bool:
    """Whether a result repeats itself or is improbable, and is not silence (Radford et al. 2022, section 4.5)."""
    ratio, log_probability = options.compression_ratio_threshold, options.log_probability_threshold
    improbable = log_probability is not None and decoded.avg_logprob < log_probability
    silent = options.no_speech_threshold is not None and decoded.no_speech_prob > options.no_speech_threshold
    if silent and improbable:
        return False
    return improbable or (ratio is not None and decoded.compression_ratio > ratio)


def shortfall(decoded: DecodingResult, options: DecodingOptions) -> float:
    """How far a result is beyond the thresholds, both together; 0 where it needs no fallback.

    Where every temperature fails, the result that is least far beyond them stands: text that sampling made at last may
    be worse than what was found at first, as of a chorus that does repeat itself.
    """
    ratio, log_probability = options.compression_ratio_threshold, options.log_probability_threshold
    improbable = 0.0 if log_probability is None else max(log_probability - decoded.avg_logprob, 0.0)
    return improbable + (0.0 if ratio is None else max(decoded.compression_ratio - ratio, 0.0))
