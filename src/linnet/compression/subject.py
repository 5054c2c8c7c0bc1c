"""The interface of a model for compression, by family: features of a window, frames, transcript, predictions.

Shapes: N samples of a window, T encoder frames, L predictions of a window (tokens, or frames of a CTC model), V
vocabulary. Windows are processed one by one, so there is no padding except the model's own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from linnet.audio.mel import log_mel
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.errors import OptionError
from linnet.models.families import CTC, FUSION, WHISPER
from linnet.models.loading import quiet
from linnet.models.resolve import ModelRef
from linnet.models.speech import SpeechModel, load_speech_model, padded
from linnet.models.vocabulary import WhisperVocabulary
from linnet.models.whisper import SAMPLES_PER_POSITION, load_whisper

MOST_TOKENS = 200  # maximum tokens of a window's transcript: longer ones are repetition loops


@dataclass(frozen=True, eq=False)
class Example:
    """One window as model input.

    `features` are the tensors of its processor, for a batch of one. `frames` of the encoder's `positions` are not
    padding; both are None if all are. `tokens` [L + P] are the P tokens of the prompt and the model's own transcript,
    once available; CTC models have none.
    """

    features: Mapping[str, Tensor]
    frames: int | None
    language: str | None = None
    timed: bool = False
    tokens: Tensor | None = None
    positions: int | None = None


class Subject(ABC):
    """A model to compress, with the operations of its family for running and differentiating it.

    `fixed_window` tells that all windows are padded to one length, and positions in them are learned.
    """

    fixed_window = False

    def __init__(self, name: str, model: Any, *, encoder: nn.Module, decoder: nn.Module | None, window: int) -> None:
        self.name, self.model, self.encoder, self.decoder, self.window = name, model, encoder, decoder, window

    @abstractmethod
    def example(self, samples: Samples, language: str | None = None, *, timed: bool = False) -> Example:
        """The features of at most one window of samples [N] at 16 kHz, without a transcript."""

    @abstractmethod
    def transcribed(self, example: Example) -> Example:
        """The example with the greedy transcript of the current model."""

    @abstractmethod
    def logits(self, example: Example) -> Tensor:
        """The differentiable predictions at each position of the example's own transcript, [L, V]."""

    @abstractmethod
    def encode(self, example: Example) -> None:
        """Run the encoder, for hooks."""

    def path(self, module: nn.Module) -> str:
        """The dotted name of a part of the model."""
        return next(str(name) for name, found in self.model.named_modules() if found is module)


def load_subject(ref: ModelRef) -> Subject:
    """Load a model in float32 on the CPU. Raises `ModelError` for one that cannot be loaded."""
    from linnet.models.families import family_of

    if family_of(ref.path) is WHISPER:
        model = load_whisper(ref.path, name=ref.name, dtype=torch.float32)
        return WhisperSubject(
            ref.name, model.module, model.vocabulary, n_mels=model.n_mels, window=model.window_samples
        )
    return subject_of(load_speech_model(ref, device="cpu", dtype=torch.float32))


def subject_of(speech: SpeechModel) -> Subject:
    """The subject of a loaded model of any other family than Whisper."""
    return (CtcSubject if speech.family is CTC else Seq2SeqSubject)(speech)


class WhisperSubject(Subject):
    """Whisper: windows of one size, frames of 20 ms, a prompt of special tokens."""

    fixed_window = True

    def __init__(self, name: str, model: Any, vocabulary: WhisperVocabulary, *, n_mels: int, window: int) -> None:
        super().__init__(name, model, encoder=model.get_encoder(), decoder=model.get_decoder(), window=window)
        self.vocabulary, self._n_mels = vocabulary, n_mels

    def example(self, samples: Samples, language: str | None = None, *, timed: bool = False) -> Example:
        """See `Subject`. Raises `OptionError` for a language that the model does not have."""
        known = self.vocabulary.languages
        if known and language is not None and language not in known:
            raise OptionError(f"model {self.name} does not know the language {language!r} of the calibration audio")
        sound = torch.zeros(self.window)
        sound[: len(samples)] = torch.from_numpy(samples[: self.window])
        features = {"input_features": log_mel(sound, self._n_mels).T[None].contiguous()}
        frames = -(-min(len(samples), self.window) // SAMPLES_PER_POSITION)
        return Example(features, frames, language, timed, positions=self.window // SAMPLES_PER_POSITION)

    @torch.no_grad()
    def transcribed(self, example: Example) -> Example:
        """See `Subject`; an unknown language is detected first."""
        encoded = self.encoder(example.features["input_features"]).last_hidden_state
        tokens, cache = self._prompt(example, encoded), None
        most = min(MOST_TOKENS, self.model.config.max_target_positions - len(tokens))
        given, silenced = tokens, list(self.vocabulary.begin_suppress)
        for _ in range(most):
            said = self.decode(encoded, given, cache)
            cache, scores = said.past_key_values, said.logits[0, -1]
            scores[[*self.vocabulary.suppress, *silenced]] = -torch.inf
            given, silenced = [int(scores.argmax())], []
            tokens = [*tokens, *given]
            if given[0] == self.vocabulary.end:
                break
        return replace(example, tokens=torch.tensor(tokens))

    def logits(self, example: Example) -> Tensor:
        """See `Subject`."""
        encoded = self.encoder(example.features["input_features"]).last_hidden_state
        tokens, first = _tokens(example), self._prompt_length(example)
        said: Tensor = self.decode(encoded, tokens[:-1].tolist(), None).logits[0, first - 1 :]
        return said

    def encode(self, example: Example) -> None:
        """See `Subject`."""
        self.encoder(example.features["input_features"])

    def decode(self, encoded: Tensor, tokens: list[int], cache: Any) -> Any:
        """One pass of the decoder over tokens after those in the cache."""
        from transformers.modeling_outputs import BaseModelOutput

        return self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
            decoder_input_ids=torch.tensor([tokens]),
            past_key_values=cache,
            use_cache=not torch.is_grad_enabled(),
        )

    def _prompt_length(self, example: Example) -> int:
        several = bool(self.vocabulary.languages)
        return 1 + 2 * several + (not example.timed)

    def _prompt(self, example: Example, encoded: Tensor) -> list[int]:
        told = self.vocabulary
        prompt = [told.start]
        if told.languages:
            language = told.languages.get(example.language or "")
            if language is None:
                scores, kinds = self.decode(encoded, prompt, None).logits[0, -1], list(told.languages.values())
                language = kinds[int(scores[kinds].argmax())]
            prompt += [language, told.tasks["transcribe"]]
        return prompt if example.timed else [*prompt, told.no_timestamps]


class _OtherSubject(Subject):
    """The common part of families with a Transformers processor for features."""

    def __init__(self, speech: SpeechModel) -> None:
        family, model = speech.family, speech.model
        window = int(family.window_seconds(model.config.to_dict()) * SAMPLE_RATE)
        decoder = None if family is CTC else family.decoder(model)
        super().__init__(speech.name, model, encoder=family.encoder(model), decoder=decoder, window=window)
        model.requires_grad_(False)
        self.speech = speech

    def example(self, samples: Samples, language: str | None = None, *, timed: bool = False) -> Example:
        """See `Subject`; these models take neither a language nor times."""
        del language, timed
        with quiet():
            return Example(self.speech.family.features(self.speech.processor, [padded(samples)[: self.window]]), None)

    def encode(self, example: Example) -> None:
        """See `Subject`."""
        self.speech.family.encode(self.model, example.features)


class CtcSubject(_OtherSubject):
    """A CTC model: predictions are those of its frames."""

    def transcribed(self, example: Example) -> Example:
        """The example unchanged: the predictions of a CTC model do not depend on a transcript."""
        return example

    def logits(self, example: Example) -> Tensor:
        """See `Subject`."""
        said: Tensor = self.model(**example.features).logits[0]
        return said


class Seq2SeqSubject(_OtherSubject):
    """Any other encoder and decoder, and Linnet's own fusion models, by the model's own `generate`."""

    @torch.no_grad()
    def transcribed(self, example: Example) -> Example:
        """See `Subject`."""
        with quiet():
            said = self.model.generate(**example.features, do_sample=False, num_beams=1, max_new_tokens=MOST_TOKENS)
        return replace(example, tokens=said[0])

    def logits(self, example: Example) -> Tensor:
        """See `Subject`."""
        tokens = _tokens(example)[None]
        if self.speech.family is FUSION:
            said: Tensor = self.model(**example.features, labels=tokens).logits[0]
            return said
        made = self.model(**example.features, decoder_input_ids=tokens[:, :-1], use_cache=False)
        told: Tensor = made.logits[0]
        return told


def _tokens(example: Example) -> Tensor:
    if example.tokens is None:
        raise ValueError("this example has no transcript yet: call `transcribed` first")
    return example.tokens
