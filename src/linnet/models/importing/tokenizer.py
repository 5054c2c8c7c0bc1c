"""Choose the tokenizer of an imported model: its own file, its vocabulary, or one for the same vocabulary."""

from __future__ import annotations

import base64
import binascii
import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from linnet.errors import ModelError
from linnet.models.importing.layout import WhisperSource
from linnet.models.importing.pieces import (
    END,
    NO_TIMESTAMPS,
    START,
    build_tokenizer,
    special_tokens,
)
from linnet.models.json_files import LARGEST_VOCABULARY, read_regular
from linnet.models.loading import no_panic

FILE = "tokenizer.json"
_ENGLISH_SIZE = 51864


@dataclass(frozen=True)
class ChosenTokenizer:
    """A tokenizer.json, the ids of all its tokens, and a clause on its origin."""

    text: str
    ids: dict[str, int]
    origin: str
    special: tuple[str, ...]  # by id


def choose_tokenizer(source: WhisperSource, named: Path | None = None) -> ChosenTokenizer:
    """The tokenizer of a model: from the `named` folder, its own, or one for the same vocabulary.

    Raises `ModelError` if there is none or if it does not fit the model.
    """
    if named is not None:
        return _read(_named_file(named), source, f"{FILE} of the folder given by --tokenizer")
    if source.tokenizer is not None:
        return _read(source.tokenizer, source, f"its own {FILE}")
    if source.pieces is not None:
        special = source.special or _special(source, len(source.pieces))
        text = build_tokenizer(source.pieces, special, source.files[-1])
        return _checked(text, source, "rebuilt from its vocabulary", source.files[-1])
    for path, origin in _elsewhere(source):
        if path.suffix == ".tiktoken":
            pieces = _read_ranks(path)
            text = build_tokenizer(pieces, _special(source, len(pieces)), path)
            return _checked(text, source, origin, path)
        try:
            return _read(path, source, origin)
        except ModelError:  # of another vocabulary
            continue
    raise ModelError(
        f"{source.path} holds no tokenizer, and none for its {source.dimensions.vocabulary} tokens is on this disk: "
        'install one with  pip install "linnet[openai-whisper]" , pull a model of the same vocabulary '
        "(`linnet models pull tiny`, or tiny.en for an English-only one), or name a folder that holds a tokenizer.json "
        "with --tokenizer FOLDER"
    )


def _named_file(named: Path) -> Path:
    path = named / FILE if named.is_dir() else named
    if not path.is_file():
        raise ModelError(f"{named} holds no {FILE}: give the folder of a Whisper model with the same vocabulary")
    return path


def _special(source: WhisperSource, text_tokens: int) -> dict[str, int]:
    dimensions = source.dimensions
    try:
        return special_tokens(text_tokens, dimensions.vocabulary, dimensions.audio_context + 1)
    except ModelError as error:
        raise ModelError(f"{source.path}: {error}: give a folder that holds its tokenizer with --tokenizer") from error


def _elsewhere(source: WhisperSource) -> Iterator[tuple[Path, str]]:
    """Tokenizers on this disk that may fit, each with a clause on its origin."""
    if (beside := source.path.parent / FILE).is_file():
        yield beside, f"the {FILE} next to it"
    spec = importlib.util.find_spec("whisper")  # finds it without running it
    name = "gpt2" if source.dimensions.vocabulary == _ENGLISH_SIZE else "multilingual"
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (assets := Path(folder) / "assets" / f"{name}.tiktoken").is_file():
            yield assets, "rebuilt from the vocabulary of the installed openai-whisper"
    from huggingface_hub import try_to_load_from_cache

    from linnet.models.hub import cached_ids

    for model_id in cached_ids():
        found = try_to_load_from_cache(model_id, FILE) if "whisper" in model_id.lower() else None
        if isinstance(found, str):
            yield Path(found), f"{FILE} of {model_id} in the Hub's cache"
    from linnet.models.importing.cached import list_imports

    for imported in list_imports():
        if (path := imported.folder / FILE).is_file():
            yield path, f"{FILE} of the imported {Path(imported.source).name}"


def _read_ranks(path: Path) -> list[bytes]:
    """The tokens of a .tiktoken file in the order of their ranks: lines of base64 and a rank."""
    try:
        rows = [line.rsplit(" ", 1) for line in path.read_text(encoding="ascii").splitlines() if line]
        ranks = {int(rank): base64.b64decode(token) for token, rank in rows}
        return [ranks[rank] for rank in range(len(ranks))]
    except (OSError, ValueError, KeyError, binascii.Error) as error:
        raise ModelError(f"{path} is damaged ({error}): reinstall openai-whisper") from error


def _read(path: Path, source: WhisperSource, origin: str) -> ChosenTokenizer:
    try:
        text = read_regular(path, LARGEST_VOCABULARY).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(f"cannot read {path}: {error}") from error
    return _checked(text, source, origin, path)


def _checked(text: str, source: WhisperSource, origin: str, path: Path) -> ChosenTokenizer:
    from tokenizers import Tokenizer

    try:
        with no_panic():
            found = Tokenizer.from_str(text)
            ids: dict[str, int] = found.get_vocab(with_added_tokens=True)
        special = [(t["id"], t["content"]) for t in json.loads(text)["added_tokens"] if t["special"]]
    except Exception as error:  # tokenizers raises bare exceptions
        raise ModelError(f"{path} is damaged ({str(error)[:120]}): copy or download it again") from error
    _check_fit(ids, source, path)
    last = ids[NO_TIMESTAMPS]
    in_order = sorted(special)
    return ChosenTokenizer(text, ids, origin, tuple(name for token, name in in_order if token <= last))


def _check_fit(ids: dict[str, int], source: WhisperSource, path: Path) -> None:
    """Check that the tokens fit the model: <|0.00|> follows <|notimestamps|>, and the last timestamp is the window's
    end."""
    size, times = source.dimensions.vocabulary, source.dimensions.audio_context + 1
    missing = [name for name in (END, START, NO_TIMESTAMPS) if name not in ids]
    if missing:
        raise ModelError(f"{path} has no token {missing[0]}: it is not a Whisper tokenizer")
    own = source.tokenizer == path
    first = ids[NO_TIMESTAMPS] + 1
    fits = first + times <= size if own else first + times == size  # a model's own may have further tokens after them
    if max(ids.values()) >= size or not fits:
        raise ModelError(
            f"{path} does not fit {source.path}: it has {first} tokens before the times, and the model has "
            f"{size - times}; take the tokenizer of a model with the same vocabulary"
        )
