"""Recognize recordings with Transformers speech models other than Whisper: sequence-to-sequence, or CTC.

These models have no timestamp tokens: a recording is split into windows at pauses, and each window becomes a segment.

Shapes: B windows, T output frames of a CTC model, V vocabulary, L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from linnet.alignment.ctc import ctc_words
from linnet.alignment.words import TimedWord
from linnet.audio.detectors import choose_detector
from linnet.audio.source import AudioSource
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.errors import ModelError, OptionError
from linnet.models.families import CTC
from linnet.models.loading import quiet
from linnet.models.speech import SHORTEST, SpeechModel, load_speech_model, padded
from linnet.transcription import longform
from linnet.transcription.backend import Job, Request
from linnet.transcription.ledger import is_low_confidence
from linnet.transcription.longform import Languages, batched
from linnet.transcription.options import TranscriptionOptions
from linnet.transcription.transcript import Segment
from linnet.transcription.windows import Window, WindowPlan
from linnet.transcription.words import with_words

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from linnet.models.resolve import ModelRef

MOST_TOKENS = 448  # per window, if the model's generation config has no limit

_DEFAULTS = TranscriptionOptions()
_FREE = {"timestamps", "seed", "vad", "long_form"}  # without effect here
_HONORED = {
    "ctc": frozenset(_FREE | {"word_timestamps"}),
    "seq2seq": frozenset(
        _FREE | {"beam_size", "length_penalty", "max_new_tokens", "suppress_tokens", "begin_suppress_tokens"}
    ),
}
_WHY_NOT = {
    "language": "it has no language option and recognizes the language of its training",
    "language_per_segment": "it does not detect languages",
    "task": "it only transcribes",
    "prompt": "it takes no prompt",
    "hotwords": "it takes no prompt",
    "word_timestamps": "only Whisper-family and CTC models give word times",
}


@dataclass(frozen=True)
class GenericWindowResult:
    """The text of one window and its times, in seconds from its start."""

    text: str
    start: float
    end: float
    avg_logprob: float
    words: tuple[TimedWord, ...] = ()
    tokens: tuple[int, ...] = field(kw_only=True)  # of the text; a journal entry without them is recognized again


def load_generic(ref: ModelRef, *, device: str, dtype: torch.dtype) -> GenericBackend:
    """Load a sequence-to-sequence or CTC model from its folder. Raises `ModelError` if it is unsuitable or damaged."""
    return GenericBackend(load_speech_model(ref, device=device, dtype=dtype))


class GenericBackend:
    """A sequence-to-sequence or CTC model of Transformers, as `transcription.backend.Backend`.

    Windows of different lengths share a batch only if padding does not change the encoder's output, so that results do
    not depend on batching. This is measured when the model is loaded: models without an attention mask, with a
    normalization over time or with unmasked convolutions only batch equal lengths.
    """

    def __init__(self, speech: SpeechModel) -> None:
        self._speech = speech
        seconds = speech.family.window_seconds(speech.model.config.to_dict())
        self._window = max(SHORTEST, int(seconds * SAMPLE_RATE))
        self._pads_safely = self._probe_padding()

    answer = GenericWindowResult

    @property
    def languages(self) -> tuple[str, ...]:
        """Empty: these models take no language."""
        return ()

    @property
    def engine_name(self) -> str:
        """For reports: `transformers ctc cpu float32`, `openvino ctc cpu int8`."""
        if self._speech.label is not None:
            return self._speech.label
        dtype = str(self._speech.dtype).removeprefix("torch.")
        return f"transformers {self._speech.family.name} {self._speech.device} {dtype}"

    def job(self, source: AudioSource, options: TranscriptionOptions, *, ahead: int = 1) -> Job:
        """Recognize one recording. Raises `OptionError` immediately for options that the model does not support."""
        _check(options, self._speech)
        return self._windows(source, options, ahead)

    def _windows(self, source: AudioSource, options: TranscriptionOptions, ahead: int) -> Job:
        plan = WindowPlan(source, self._window, choose_detector(vad=options.vad))
        recognizer = _WindowRecognizer(self, options)
        return (yield from batched(plan, recognizer, Languages(None, each=True), limit=self._window, ahead=ahead))

    def request(self, samples: Samples, options: TranscriptionOptions) -> Request:
        """The request for one window."""
        samples = padded(samples)
        length = None if self._pads_safely else len(samples)
        return Request(samples, options, group=(options, length))

    def run(self, requests: Sequence[Request]) -> list[GenericWindowResult]:
        """Recognize windows of one group together."""
        import torch

        durations = [len(request.samples) / SAMPLE_RATE for request in requests]
        with torch.inference_mode(), quiet():
            features = self._features([request.samples for request in requests])
            if self._speech.family is CTC:
                return self._run_ctc(features, durations, requests[0].options)
            return self._run_seq2seq(features, durations, requests[0].options)

    def _features(self, windows: Sequence[Samples]) -> dict[str, Tensor]:
        """The processor's tensors for windows padded to the longest, on the model's device and in its precision."""
        processor = self._speech.processor
        try:
            with quiet(), np.errstate(all="ignore"):
                made = self._speech.family.features(processor, windows)
        except Exception as error:  # its settings come from the folder: any error is possible
            raise self._unfit(processor, error) from error
        return {name: self._placed(value) for name, value in made.items()}

    def _unfit(self, part: Any, error: Exception) -> ModelError:
        said = f"{type(part).__name__}: {str(error).splitlines()[0] if str(error) else repr(error)}"
        return ModelError(f"model {self._speech.name} needs more than audio, which Linnet does not support: {said}")

    def _probe_padding(self) -> bool:
        """Whether half a second of noise is encoded equally with and without padding to one second."""
        import torch

        noise = np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32) * 0.1
        half = noise[: SAMPLE_RATE // 2]
        with torch.inference_mode(), quiet():
            alone, both = self._features([half]), self._features([half, noise])
            model, family = self._speech.model, self._speech.family
            if "attention_mask" not in both or (family is CTC and family.frame_counter(model) is None):
                return False
            try:
                short, padded = (family.encode(model, given)[0] for given in (alone, both))
            except (TypeError, ValueError, AttributeError, RuntimeError, LookupError, ArithmeticError):
                return False  # an encoder that needs more inputs: never pad
        difference = (short - padded[: len(short)]).abs().max()
        tolerance = 1e-4 if self._speech.dtype == torch.float32 else 5e-2
        return bool(difference <= tolerance * short.abs().max())

    def _placed(self, value: Tensor) -> Tensor:
        value = value.to(self._speech.device)
        return value.to(self._speech.dtype).nan_to_num() if value.is_floating_point() else value

    def _run_ctc(
        self, features: dict[str, Tensor], durations: Sequence[float], options: TranscriptionOptions
    ) -> list[GenericWindowResult]:
        model = self._speech.model
        log_probabilities = model(**features).logits.float().log_softmax(-1)  # [B, T, V]
        best, tokens = log_probabilities.max(-1)  # [B, T] each
        mask = features.get("attention_mask")
        lengths = [tokens.shape[1]] * len(tokens)
        if mask is not None and (count := self._speech.family.frame_counter(model)) is not None:
            lengths = [min(int(length), tokens.shape[1]) for length in count(mask.sum(-1))]
        rows = zip(tokens.cpu(), best.cpu(), lengths, durations, strict=True)
        timed = options.word_timestamps
        return [self.ctc_window(row[:n], scores[:n], seconds, timed=timed) for row, scores, n, seconds in rows]

    def ctc_window(self, tokens: Tensor, scores: Tensor, seconds: float, *, timed: bool = False) -> GenericWindowResult:
        """The text and times of the most probable tokens [T] of one window; scores [T] are their log-probabilities."""
        tokenizer = self._speech.tokenizer
        silent = {self._speech.model.config.pad_token_id, getattr(tokenizer, "word_delimiter_token_id", None)}
        spoken = [index for index, token in enumerate(tokens.tolist()) if token not in silent]
        if not spoken:
            return GenericWindowResult("", 0.0, seconds, 0.0, tokens=())
        frame = seconds / len(tokens)
        text = _ctc_text(tokenizer, tokens.tolist())
        words: tuple[TimedWord, ...] = ()
        if timed:
            spelled = partial(_ctc_text, tokenizer)
            words = ctc_words(tokens.tolist(), scores.tolist(), silent, spelled, seconds=seconds)
        return GenericWindowResult(
            text,
            spoken[0] * frame,
            (spoken[-1] + 1) * frame,
            float(scores.mean()),
            words,
            tokens=_ctc_tokens(tokenizer, tokens.tolist()),
        )

    def _run_seq2seq(
        self, features: dict[str, Tensor], durations: Sequence[float], options: TranscriptionOptions
    ) -> list[GenericWindowResult]:
        from transformers import LogitsProcessorList

        recorder = _Recorder()
        try:
            made = self._speech.model.generate(
                **features,
                **_generation(self._speech.model, options),
                logits_processor=LogitsProcessorList([recorder] if options.beam_size == 1 else []),
                return_dict_in_generate=True,
                output_scores=options.beam_size > 1,
            )
        except (TypeError, ValueError) as error:
            raise self._unfit(self._speech.model, error) from error
        texts = self._speech.tokenizer.batch_decode(made.sequences, skip_special_tokens=True)
        special = set(self._speech.tokenizer.all_special_ids)
        spelled = [tuple(token for token in row if token not in special) for row in made.sequences.tolist()]
        if options.beam_size == 1:
            averages = recorder.averages(_ends(self._speech.model))
        else:
            averages = _beam_averages(self._speech.model, made)
        rows = zip(texts, durations, averages, spelled, strict=True)
        return [GenericWindowResult(text, 0.0, seconds, mean, tokens=own) for text, seconds, mean, own in rows]


class _WindowRecognizer:
    """A `longform.WindowRecognizer` for this family.

    Windows are independent and never decoded again, since these models do not tell where they stopped.
    """

    def __init__(self, backend: GenericBackend, options: TranscriptionOptions) -> None:
        self._backend, self._options = backend, options

    def prepare(self, window: Window) -> Window:
        """The window unchanged."""
        return replace(window, joined=False, regions=())

    def ask(self, window: Window, language: str | None, vote: Any) -> Request:
        """The request for a window."""
        del language, vote
        return self._backend.request(window.samples, self._options)

    def read(self, window: Window, answer: GenericWindowResult) -> longform.WindowTranscript:
        """One segment, or none."""
        offset, duration = window.start / SAMPLE_RATE, len(window.samples) / SAMPLE_RATE
        segments = _segments(answer, offset, duration)
        flagged = [replace(segment, low_confidence=is_low_confidence(segment, self._options)) for segment in segments]
        return longform.WindowTranscript(tuple(flagged), resume=offset + duration)


class _Recorder:
    """A final logits processor that records the log-probability of each step's most probable token, without keeping
    logits."""

    def __init__(self) -> None:
        self._tokens: list[Tensor] = []
        self._scores: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        del input_ids
        best, tokens = scores.float().log_softmax(-1).max(-1)  # [B] each
        self._tokens.append(tokens)
        self._scores.append(best)
        return scores

    def averages(self, ends: Sequence[int]) -> list[float]:
        """The mean per row over its tokens, including the first end token."""
        import torch

        tokens, scores = torch.stack(self._tokens, 1), torch.stack(self._scores, 1)  # [B, L]
        ended = torch.isin(tokens, torch.tensor(ends, dtype=tokens.dtype, device=tokens.device)).cumsum(1)
        counted = (ended == 0) | ((ended == 1) & (ended.diff(dim=1, prepend=torch.zeros_like(ended[:, :1])) == 1))
        means = (scores * counted).sum(1) / counted.sum(1)
        return [float(mean) for mean in means]


def _ctc_text(tokenizer: Any, tokens: Sequence[int]) -> str:
    """The text after merging repetitions, then removing blanks and other special tokens.

    `skip_special_tokens` of the CTC tokenizers removes blanks first, which merges double letters (hello: helo).
    """
    merged = [token for token, _ in groupby(tokens)]
    text: str = tokenizer.decode(merged, skip_special_tokens=False)
    for special in set(tokenizer.all_special_tokens) - {getattr(tokenizer, "word_delimiter_token", None)}:
        text = text.replace(special, "")
    return text


def _ctc_tokens(tokenizer: Any, tokens: Sequence[int]) -> tuple[int, ...]:
    """The tokens of `_ctc_text`: repetitions merged, without blanks and other special tokens, with word delimiters."""
    silent = set(tokenizer.all_special_ids) - {getattr(tokenizer, "word_delimiter_token_id", None)}
    return tuple(token for token, _ in groupby(tokens) if token not in silent)


def _segments(result: GenericWindowResult, offset: float, duration: float) -> list[Segment]:
    """One segment, or none without text; times are clipped to the window without padding."""
    text = result.text.strip()
    if not text:
        return []
    start, end = min(result.start, duration), min(result.end, duration)
    segment = Segment(round(offset + start, 3), round(offset + end, 3), text, result.tokens, result.avg_logprob)
    words = [replace(word, start=min(word.start, duration), end=min(word.end, duration)) for word in result.words]
    return [with_words(segment, words, offset=offset)]


def _check(options: TranscriptionOptions, speech: SpeechModel) -> None:
    """Raise `OptionError` for options that differ from their default and that this family does not support."""
    for each in fields(options):
        value = getattr(options, each.name)
        if each.name in _HONORED[speech.family.name] or value == getattr(_DEFAULTS, each.name):
            continue
        if value is None or (each.name == "temperatures" and value == (0.0,)):
            continue  # a disabled fallback: there is none anyway
        why = _WHY_NOT.get(each.name, f"{speech.family.title} models other than Whisper have no such option")
        raise OptionError(f"model {speech.name} does not support {each.name}={value!r}: {why}")


def _generation(model: Any, options: TranscriptionOptions) -> dict[str, Any]:
    """Arguments of `generate`; defaults come from the model's generation config."""
    config = model.generation_config
    most = options.max_new_tokens
    if most is None and config.max_length is None and config.max_new_tokens is None:
        most = MOST_TOKENS
    decoder = model.config.get_text_config(decoder=True)
    positions = getattr(decoder, "max_target_positions", None) or getattr(decoder, "max_position_embeddings", None)
    if most is not None and positions is not None:
        most = min(most, positions - 2)
    chosen: dict[str, Any] = {
        "num_beams": options.beam_size,
        "do_sample": False,
        "max_new_tokens": most,
        "length_penalty": options.length_penalty if options.beam_size > 1 else None,
        "suppress_tokens": options.suppress_tokens and list(options.suppress_tokens),
        "begin_suppress_tokens": options.begin_suppress_tokens and list(options.begin_suppress_tokens),
    }
    return {name: value for name, value in chosen.items() if value is not None}


def _ends(model: Any) -> list[int]:
    end = model.generation_config.eos_token_id
    return [] if end is None else [end] if isinstance(end, int) else list(end)


def _beam_averages(model: Any, made: Any) -> list[float]:
    """The mean log-probability of the tokens of each best hypothesis."""
    scores = model.compute_transition_scores(made.sequences, made.scores, made.beam_indices)  # [B, L]
    counts = (made.beam_indices >= 0).sum(1).clamp(min=1)
    return [float(mean) for mean in scores.nan_to_num(neginf=0.0).sum(1) / counts]
