"""Recognising recordings with a Whisper-family model: each window starts where the last one ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from linnet.audio.mel import log_mel
from linnet.audio.source import AudioSource
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.decoding.decoder import Decoder
from linnet.decoding.options import DecodingOptions
from linnet.decoding.prefix import check_options, resolve_language
from linnet.decoding.result import Decoded
from linnet.engines.protocol import Encoded, Engine
from linnet.models.whisper import WhisperModel
from linnet.transcription.backend import Job, Outcome, Request
from linnet.transcription.segments import Piece, cut_pieces
from linnet.transcription.transcript import Segment

SHORTEST_REST = SAMPLE_RATE // 10  # samples at a recording's end that hold no word
CERTAIN_SPEECH = 0.1  # below this probability of silence a window without words is not believed
RELIABLE_TEMPERATURE = 0.5  # text sampled above it is no prompt for the next window


@dataclass(frozen=True)
class WindowResult:
    """One decoded window and the language heard or given."""

    decoded: Decoded
    language: str | None
    language_probability: float | None


class WhisperBackend:
    """A Whisper-family model on an engine, as `transcription.backend.Backend`."""

    def __init__(self, model: WhisperModel, engine: Engine) -> None:
        self._model = model
        self._engine = engine
        self._vocabulary = model.vocabulary
        self._decoder = Decoder(engine, model.vocabulary, max_length=model.max_length)

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes that `language` may name."""
        return tuple(self._vocabulary.languages)

    @property
    def engine_name(self) -> str:
        """For reports: `torch cpu float32`."""
        return self._engine.name

    def job(self, source: AudioSource, options: DecodingOptions) -> Job:
        """Recognise one recording window by window. Raises `OptionError` at once for what the model cannot do."""
        check_options(options, self._vocabulary)
        return self._sequential(source, options)

    def _sequential(self, source: AudioSource, options: DecodingOptions) -> Job:
        size = self._model.window_samples
        language = resolve_language(options.language, self._vocabulary)
        given = self._vocabulary.prompt(options.prompt) if options.prompt else ()
        probability: float | None = None
        history: list[int] = []
        segments: list[Segment] = []
        seek = 0
        while len(samples := source.window(seek, size + 1)) > (SHORTEST_REST if seek else 0):
            fits = len(samples) <= size
            timed = options.timestamps or seek > 0 or not fits
            prompt = (*given, *history) if options.condition_on_previous else given
            request = self._request(samples[:size], options, prompt, language=language, timed=timed)
            result: WindowResult = yield replace(request, position=seek / SAMPLE_RATE)
            duration = min(len(samples), size) / SAMPLE_RATE
            pieces, advance = self._pieces(result.decoded, duration, timed=timed, options=options)
            found = [self._segment(piece, result.decoded, seek / SAMPLE_RATE) for piece in pieces]
            segments += [segment for segment in found if segment.text]
            if pieces:  # silence tells no language and makes no prompt
                language, probability = result.language, probability or result.language_probability
                self._remember(history, result.decoded)
            seek += min(round(advance * SAMPLE_RATE), size)
        return Outcome(tuple(segments), language, probability)

    def _request(
        self, samples: Samples, options: DecodingOptions, prompt: tuple[int, ...], *, language: str | None, timed: bool
    ) -> Request:
        padded = self._padded(len(samples))
        options = replace(options, timestamps=timed)
        return Request(samples, options, group=(padded, len(prompt), options), prompt=prompt, language=language)

    def _padded(self, count: int) -> int:
        """Samples that the encoder is given: whole windows, or whole seconds where the model was trained so."""
        if self._model.pads_window:
            return self._model.window_samples
        return min(math.ceil(count / SAMPLE_RATE) * SAMPLE_RATE, self._model.window_samples)

    def _pieces(
        self, decoded: Decoded, duration: float, *, timed: bool, options: DecodingOptions
    ) -> tuple[list[Piece], float]:
        if _is_silence(decoded, options):
            return [], duration
        if not timed:
            return ([Piece(0.0, duration, decoded.tokens)] if decoded.text.strip() else []), duration
        vocabulary = self._vocabulary
        pieces, advance = cut_pieces(
            decoded.tokens,
            timestamp_begin=vocabulary.timestamp_begin,
            precision=vocabulary.seconds_per_timestamp,
            duration=duration,
        )
        if not pieces and self._hears_speech(decoded, options):
            advance = min(advance, self._model.window_samples / SAMPLE_RATE / 4)  # look again from a little later
        return pieces, advance

    def _hears_speech(self, decoded: Decoded, options: DecodingOptions) -> bool:
        """Whether a window without words is one in which the model says that somebody speaks."""
        known = self._vocabulary.no_speech is not None and options.no_speech_threshold is not None
        return known and decoded.no_speech_probability < CERTAIN_SPEECH

    def _segment(self, piece: Piece, decoded: Decoded, offset: float) -> Segment:
        return Segment(
            start=round(offset + piece.start, 3),
            end=round(offset + piece.end, 3),
            text=self._vocabulary.text(piece.tokens).strip(),
            average_log_probability=decoded.average_log_probability,
            no_speech_probability=decoded.no_speech_probability,
            compression_ratio=decoded.compression_ratio,
            temperature=decoded.temperature,
        )

    def _remember(self, history: list[int], decoded: Decoded) -> None:
        if decoded.temperature > RELIABLE_TEMPERATURE:
            history.clear()
        history += [token for token in decoded.tokens if token < self._vocabulary.timestamp_begin]
        del history[: -self._model.max_length]

    def run(self, requests: Sequence[Request]) -> list[WindowResult]:
        """Recognise windows of one group in one batch."""
        padded = self._padded(max(len(request.samples) for request in requests))
        waves = torch.zeros(len(requests), padded)
        for row, request in enumerate(requests):
            waves[row, : len(request.samples)] = torch.from_numpy(request.samples)
        encoded = self._engine.encode(log_mel(waves.to(self._model.device), self._model.n_mels))
        heard = self._hear_languages(encoded, [request.language for request in requests])
        decoded = self._decoder.decode(
            encoded,
            requests[0].options,
            languages=[language for language, _ in heard],
            prompts=[request.prompt for request in requests],
        )
        return [WindowResult(result, *language) for result, language in zip(decoded, heard, strict=True)]

    def _hear_languages(self, encoded: Encoded, given: Sequence[str | None]) -> list[tuple[str | None, float | None]]:
        """Each window's language with its probability: as given (no probability), or the most probable one."""
        unknown = [row for row, language in enumerate(given) if language is None]
        heard: list[tuple[str | None, float | None]] = [(language, None) for language in given]
        if not unknown or not self._vocabulary.languages:
            return heard
        for row, probabilities in zip(unknown, self._decoder.detect_language(encoded.select(unknown)), strict=True):
            best = max(probabilities, key=probabilities.__getitem__)
            heard[row] = (best, probabilities[best])
        return heard


def _is_silence(decoded: Decoded, options: DecodingOptions) -> bool:
    """Whether the model says that nobody speaks and is not sure of the words it found (Radford et al. 2022, 4.5)."""
    if options.no_speech_threshold is None or decoded.no_speech_probability <= options.no_speech_threshold:
        return False
    limit = options.log_probability_threshold
    return limit is None or decoded.average_log_probability < limit
