"""What the decoder is told before its first own token."""

from __future__ import annotations

from collections.abc import Sequence

from linnet.decoding.language import resolve_language
from linnet.decoding.options import DecodingOptions
from linnet.errors import OptionError
from linnet.models.vocabulary import WhisperVocabulary

__all__ = ["build_prefix", "check_options", "resolve_language"]


def check_options(options: DecodingOptions, vocabulary: WhisperVocabulary) -> None:
    """Raise `OptionError` for a language, task, prompt or token that this model cannot honor."""
    resolve_language(options.language, vocabulary)
    if options.task == "translate" and "translate" not in vocabulary.tasks:
        which = "a multilingual model" if not vocabulary.languages else "a model that was trained to translate"
        raise OptionError(f"this model cannot translate: choose {which}, or task transcribe")
    if options.context:
        vocabulary.prompt(options.context)
    for token in (*(options.suppress_tokens or ()), *(options.begin_suppress_tokens or ())):
        if not 0 <= token < vocabulary.size:
            raise OptionError(f"token {token} to suppress is not one of the model's: use 0 to {vocabulary.size - 1}")


def build_prefix(
    vocabulary: WhisperVocabulary,
    options: DecodingOptions,
    *,
    language: str | None,
    prompt: Sequence[int] = (),
    max_length: int,
) -> tuple[list[int], int]:
    """The tokens before the transcript, and where <|startoftranscript|> stands among them.

    <|startofprev|> prompt <|startoftranscript|> language task <|notimestamps|>, each where it applies (Radford et al.
    2022, figure 1). The prompt keeps its last max_length // 2 - 1 tokens.
    """
    before: list[int] = []
    if prompt:
        if vocabulary.start_of_previous is None:
            raise OptionError("this model takes no prompt: its tokenizer has no <|startofprev|> token")
        before = [vocabulary.start_of_previous, *list(prompt)[-max(max_length // 2 - 1, 1) :]]
    after = [vocabulary.start]
    if language is not None and vocabulary.languages:
        after.append(vocabulary.languages[language])
    if options.task in vocabulary.tasks:
        after.append(vocabulary.tasks[options.task])
    if not options.timestamps:
        after.append(vocabulary.no_timestamps)
    return before + after, len(before)
