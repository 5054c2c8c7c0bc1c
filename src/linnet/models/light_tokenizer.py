"""A tokenizer for Linnet's engines, equal to that of Transformers, which takes a second to import."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from linnet.errors import ModelError
from linnet.models.loading import first_line, no_panic


class LightTokenizer:
    """The tokenizer methods that recognition needs, from tokenizer.json by the library tokenizers.

    Results equal those of `transformers.AutoTokenizer` for Whisper's files; it cannot train, save or pad. Raises
    `ModelError` for a damaged file.
    """

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        try:
            with no_panic():
                self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises bare exceptions for damaged files
            raise ModelError(f"{path.name} is damaged ({first_line(error)}): copy it again") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def get_vocab(self) -> dict[str, int]:
        """The ids of all tokens."""
        return self._tokenizer.get_vocab()

    def get_added_vocab(self) -> dict[str, int]:
        """The ids of special and other added tokens."""
        return {token.content: place for place, token in self._tokenizer.get_added_tokens_decoder().items()}

    def convert_ids_to_tokens(self, tokens: Sequence[int]) -> list[str]:
        """The vocabulary entries of tokens; unknown ids are omitted."""
        return [text for token in tokens if (text := self._tokenizer.id_to_token(token)) is not None]

    def decode(self, tokens: Sequence[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool) -> str:
        """The text of tokens; spaces are never cleaned up."""
        if clean_up_tokenization_spaces:
            raise ValueError("spaces are not cleaned up here")
        return self._tokenizer.decode(list(tokens), skip_special_tokens=skip_special_tokens)

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        """The tokens of a text, as `input_ids`."""
        return {"input_ids": self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids}
