"""Preparing audio and texts for training, one class per kind of model.

Shapes: B utterances, N samples at 16 kHz, L label tokens.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import ProcessorMixin

from linnet.audio import SAMPLE_RATE, Samples
from linnet.errors import OptionError
from linnet.models.fusion.windows import Windowing
from linnet.text.words import without_spaces
from linnet.training.batch import IGNORED

Tensors = dict[str, Tensor]
TICK = 0.02  # seconds, the resolution of Whisper's timestamps


class Inputs(ABC):
    """How training data is prepared for one kind of model, and its output decoded by `tokenizer`."""

    about: str  # how tokens are counted, for the identity of a table of lengths
    longest: float  # seconds that the model takes
    most: int | None = None  # tokens that an answer may have; None: no limit
    span: float | None = None  # seconds that all audio is padded to; None: to the longest of its batch
    tokenizer: Any

    @abstractmethod
    def labels(self, texts: Sequence[str], languages: Sequence[str | None]) -> list[list[int] | str]:
        """The label tokens of each text, with the end; or the reason why the model cannot write it."""

    @abstractmethod
    def misfit(self, seconds: float, labels: int) -> str | None:
        """Why an utterance of this length and number of label tokens is too long for the model; None if it is not."""

    @abstractmethod
    def answers(self, labels: Sequence[Sequence[int]]) -> Tensors:
        """The model's arguments for the target text, with `labels` [B, L] padded with -100."""

    @abstractmethod
    def audio(self, audio: Sequence[Samples]) -> Tensors:
        """The model's arguments for the audio, also for `generate`."""

    @abstractmethod
    def padded_seconds(self, seconds: Sequence[float]) -> float:
        """The seconds that the encoder computes for a batch of these lengths, with padding."""

    @abstractmethod
    def save(self, folder: Any) -> None:
        """Write processor and tokenizer into a model's folder."""

    def batch(self, audio: Sequence[Samples], labels: Sequence[Sequence[int]]) -> Tensors:
        """The model's arguments for a batch: those of `audio` and `answers`."""
        return {**self.audio(audio), **self.answers(labels)}

    def generate_options(self, languages: Sequence[str | None]) -> dict[str, Any]:
        """Further arguments of `generate`."""
        del languages
        return {}

    def texts(self, ids: Tensor) -> list[str]:
        """The texts of generated tokens."""
        texts: list[str] = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [text.strip() for text in texts]


class FusionInputs(Inputs):
    """Inputs of a fusion model; `columns` maps a clip's samples to the positions of its prompt."""

    longest = float("inf")

    def __init__(self, processor: Any, columns: Callable[[int], int], windowing: Windowing, places: int | None) -> None:
        self._processor, self._columns, self._windowing, self._places = processor, columns, windowing, places
        self.tokenizer = processor.tokenizer
        self.about = f"{_identity(self.tokenizer)}, {places} places"

    def labels(self, texts: Sequence[str], languages: Sequence[str | None]) -> list[list[int] | str]:
        """The tokens of the texts, and the end of the answer."""
        del languages
        rows = self._processor.labels(texts).tolist()
        return _known(([token for token in row if token != IGNORED] for row in rows), self.tokenizer)

    def misfit(self, seconds: float, labels: int) -> str | None:
        """Prompt, audio and answer must fit into the language model."""
        taken = self._columns(round(seconds * SAMPLE_RATE)) + labels
        if self._places is None or taken <= self._places:
            return None
        return f"over the {self._places} places of the language model"

    def answers(self, labels: Sequence[Sequence[int]]) -> Tensors:
        """The labels."""
        return {"labels": padded(labels)}

    def padded_seconds(self, seconds: Sequence[float]) -> float:
        """As the encoder splits and pads them."""
        return self._windowing.padded_samples([round(length * SAMPLE_RATE) for length in seconds]) / SAMPLE_RATE

    def audio(self, audio: Sequence[Samples]) -> Tensors:
        """Samples [B, N] and their mask."""
        return dict(self._processor(list(audio), sampling_rate=SAMPLE_RATE))

    def save(self, folder: Any) -> None:
        """Write the processor."""
        self._processor.save_pretrained(folder)


class Seq2SeqInputs(Inputs):
    """Inputs of an encoder-decoder model: features by its processor or extractor, labels by its tokenizer."""

    def __init__(self, model: Any, processor: Any, tokenizer: Any, longest: float) -> None:
        self._processor, self.tokenizer = processor, tokenizer
        self.longest = longest
        settings = (model.generation_config, model.config)
        start, end = _setting("decoder_start_token_id", *settings), tokenizer.eos_token_id
        if start is None or end is None:
            raise OptionError(f"{model.name_or_path}: its config has no decoder_start_token_id, or no end token.")
        self._start, self._end = start, int(end)
        places = [_setting(name, model.config) for name in ("max_target_positions", "max_position_embeddings")]
        self.places = places[0] or places[1]
        self.most = self.places and self.places - 1
        self.about = f"{_identity(tokenizer)}, {self.places} places"

    def labels(self, texts: Sequence[str], languages: Sequence[str | None]) -> list[list[int] | str]:
        """The tokens of the texts, and the end."""
        del languages
        rows = self.tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return _known(([*row, self._end] for row in rows), self.tokenizer)

    def misfit(self, seconds: float, labels: int) -> str | None:
        """The labels must fit into the decoder."""
        del seconds
        return f"over the {self.places} places of the decoder" if self.places and labels > self.places else None

    def answers(self, labels: Sequence[Sequence[int]]) -> Tensors:
        """The labels, and the decoder's input, shifted by one position."""
        given = [[self._start, *row[:-1]] for row in labels]
        return {"decoder_input_ids": padded(given, self._end), "labels": padded(labels)}

    def padded_seconds(self, seconds: Sequence[float]) -> float:
        """All are padded to the longest, or to the window."""
        return len(seconds) * (self.span or max(seconds))

    def audio(self, audio: Sequence[Samples]) -> Tensors:
        """The processor's features, padded to the longest."""
        return self._features(audio, padding=True)

    def save(self, folder: Any) -> None:
        """Write processor and tokenizer."""
        self.tokenizer.save_pretrained(folder)
        self._processor.save_pretrained(folder)

    def _features(self, audio: Sequence[Samples], **options: Any) -> Tensors:
        named = {"audio": list(audio)} if isinstance(self._processor, ProcessorMixin) else {}
        plain = () if named else (list(audio),)
        with np.errstate(all="ignore"):
            made = self._processor(*plain, **named, sampling_rate=SAMPLE_RATE, return_tensors="pt", **options)
        return dict(made)


class WhisperInputs(Seq2SeqInputs):
    """Inputs of Whisper: audio is padded to the window; labels begin with language, task and `notimestamps`.

    `front` is the number of these tokens; utterances with the same ones may share a window.
    """

    span: float

    def __init__(self, model: Any, processor: Any, tokenizer: Any, language: str = "") -> None:
        self.span = window_of(processor)
        super().__init__(model, processor, tokenizer, self.span)
        settings = model.generation_config
        self._languages: dict[str, int] = getattr(settings, "lang_to_id", None) or {}
        self._task: int | None = (getattr(settings, "task_to_id", None) or {}).get("transcribe")
        self._plain: int | None = getattr(settings, "no_timestamps_token_id", None)
        self._language = language
        self.front = (1 + (self._task is not None)) * bool(self._languages) + (self._plain is not None)
        if self.most is not None:
            self.most -= self.front
        times = range(0) if self._plain is None else range(self._plain + 1, self._plain + 2 + round(self.span / TICK))
        known = bool(times) and times[-1] < model.get_input_embeddings().num_embeddings
        self._times = times if known else range(0)  # the timestamp tokens
        self.about += f", {language or 'no'} language where none is named"

    def labels(self, texts: Sequence[str], languages: Sequence[str | None]) -> list[list[int] | str]:
        """Language and task (of a multilingual model), no timestamps, the text, the end.

        As in Whisper, texts begin with a space unless their script has none between words.
        """
        made: list[list[int] | str] = []
        spaced = [_spaced(text.strip()) for text in texts]
        for row, language in zip(super().labels(spaced, languages), languages, strict=True):
            try:
                made.append(row if isinstance(row, str) else self._prefix(language) + row)
            except OptionError as error:
                made.append(str(error))
        return made

    def joined(self, labels: Sequence[Sequence[int]], times: Sequence[tuple[int, int]] | None = None) -> list[int]:
        """The labels of a window of concatenated recordings in one language: their texts in order, and the end.

        With `times`, the start and end tick of each, texts are enclosed in timestamp tokens, unless the model has none,
        all texts are empty, or they do not fit into the decoder.
        """
        front, texts = labels[0][: self.front], [row[self.front : -1] for row in labels]
        if times and self._times and any(texts):
            pairs = zip(texts, times, strict=True)
            timed = [[self._times[start], *text, self._times[end]] for text, (start, end) in pairs if text]
            made = [*front[:-1], *chain.from_iterable(timed), self._end]  # without `notimestamps`
            if self.places is None or len(made) <= self.places:
                return made
        return [*front, *chain.from_iterable(texts), self._end]

    def _prefix(self, language: str | None) -> list[int]:
        plain = [self._plain] if self._plain is not None else []
        if not self._languages:
            return plain
        return [self._languages[self._code(language)], *([self._task] if self._task is not None else []), *plain]

    def audio(self, audio: Sequence[Samples]) -> Tensors:
        """Log-mel features of the full window."""
        return self._features(audio)

    def generate_options(self, languages: Sequence[str | None]) -> dict[str, Any]:
        """The language of each utterance."""
        if not self._languages:
            return {}
        return {"language": [self._code(language)[2:-2] for language in languages], "task": "transcribe"}

    def _code(self, language: str | None) -> str:
        spoken = (language or self._language).lower().partition("-")[0]
        if f"<|{spoken}|>" in self._languages:
            return f"<|{spoken}|>"
        raise OptionError("without a language" if not spoken else f"in a language without a token ({spoken})")


def window_of(processor: Any) -> float:
    """The window of a Whisper processor or feature extractor, in seconds."""
    return float(getattr(processor, "feature_extractor", processor).chunk_length)


def _spaced(text: str) -> str:
    return text if not text or without_spaces(text[0]) else f" {text}"


def _setting(name: str, *places: Any) -> int | None:
    return next((int(value) for place in places if (value := getattr(place, name, None)) is not None), None)


def _identity(tokenizer: Any) -> str:
    """The identity of a tokenizer: class, size, and a hash of its content."""
    whole = getattr(tokenizer, "backend_tokenizer", None)
    content = json.dumps(tokenizer.get_vocab(), sort_keys=True) if whole is None else whole.to_str()
    digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"the tokens of {type(tokenizer).__name__}, {len(tokenizer)} entries, {digest}"


def _known(rows: Iterable[list[int]], tokenizer: Any) -> list[list[int] | str]:
    """Rows of tokens, or a reason for rows with the unknown token."""
    unknown = tokenizer.unk_token_id
    if unknown is None or unknown == tokenizer.eos_token_id:
        return list(rows)
    return ["text outside the tokenizer" if unknown in row else row for row in rows]


def padded(rows: Sequence[Sequence[int]], padding: int = IGNORED) -> Tensor:
    """Rows of numbers, padded to the longest."""
    return pad_sequence([torch.tensor(row, dtype=torch.long) for row in rows], batch_first=True, padding_value=padding)
