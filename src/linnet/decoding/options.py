"""All options of decoding a window."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal

from linnet.errors import OptionError
from linnet.settings import ValueRule

Task = Literal["transcribe", "translate"]


@dataclass(frozen=True)
class DecodingOptions:
    """Decoding options of a window; `None` means the value of the model's generation config.

    The thresholds are those of Radford et al. 2022, section 4.5: a window is decoded again at the next temperature
    while its text is repetitive (compression ratio) or improbable (average log-probability).
    """

    language: str | None = None  # a code (de, de-AT) or an English name (german); None or auto: detect
    task: Task = "transcribe"
    prompt: str | None = None  # text assumed to precede the recording: names, spelling, style
    hotwords: str | None = None  # names and terms to expect, separated by commas; put before the prompt
    timestamps: bool = True  # decode with timestamp tokens; long audio always does
    beam_size: int = 1
    length_penalty: float = 1.0
    max_new_tokens: int | None = None
    temperatures: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    compression_ratio_threshold: float | None = 2.4  # of the text, by zlib; above it, the text is repetitive
    log_probability_threshold: float | None = -1.0  # average over tokens, natural logarithm
    no_speech_threshold: float | None = 0.6
    suppress_tokens: tuple[int, ...] | None = None
    begin_suppress_tokens: tuple[int, ...] | None = None
    max_initial_timestamp: float | None = None  # seconds
    seed: int = 0  # for temperatures above 0

    def __post_init__(self) -> None:
        self._set_habits()
        if self.task not in ("transcribe", "translate"):
            raise OptionError(f"task {self.task!r} is unknown: use transcribe or translate")
        if self.beam_size < 1:
            raise OptionError(f"beam size must be at least 1, got {self.beam_size}")
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise OptionError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if not self.temperatures or any(not 0.0 <= t <= 2.0 for t in self.temperatures):
            raise OptionError(f"temperatures must be one or more numbers from 0 to 2, got {self.temperatures}")

    def _set_habits(self) -> None:
        """Normalize usual forms (language "auto", a single temperature, lists) and check types. Raises
        `OptionError`."""
        if isinstance(self.temperatures, Real):
            object.__setattr__(self, "temperatures", (self.temperatures,))
        for name in ("temperatures", "suppress_tokens", "begin_suppress_tokens"):
            if isinstance(given := getattr(self, name), Iterable) and not isinstance(given, str):
                object.__setattr__(self, name, tuple(given))
        for name, rule in _RULES.items():
            rule.check(name, getattr(self, name))
        object.__setattr__(self, "temperatures", tuple(float(one) for one in self.temperatures))
        if self.language is not None and self.language.strip().lower() in ("", "auto"):
            object.__setattr__(self, "language", None)

    @property
    def context(self) -> str | None:
        """The text assumed to precede the recording: hotwords, then the prompt; None if neither is given."""
        words = ", ".join(word.strip() for word in (self.hotwords or "").split(",") if word.strip())
        parts = [f"{words}." if words else "", (self.prompt or "").strip()]
        return " ".join(part for part in parts if part) or None


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


_NONE = ValueRule("None", lambda value: value is None)
_TEXT = ValueRule("a text", lambda value: isinstance(value, str))
FLAG = ValueRule("True or False", lambda value: isinstance(value, bool))
_WHOLE = ValueRule("a whole number", _is_whole)
_NUMBER = ValueRule("a number", _is_number)
_NUMBERS = ValueRule("one or more numbers", lambda value: isinstance(value, tuple) and all(map(_is_number, value)))
_TOKENS = ValueRule("a list of tokens", lambda value: isinstance(value, tuple) and all(map(_is_whole, value)))
_RULES: dict[str, ValueRule] = {
    **dict.fromkeys(("language", "prompt", "hotwords"), _TEXT | _NONE),
    "timestamps": FLAG,
    **dict.fromkeys(("beam_size", "seed"), _WHOLE),
    "max_new_tokens": _WHOLE | _NONE,
    "length_penalty": _NUMBER,
    **dict.fromkeys(
        ("compression_ratio_threshold", "log_probability_threshold", "no_speech_threshold", "max_initial_timestamp"),
        _NUMBER | _NONE,
    ),
    "temperatures": _NUMBERS,
    **dict.fromkeys(("suppress_tokens", "begin_suppress_tokens"), _TOKENS | _NONE),
}
