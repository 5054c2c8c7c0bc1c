"""The vocabulary of the embedded model: bytes, digit words, Whisper's control tokens, timestamps.

Ids, in order: 256 bytes; the prefixes of every digit word, the words among them; the control tokens in Whisper's
order; ``<|0.00|>`` to ``<|10.00|>`` every 0.02 s.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from .words import DIGITS

if TYPE_CHECKING:
    from transformers import WhisperTokenizer

LANGUAGES = tuple(DIGITS)
TIME_STEP = 0.02
WINDOW = 10.0
_LAST_TIME = round(WINDOW / TIME_STEP)


def control_tokens() -> list[str]:
    """The special tokens in Whisper's order, without the timestamps."""
    names = ["endoftext", "startoftranscript", *LANGUAGES, "translate", "transcribe"]
    names += ["startoflm", "startofprev", "nospeech", "notimestamps"]
    return [f"<|{name}|>" for name in names]


@cache
def byte_symbols() -> tuple[str, ...]:
    """GPT-2's printable stand-in for each byte 0..255 (Radford et al. 2019)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return tuple(chr(byte) if byte in printable else chr(next(others)) for byte in range(256))


def merges() -> list[tuple[str, str]]:
    """Byte pairs that build each digit word after a space from the left, one byte at a time.

    Every merge starts at the space, so no two compete and each word becomes one token.
    """
    symbols = byte_symbols()
    pairs: dict[tuple[str, str], None] = {}
    for words in DIGITS.values():
        for word in words:
            spelled = [symbols[byte] for byte in f" {word}".encode()]
            for end in range(1, len(spelled)):
                pairs["".join(spelled[:end]), spelled[end]] = None
    return list(pairs)


@dataclass(frozen=True)
class Vocabulary:
    """Token ids by name.

    Example:
        >>> vocabulary = Vocabulary.build()
        >>> vocabulary.time(0.4) - vocabulary.time(0.0)
        20
    """

    text: dict[str, int]
    control: dict[str, int]
    first_time: int

    @classmethod
    def build(cls) -> Vocabulary:
        """The one vocabulary of the embedded model."""
        symbols = [*byte_symbols(), *("".join(pair) for pair in merges())]
        text = {symbol: index for index, symbol in enumerate(symbols)}
        control = {name: len(text) + index for index, name in enumerate(control_tokens())}
        return cls(text, control, len(text) + len(control))

    def __len__(self) -> int:
        return self.first_time + _LAST_TIME + 1

    def word(self, word: str) -> int:
        """The id of a digit word (after a space)."""
        symbols = byte_symbols()
        return self.text["".join(symbols[byte] for byte in f" {word}".encode())]

    def bytes_of(self, text: str) -> list[int]:
        """Ids of any text, byte by byte; digit words are not merged."""
        symbols = byte_symbols()
        return [self.text[symbols[byte]] for byte in text.encode()]

    def special(self, name: str) -> int:
        """The id of the control token ``<|name|>``."""
        return self.control[f"<|{name}|>"]

    def time(self, seconds: float) -> int:
        """The id of the timestamp nearest to `seconds`, within the window."""
        return self.first_time + min(max(round(seconds / TIME_STEP), 0), _LAST_TIME)


def make_tokenizer() -> WhisperTokenizer:
    """A `WhisperTokenizer` with this vocabulary, ready to save."""
    from transformers import AddedToken, WhisperTokenizer

    vocabulary = Vocabulary.build()
    tokenizer = WhisperTokenizer(vocab=dict(vocabulary.text), merges=merges(), pad_token="<|endoftext|>")
    special = [AddedToken(name, special=True, normalized=False) for name in control_tokens()]
    tokenizer.add_tokens(special, special_tokens=True)
    times = [f"<|{index * TIME_STEP:.2f}|>" for index in range(_LAST_TIME + 1)]
    tokenizer.add_tokens([AddedToken(time, special=False, normalized=False) for time in times])
    tokenizer.add_special_tokens({"additional_special_tokens": control_tokens()[1:]})
    return tokenizer
