"""The special tokens of one Whisper-family model, and its text tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from linnet.errors import ModelError, OptionError

ENGLISH_ONLY_SIZE = 51864  # the published English-only checkpoints list language tokens without training
LANGUAGE_TOKEN = re.compile(r"<\|([a-z]{2,3}(?:-[a-z0-9]{2,8})*)\|>")  # zh-hant: some include the script


@dataclass(frozen=True)
class WhisperVocabulary:
    """Token ids from the model's tokenizer and generation config.

    `languages` maps codes (`en`) to token ids; it is empty for an English-only model, whose prompt then has neither a
    language nor a task token.
    """

    tokenizer: Any
    size: int
    start: int  # <|startoftranscript|>
    end: int  # <|endoftext|>
    no_timestamps: int
    no_speech: int | None
    start_of_previous: int | None
    languages: Mapping[str, int]
    tasks: Mapping[str, int]
    suppress: tuple[int, ...]
    begin_suppress: tuple[int, ...]
    max_initial_timestamp_index: int | None
    seconds_per_timestamp: float  # seconds, 0.02: window length / encoder frames

    @property
    def timestamp_begin(self) -> int:
        """The id of <|0.00|>."""
        return self.no_timestamps + 1

    def text(self, tokens: Sequence[int]) -> str:
        """The text of these tokens, without special and timestamp tokens, including its leading space."""
        spoken = [token for token in tokens if token < self.timestamp_begin]
        if not spoken:
            return ""
        text: str = self.tokenizer.decode(spoken, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def prompt(self, text: str) -> tuple[int, ...]:
        """The tokens of a text assumed to precede the recording, without <|startofprev|>.

        Raises `OptionError` for a text with a special token, and for a model without prompts.
        """
        if self.start_of_previous is None:
            raise OptionError("this model takes no prompt: its tokenizer has no <|startofprev|> token")
        if not text.strip():
            return ()
        tokens = tuple(self.tokenizer(" " + text.strip(), add_special_tokens=False)["input_ids"])
        if special := sorted(set(tokens) & set(self.tokenizer.get_added_vocab().values())):
            names = ", ".join(self.tokenizer.convert_ids_to_tokens(special))
            raise OptionError(f"a prompt must be plain text, but it contains the special token {names}: remove it")
        return tokens


def build_vocabulary(
    tokenizer: Any, config: Mapping[str, Any], generation: Mapping[str, Any], *, seconds_per_timestamp: float
) -> WhisperVocabulary:
    """Collect the token ids of a Whisper tokenizer from its model's config and generation config (as read from JSON).

    Fields missing in the generation config, as in old checkpoints, are found by the tokens' names. Raises `ModelError`
    for a tokenizer without the tokens of every Whisper-family model, or that does not fit the model.
    """
    ids: dict[str, int] = tokenizer.get_added_vocab()
    if not {"<|startoftranscript|>", "<|endoftext|>", "<|notimestamps|>"} <= ids.keys():
        ids = tokenizer.get_vocab()
    size = int(config["vocab_size"])
    settings = {**{key: config.get(key) for key in ("suppress_tokens", "begin_suppress_tokens")}, **generation}
    no_timestamps = generation.get("no_timestamps_token_id", ids.get("<|notimestamps|>"))
    start = ids.get("<|startoftranscript|>", generation.get("decoder_start_token_id"))
    end = ids.get("<|endoftext|>", generation.get("eos_token_id"))
    if not (isinstance(start, int) and isinstance(end, int) and isinstance(no_timestamps, int)):
        raise ModelError("its tokenizer has no <|startoftranscript|>, <|endoftext|> or <|notimestamps|> token")
    if max(start, end, no_timestamps) >= size:
        raise ModelError(f"its tokenizer has token {max(start, end, no_timestamps)}, but the model only {size}")
    multilingual = generation.get("is_multilingual", size != ENGLISH_ONLY_SIZE)
    limit = settings.get("max_initial_timestamp_index")
    return WhisperVocabulary(
        tokenizer=tokenizer,
        size=size,
        start=start,
        end=end,
        no_timestamps=no_timestamps,
        no_speech=next((ids[name] for name in ("<|nospeech|>", "<|nocaptions|>") if name in ids), None),
        start_of_previous=generation.get("prev_sot_token_id", ids.get("<|startofprev|>")),
        languages=_languages(generation, ids, size) if multilingual else {},
        tasks=_tasks(generation, ids) if multilingual else {},
        suppress=_tokens(settings.get("suppress_tokens"), size),
        begin_suppress=_tokens(settings.get("begin_suppress_tokens"), size),
        max_initial_timestamp_index=None if limit is None else int(limit),
        seconds_per_timestamp=seconds_per_timestamp,
    )


def _languages(generation: Mapping[str, Any], ids: Mapping[str, int], size: int) -> dict[str, int]:
    named = generation.get("lang_to_id") or ids
    found = ((int(token), match[1]) for name, token in named.items() if (match := LANGUAGE_TOKEN.fullmatch(name)))
    return {code: token for token, code in sorted(found) if token < size}


def _tasks(generation: Mapping[str, Any], ids: Mapping[str, int]) -> dict[str, int]:
    named = generation.get("task_to_id") or {
        task: ids[f"<|{task}|>"] for task in ("transcribe", "translate") if f"<|{task}|>" in ids
    }
    return {task: int(token) for task, token in named.items()}


def _tokens(listed: Iterable[int] | None, size: int) -> tuple[int, ...]:
    return tuple(sorted({int(token) for token in listed or () if 0 <= int(token) < size}))
