"""Rebuild a byte-level BPE tokenizer from the bytes of its text tokens: the order of tokens is the order of merges.

Token i is the result of merge i, so its two parts are the result of applying the earlier merges to its bytes (Sennrich
et al., 2016; the byte alphabet is that of GPT-2, Radford et al., 2019).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from linnet.errors import ModelError

END = "<|endoftext|>"
START = "<|startoftranscript|>"
NO_TIMESTAMPS = "<|notimestamps|>"
ENGLISH_END = 50256  # the English-only vocabulary is GPT-2's, with the end token last
SECONDS_PER_TIMESTAMP = 0.02

_AFTER_LANGUAGES = ("translate", "transcribe", "startoflm", "startofprev")
_MOST_WORK = 10**8  # sum of squared token lengths: 3 million for Whisper


@lru_cache(maxsize=1)
def byte_alphabet() -> tuple[str, ...]:
    """The character for each byte: itself if printable, else one from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return tuple(chr(byte) if byte in printable else chr(256 + others.index(byte)) for byte in range(256))


def split_vocabulary(tokens: Sequence[str], path: Path) -> tuple[list[bytes], dict[str, int]]:
    """Split text tokens, as bytes, from the special tokens after them, with ids. Raises `ModelError` naming `path`."""
    if END not in tokens:
        raise ModelError(f"{path} has no token {END}: it is not a Whisper vocabulary; copy or download it again")
    end = tokens.index(END)
    bytes_of = {letter: byte for byte, letter in enumerate(byte_alphabet())}
    try:
        pieces = [bytes(bytes_of[letter] for letter in token) for token in tokens[:end]]
    except KeyError as error:
        raise ModelError(f"{path} has a token with {error}, which is not a byte: download it again") from error
    return pieces, {token: end + index for index, token in enumerate(tokens[end:]) if token}


def special_tokens(text_tokens: int, vocabulary: int, timestamps: int) -> dict[str, int]:
    """The special tokens of a Whisper vocabulary, from the counts alone: end, start, languages, tasks, timestamps.

    The number of languages is the remainder. Raises `ModelError` for impossible counts. Order: openai/whisper,
    whisper/tokenizer.py `get_encoding`.
    """
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    count = vocabulary - text_tokens - timestamps - 4 - len(_AFTER_LANGUAGES)
    if not 0 <= count <= len(LANGUAGES):
        raise ModelError(
            f"a vocabulary of {vocabulary} tokens, {text_tokens} of them text and {timestamps} times, leaves no place "
            "for Whisper's special tokens"
        )
    silence = "nocaptions" if text_tokens == ENGLISH_END else "nospeech"
    names = [*list(LANGUAGES)[:count], *_AFTER_LANGUAGES, silence, "notimestamps"]
    tokens = [END, START, *(f"<|{name}|>" for name in names)]
    tokens += [f"<|{index * SECONDS_PER_TIMESTAMP:.2f}|>" for index in range(timestamps)]
    return {token: text_tokens + index for index, token in enumerate(tokens)}


def recover_merges(pieces: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """The merges of a byte-level BPE vocabulary in order. Raises `ValueError` for any other vocabulary."""
    ranks = {piece: rank for rank, piece in enumerate(pieces)}
    if len(ranks) != len(pieces):
        raise ValueError("two of its tokens are equal")
    if missing := [byte for byte in range(256) if bytes([byte]) not in ranks]:
        raise ValueError(f"it has no token for byte {missing[0]}")
    if sum(len(piece) ** 2 for piece in pieces) > _MOST_WORK:
        raise ValueError("its tokens are longer than those of any language")
    return [_parts(piece, ranks) for piece in pieces if len(piece) > 1]


def _parts(piece: bytes, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes]:
    """The result of applying the earlier merges to a token's bytes: two parts."""
    own = ranks[piece]
    parts = [piece[index : index + 1] for index in range(len(piece))]
    while len(parts) > 2:
        best, place = own, -1
        for index in range(len(parts) - 1):
            rank = ranks.get(parts[index] + parts[index + 1], own)
            if rank < best:
                best, place = rank, index
        if place < 0:
            raise ValueError(f"its token {piece!r} cannot be merged from earlier ones")
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts[0], parts[1]


def build_tokenizer(pieces: Sequence[bytes], special: Mapping[str, int], path: Path) -> str:
    """The tokenizer.json of these text tokens and special tokens. Raises `ModelError` naming `path`."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = byte_alphabet()

    def spelled(piece: bytes) -> str:
        return "".join(letters[byte] for byte in piece)

    try:
        merges = [(spelled(left), spelled(right)) for left, right in recover_merges(pieces)]
    except ValueError as error:
        raise ModelError(f"{path}: its vocabulary is not Whisper's ({error}): give a folder with --tokenizer") from (
            error
        )
    tokenizer = Tokenizer(models.BPE({spelled(piece): rank for rank, piece in enumerate(pieces)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = {token: name for name, token in special.items()}
    last = special[NO_TIMESTAMPS] if NO_TIMESTAMPS in special else max(names, default=-1)
    added = [
        (token, names.get(token, f"<|unused{token}|>")) for token in range(len(pieces), max(names, default=-1) + 1)
    ]
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for t, name in added if t <= last])
    tokenizer.add_tokens([AddedToken(name, special=False) for token, name in added if token > last])
    tokenizer.post_processor = _template(special)  # type: ignore[assignment]
    text: str = tokenizer.to_str()
    return text


def _template(special: Mapping[str, int]) -> object:
    """The template of the published tokenizers for a text without a language."""
    from tokenizers import processors

    around = [(name, special[name]) for name in (START, NO_TIMESTAMPS, END) if name in special]
    left = " ".join(name for name, _ in around[:-1])
    return processors.TemplateProcessing(
        single=f"{left} $A:0 {END}:0", pair=f"{left} $A:0 $B:1 {END}:1", special_tokens=around
    )
