"""Tokens to words: against Transformers' rules, and what a reader calls words."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest
from transformers import AutoTokenizer
from transformers.models.whisper.tokenization_whisper import _combine_tokens_into_words

from linnet.alignment.grouping import split_words
from linnet.models.vocabulary import WhisperVocabulary, build_vocabulary
from linnet.text.words import bears_sound
from tests.support.tiny_whispers import small_tokenizer


def whisper_vocabulary(folder: Path) -> WhisperVocabulary:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return build_vocabulary(tokenizer, {"vocab_size": 51865}, {}, seconds_per_timestamp=0.02)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("english", " And so, my fellow Americans: ask not (ever) what's next."),
        ("german", ' Größe, Äpfel und 42 Öfen, "schön" war\'s!'),
        ("japanese", "今日はとても寒いですね。"),
        ("chinese", "我们明天见，好吗？"),
        ("thai", "สวัสดีครับ"),
        ("english", " A smile \U0001f600 and 日本 too."),
    ],
)
def test_words_are_those_of_whisper(whisper_tokenizer: Path, language: str, text: str) -> None:
    """But that a combining mark, which Transformers has as a word of its own, stays with the letter before it."""
    vocabulary = whisper_vocabulary(whisper_tokenizer)
    tokens = vocabulary.tokenizer(text, add_special_tokens=False)["input_ids"]
    theirs, _, indices = _combine_tokens_into_words(vocabulary.tokenizer, tokens, language)
    ours = split_words(vocabulary, tokens)
    assert [(word.text, word.indices) for word in ours] == marks_joined(theirs, indices)
    assert "".join(word.text for word in ours) == text
    assert [place for word in ours for place in word.indices] == list(range(len(tokens)))


def marks_joined(texts: Sequence[str], indices: Sequence[Sequence[int]]) -> list[tuple[str, tuple[int, ...]]]:
    """Words and the indices of their tokens, those that begin with a combining mark joined to the word before."""
    joined: list[tuple[str, tuple[int, ...]]] = []
    for text, own in zip(texts, indices, strict=True):
        if joined and unicodedata.category(text[0]).startswith("M"):
            joined[-1] = (joined[-1][0] + text, (*joined[-1][1], *own))
        else:
            joined.append((text, tuple(own)))
    return joined


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (" about 1,234.50 well-known e-mails", ["about", "1,234.50", "well-known", "e-mails"]),
        (' "Yes," (he said) - no...', ['"Yes,"', "(he", "said)", "- no..."]),
        (" 5 + 5 € ♪", ["5", "+", "5", "€", "♪"]),
        ("「はい」と", ["「はい」", "と"]),
        (" ...", ["..."]),
        ("สวัสดีครับ", ["ส", "วั", "ส", "ดี", "ครั", "บ"]),
    ],
)
def test_words_are_what_a_reader_calls_so(whisper_tokenizer: Path, text: str, words: list[str]) -> None:
    vocabulary = whisper_vocabulary(whisper_tokenizer)
    tokens = vocabulary.tokenizer(text, add_special_tokens=False)["input_ids"]
    found = split_words(vocabulary, tokens)
    assert [word.text.strip() for word in found] == words
    assert "".join(word.text for word in found) == text


def test_timestamps_end_words_and_are_none() -> None:
    tokenizer = small_tokenizer()
    vocabulary = build_vocabulary(
        tokenizer, {"vocab_size": len(tokenizer)}, {"is_multilingual": True}, seconds_per_timestamp=0.02
    )
    one, two = (tokenizer.convert_tokens_to_ids(f"Ġ{word}") for word in ("one", "two"))
    half = tokenizer.convert_tokens_to_ids("t")
    begin = vocabulary.timestamp_begin
    found = split_words(vocabulary, [begin, one, begin + 20, begin + 30, half, two, begin + 60])
    assert [(word.text, word.indices) for word in found] == [(" one", (1,)), ("t", (4,)), (" two", (5,))]
    broken = tokenizer.convert_tokens_to_ids("Ã")  # the first byte of two
    assert [word.text for word in split_words(vocabulary, [one, broken])] == [" one\ufffd"]


def test_what_bears_sound() -> None:
    assert [bears_sound(text) for text in (" a", "7", "語", ",", " -", "♪", "")] == [True] * 3 + [False] * 4
