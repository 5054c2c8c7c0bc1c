"""The tokens that the decoder is given before the transcript."""

from __future__ import annotations

from collections.abc import Sequence

from linnet.decoding.language import resolve_language
from linnet.decoding.options import DecodingOptions
from linnet.errors import OptionError
from linnet.models.vocabulary import WhisperVocabulary

__all__ = ["build_prefix", "build_prefixes", "check_options", "resolve_language"]


def check_options(options: DecodingOptions, vocabulary: WhisperVocabulary) -> None:
    """Raise `OptionError` for a language, task, prompt or token that the model does not support."""
    resolve_language(options.language, vocabulary)
    if options.task == "translate" and "translate" not in vocabulary.tasks:
        which = "a multilingual model" if not vocabulary.languages else "a model that was trained to translate"
        raise OptionError(f"this model cannot translate: choose {which}, or task transcribe")
    if options.context:
        vocabulary.prompt(options.context)
    for token in (*(options.suppress_tokens or ()), *(options.begin_suppress_tokens or ())):
        if not 0 <= token < vocabulary.size:
            raise OptionError(f"token {token} to suppress is not in the vocabulary: use 0 to {vocabulary.size - 1}")


def build_prefix(
    vocabulary: WhisperVocabulary,
    options: DecodingOptions,
    *,
    language: str | None,
    prompt: Sequence[int] = (),
    max_length: int,
) -> tuple[list[int], int]:
    """The tokens before the transcript, and the position of <|startoftranscript|> among them.

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


def build_prefixes(
    vocabulary: WhisperVocabulary,
    options: DecodingOptions,
    *,
    languages: Sequence[str | None],
    prompts: Sequence[Sequence[int]] | None = None,
    max_length: int,
) -> tuple[list[list[int]], int]:
    """The prefix of each window of a batch, and the position of <|startoftranscript|> in all of them.

    `languages` and `prompts` have one entry per window; without prompts all have `options.context`. Raises `ValueError`
    if the prompts differ in number from the windows, or in length from each other.
    """
    batch = len(languages)
    if prompts is None:
        prompts = [vocabulary.prompt(options.context) if options.context else ()] * batch
    if len(prompts) != batch or len({len(prompt) for prompt in prompts}) > 1:
        raise ValueError(f"{batch} windows need as many prompts, all of one length: group windows by it")
    built = [
        build_prefix(vocabulary, options, language=language, prompt=prompt, max_length=max_length)
        for language, prompt in zip(languages, prompts, strict=True)
    ]
    return [prefix for prefix, _ in built], built[0][1]
