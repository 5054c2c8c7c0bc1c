"""Add languages to a Whisper-family model: tokens at the end of its vocabulary, and initial embedding rows for
training.

Whisper's ids are text, then special tokens (including languages), then timestamps up to the last id. A new language
cannot have an id among the languages without moving timestamps, so it comes after them. Code that takes "at or above
<|0.00|>" for a timestamp never meets such an id in a transcript, due to `suppress_tokens`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from linnet.errors import ModelError, OptionError
from linnet.models.alignment_heads import FILE as CALIBRATION
from linnet.models.derived import (
    CARD,
    PROCESSOR,
    BaseCheckpoint,
    check_output,
    copy_files,
    load_base,
    new_folder,
    save_module,
)
from linnet.models.vocabulary import WhisperVocabulary
from linnet.text.language_codes import base_language, same_language

_LAST_SPECIAL = "<|notimestamps|>"  # Transformers takes ids after its last special token for timestamps


@dataclass(frozen=True)
class NewLanguage:
    """One new language: its token, and the language whose row is copied (None: the mean of all languages)."""

    code: str
    token: int
    start: str | None


def add_languages(
    name: str, wanted: Mapping[str, str | None], output: Path, *, listed: Iterable[str] = (), offline: bool = False
) -> tuple[list[NewLanguage], list[str]]:
    """Write a Whisper-family model with additional languages to a new folder.

    `wanted` maps canonical codes (`language_codes.parse_languages`) to a language of the model to start from; None
    means the same language in another script or region, else the mean of all. `listed` codes that the model has are
    skipped and returned second. Ids and weights of all other tokens are unchanged. Raises `OptionError` for a model of
    another family or for English only, for wanted languages that it has already and related ones that it lacks;
    `ModelError` for a model that cannot be used; `OutputError` for the folder.
    """
    check_output(output)
    base = load_base(name, offline=offline, purpose="support language tokens")
    known = base.vocabulary.languages
    if not known:
        raise OptionError(f"model {name} is for English only and has no language tokens: use the multilingual variant")
    asked = {**wanted, **{code: None for code in listed if code not in wanted}}
    there = {code: have for code in asked if (have := same_language(code, known)) is not None}
    if taken := [code if code == have else f"{code} (as {have})" for code, have in there.items() if code in wanted]:
        raise OptionError(f"model {name} already has these languages: {', '.join(taken)}; leave them out")
    starts = {code: _start(name, code, related, known) for code, related in asked.items() if code not in there}
    if not starts:
        raise OptionError(f"no language to add to {name}: " + ("it has the whole list" if there else "name some"))
    tokens = _extend_tokenizer(name, base.vocabulary, list(starts))
    added = [NewLanguage(code, tokens[code], start) for code, start in starts.items()]
    _extend_module(base.module, added, known)
    base.remember(added_languages={**added_languages(base.module.config), **tokens})
    with new_folder(output) as folder:
        save_module(base.module, _generation(base, tokens), folder)
        base.vocabulary.tokenizer.save_pretrained(folder)
        copy_files(base.ref.path, folder, (*PROCESSOR, *CARD, "normalizer.json", CALIBRATION))
    return added, sorted(there)


def added_languages(config: Any) -> dict[str, int]:
    """The languages added by `add_languages` to the model of this config, and their tokens; empty for other models."""
    return dict((getattr(config, "linnet", None) or {}).get("added_languages", {}))


def train_new_rows(module: nn.Module, tokens: Sequence[int]) -> list[nn.Parameter]:
    """Freeze a model except for the embeddings of these tokens; returns their parameters, for an optimizer.

    `module` is a Transformers model with input and output embeddings [vocabulary, width], which are one parameter if
    tied. The gradient of every other row is zero, so an optimizer without weight decay leaves those rows exactly
    unchanged. Set `weight_decay` to 0, since decay would shrink them. Raises `ValueError` for a token that the
    embeddings lack.

    >>> model = nn.Module()
    >>> model.get_input_embeddings = lambda table=nn.Embedding(4, 2): table
    >>> model.get_output_embeddings = lambda: None
    >>> (table,) = train_new_rows(model, [3])
    >>> table.sum().backward()
    >>> table.grad.tolist()
    [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 1.0]]
    """
    module.requires_grad_(False)
    tables = _tables(module)
    for table in tables:
        if not all(0 <= token < table.shape[0] for token in tokens):
            raise ValueError(f"tokens must be from 0 to {table.shape[0] - 1}, got {list(tokens)}")
        rows = torch.zeros(table.shape[0], 1, dtype=torch.bool, device=table.device)
        rows[list(tokens)] = True
        table.requires_grad_(True).register_hook(  # type: ignore[no-untyped-call]
            lambda grad, rows=rows: grad * rows.to(grad.device)
        )
    return tables


def _start(name: str, code: str, related: str | None, known: Mapping[str, int]) -> str | None:
    """The model's language to start a new one from."""
    if related is None:
        return same_language(base_language(code), known)
    found = same_language(related, known)
    if found is None:
        raise OptionError(
            f"model {name} has no language {related!r} to start {code} from: it has {', '.join(sorted(known))}"
        )
    return found


def _extend_tokenizer(name: str, vocabulary: WhisperVocabulary, codes: Sequence[str]) -> dict[str, int]:
    """Add a special token for each code to the tokenizer, with ids from the model's vocabulary size on."""
    from tokenizers import AddedToken

    tokenizer, size = vocabulary.tokenizer, vocabulary.size
    following = max(tokenizer.get_vocab().values()) + 1
    if following > size:
        raise ModelError(
            f"the tokenizer of {name} has {following} tokens, but the model only {size}: use both from the same model"
        )
    fillers = [_filler(token, vocabulary) for token in range(following, size)]  # older tokenizers lack the timestamps
    tokenizer.add_tokens([AddedToken(filler, normalized=False, special=False) for filler in fillers])
    new = [f"<|{code}|>" for code in codes]
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=True) for token in new], special_tokens=True)
    ids = tokenizer.convert_tokens_to_ids(new)
    if ids != list(range(size, size + len(new))):
        raise ModelError(f"the tokenizer of {name} assigns other ids to new tokens: it cannot be extended")
    named = [token for token in tokenizer.extra_special_tokens if token != _LAST_SPECIAL]
    tokenizer.extra_special_tokens = [*named, *new, _LAST_SPECIAL]
    return dict(zip(codes, ids, strict=True))


def _filler(token: int, vocabulary: WhisperVocabulary) -> str:
    """A placeholder token for an id of the model that its tokenizer lacks."""
    steps = token - vocabulary.timestamp_begin
    return f"<|{steps * vocabulary.seconds_per_timestamp:.2f}|>" if 0 <= steps <= 1500 else f"<|unused{token}|>"


def _extend_module(module: Any, added: Sequence[NewLanguage], known: Mapping[str, int]) -> None:
    """Append rows to the embeddings, and to the output layer if it is not tied."""
    module.resize_token_embeddings(added[-1].token + 1, mean_resizing=False)
    with torch.no_grad():
        for table in _tables(module):
            mean = _mean_row(table, list(known.values()))
            for one in added:
                table[one.token] = mean if one.start is None else table[known[one.start]]


def _tables(module: Any) -> list[nn.Parameter]:
    """The weights of the input and output embeddings: one if they are tied."""
    layers = (module.get_input_embeddings(), module.get_output_embeddings())
    return list({id(layer.weight): layer.weight for layer in layers if layer is not None}.values())


def _mean_row(table: Tensor, tokens: Sequence[int]) -> Tensor:
    return table[list(tokens)].double().mean(0).to(table.dtype)


def _generation(base: BaseCheckpoint, tokens: Mapping[str, int]) -> dict[str, Any]:
    """The generation config with the new languages, and with missing fields for decoding by language."""
    vocabulary, said = base.vocabulary, base.generation
    named = said.get("lang_to_id") or {f"<|{code}|>": token for code, token in vocabulary.languages.items()}
    return {
        "decoder_start_token_id": vocabulary.start,
        "eos_token_id": vocabulary.end,
        "no_timestamps_token_id": vocabulary.no_timestamps,
        "task_to_id": dict(vocabulary.tasks),
        "begin_suppress_tokens": list(vocabulary.begin_suppress),
        **said,
        "is_multilingual": True,
        "lang_to_id": {**named, **{f"<|{code}|>": token for code, token in tokens.items()}},
        "suppress_tokens": sorted({*vocabulary.suppress, *tokens.values()}),
    }
