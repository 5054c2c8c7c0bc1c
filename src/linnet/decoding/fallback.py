"""When a window is decoded again, with more chance in it."""

from __future__ import annotations

import zlib

from linnet.decoding.options import DecodingOptions
from linnet.decoding.result import Decoded


def compression_ratio(text: str) -> float:
    """Bytes of the text / bytes of it compressed by zlib; 0 for no text.

    Ordinary speech stays under 2; a loop of the same words is far above it.
    """
    data = text.strip().encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def needs_fallback(decoded: Decoded, options: DecodingOptions) -> bool:
    """Whether a result repeats itself or is improbable, and is not silence (Radford et al. 2022, section 4.5)."""
    ratio, log_probability = options.compression_ratio_threshold, options.log_probability_threshold
    improbable = log_probability is not None and decoded.average_log_probability < log_probability
    silent = options.no_speech_threshold is not None and decoded.no_speech_probability > options.no_speech_threshold
    if silent and improbable:
        return False
    return improbable or (ratio is not None and decoded.compression_ratio > ratio)
