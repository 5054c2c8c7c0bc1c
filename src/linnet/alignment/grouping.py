"""Group tokens to words.

Words are separated by spaces and include their punctuation; in scripts without spaces (Chinese, Japanese, Thai, Lao,
Burmese, Khmer) a word is one token, or the few that spell one character together. The rules are those of OpenAI's
Whisper, except that `1,234` and `well-known` stay whole, and that the script decides, not the language.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from linnet.models.vocabulary import WhisperVocabulary
from linnet.text.words import bears_sound, without_spaces

_BROKEN = "\ufffd"  # shown by a tokenizer for an incomplete character
_EITHER_SIDE = "\"'-"  # opens after a space, else closes
_OPENING = "¡¿"


@dataclass(frozen=True)
class WordTokens:
    """One word: its text with the space before it, and the indices of its tokens in the given sequence."""

    text: str
    indices: tuple[int, ...]


def split_words(vocabulary: WhisperVocabulary, tokens: Sequence[int]) -> list[WordTokens]:
    """The words of decoded tokens; timestamps and special tokens end a word and are omitted.

    Their concatenated texts equal `vocabulary.text` of each run of text tokens.
    """
    words: list[WordTokens] = []
    run: list[int] = []
    for place, token in enumerate([*tokens, vocabulary.end]):
        if token < vocabulary.end:
            run.append(place)
        elif run:
            words += _glued(_split(_characters(vocabulary, tokens, run)))
            run = []
    return words


def _characters(vocabulary: WhisperVocabulary, tokens: Sequence[int], indices: Sequence[int]) -> list[WordTokens]:
    """Single tokens, or groups of tokens that together spell one character."""
    whole = _text(vocabulary, [tokens[place] for place in indices])
    pieces: list[WordTokens] = []
    pending: list[int] = []
    done = 0
    for place in indices:
        pending.append(place)
        text = _text(vocabulary, [tokens[waiting] for waiting in pending])
        at = done + text.find(_BROKEN)
        if _BROKEN not in text or whole[at : at + 1] == _BROKEN:  # complete, or invalid
            pieces.append(WordTokens(text, tuple(pending)))
            done += len(text)
            pending = []
    if pending:
        pieces.append(WordTokens(whole[done:], tuple(pending)))
    return pieces


def _text(vocabulary: WhisperVocabulary, tokens: Sequence[int]) -> str:
    text: str = vocabulary.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def _split(pieces: Sequence[WordTokens]) -> list[WordTokens]:
    words: list[WordTokens] = []
    for piece in pieces:
        if words and not _begins(words[-1].text, piece.text):
            words[-1] = _joined(words[-1], piece)
        else:
            words.append(piece)
    return words


def _begins(before: str, text: str) -> bool:
    """Whether a new word begins with `text` after the word `before`."""
    if not text or not before.strip():
        return False
    if text[0].isspace():
        return True
    if unicodedata.category(text[0])[0] == "M":  # a combining mark belongs to the preceding letter
        return False
    return without_spaces(before[-1]) or without_spaces(text[0])


def _glued(words: Sequence[WordTokens]) -> list[WordTokens]:
    """Join words that are only punctuation to the word that they open or close."""
    glued: list[WordTokens] = []
    opening: WordTokens | None = None
    for word in words:
        if opening is not None:
            word = _joined(opening, word)  # noqa: PLW2901 - the same word, with what opens it
            opening = None
        if bears_sound(word.text) or _is_symbol(word.text):
            glued.append(word)
        elif _opens(word.text) or not glued:
            opening = word
        else:
            glued[-1] = _joined(glued[-1], word)
    if opening is None:
        return glued
    return [*glued[:-1], _joined(glued[-1], opening)] if glued else [opening]


def _opens(text: str) -> bool:
    marks = text.strip()
    if not marks:
        return False
    kinds = {unicodedata.category(char) for char in marks}
    return kinds <= {"Ps", "Pi"} or set(marks) <= set(_OPENING) or (text[0].isspace() and set(marks) <= {*_EITHER_SIDE})


def _is_symbol(text: str) -> bool:
    """Whether a text consists of symbols that are spoken or stand for audio: `+`, `€`, a note."""
    marks = text.strip()
    return bool(marks) and all(unicodedata.category(char)[0] == "S" for char in marks)


def _joined(first: WordTokens, second: WordTokens) -> WordTokens:
    return WordTokens(first.text + second.text, first.indices + second.indices)
