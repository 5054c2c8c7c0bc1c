"""Recognize recordings with a Whisper-family model: several windows at once, or each from the end of the last one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from linnet.alignment.aligner import Aligner
from linnet.alignment.words import TimedWord
from linnet.arrays import Array, namespace, one_thread
from linnet.audio.detectors import SHORTEST_REST, choose_detector
from linnet.audio.mel import HOP, log_mel
from linnet.audio.source import AudioSource
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.decoding.decoder import Decoder
from linnet.decoding.options import DecodingOptions
from linnet.decoding.prefix import check_options, resolve_language
from linnet.decoding.result import DecodingResult
from linnet.engines.protocol import EncoderOutput, Engine
from linnet.errors import OptionError
from linnet.models.whisper import WhisperModel
from linnet.transcription.backend import Job, Request
from linnet.transcription.coverage import LITTLE, Pace, is_crowded, is_stretched, is_thin, may_skip, speech
from linnet.transcription.ledger import Ledger, is_low_confidence
from linnet.transcription.longform import Languages, WindowTranscript, batched
from linnet.transcription.options import TranscriptionOptions
from linnet.transcription.segments import Piece, cut_pieces
from linnet.transcription.transcript import Segment
from linnet.transcription.windows import Window, WindowPlan
from linnet.transcription.words import with_words, words_of_pieces

LONGEST_GAP = 0.25  # samples of a pause: a longer one ends the window, so that less silence is encoded
TURN = SAMPLE_RATE  # samples of a pause: after a longer one, another language may be spoken
CERTAIN_SPEECH = 0.1  # below this no-speech probability, a window without words is not accepted
SHORT_CLIP = 5 * SAMPLE_RATE  # samples: for less, the language tokens alone are often uncertain
SECONDS_PER_TOKEN = 0.25  # of a prompt: not spoken
SURE = -0.5  # average log-probability of words that are accepted anywhere
UNSURE, MAYBE_SILENCE, IMPROBABLE = -0.7, 0.3, -1.2  # with little speech: below, above, and below
SPARSE = 0.3  # share of a window: less speech may be notes of an instrument
RELIABLE_TEMPERATURE = 0.5  # text sampled above it is not used as a prompt for the next window


@dataclass(frozen=True)
class WindowResult:
    """One decoded window and its given or detected language."""

    decoded: DecodingResult
    language: str | None
    probabilities: Mapping[str, float] | None = None  # of each language, if it was detected
    words: tuple[TimedWord, ...] = ()  # if word times were requested


class WhisperBackend:
    """A Whisper-family model on an engine, as `transcription.backend.Backend`."""

    def __init__(self, model: WhisperModel, engine: Engine) -> None:
        self._model = model
        self._engine = engine
        self.vocabulary = model.vocabulary
        self._decoder = Decoder(engine, model.vocabulary, max_length=model.max_length)
        self._aligner = Aligner(engine, model.vocabulary, model.alignment_heads, max_length=model.max_length)

    @property
    def model(self) -> WhisperModel:
        """What is known of the model."""
        return self._model

    @property
    def engine(self) -> Engine:
        """What runs it."""
        return self._engine

    @property
    def device(self) -> str:
        """The device of the model."""
        return self._model.device

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes for `language`."""
        return tuple(self.vocabulary.languages)

    answer = WindowResult

    @property
    def engine_name(self) -> str:
        """For reports: `torch cpu float32`."""
        return self._engine.name

    @property
    def word_times_notice(self) -> str | None:
        """A notice if word times are less exact than possible."""
        return self._model.alignment_heads.notice

    def job(self, source: AudioSource, options: TranscriptionOptions, *, ahead: int = 1) -> Job:
        """Recognize one recording. Raises `OptionError` immediately for options that the model does not support."""
        check_options(options, self.vocabulary)
        if options.language_per_segment and not self.vocabulary.languages:
            raise OptionError("this model knows English only: leave language_per_segment out")
        if options.long_form == "sequential" or options.condition_on_previous:
            return self._sequential(source, options)
        return self._batched(source, options, ahead)

    def _batched(self, source: AudioSource, options: TranscriptionOptions, ahead: int) -> Job:
        """Batched: windows of speech, several at once, for any length."""
        size = self._model.window_samples
        fits = len(source.read(0, size + 1)) <= size
        given = resolve_language(options.language, self.vocabulary)
        cheap = options.vad and given == "en"  # songs are split as rarely as possible; see `_best_window` for languages
        limit = self._best_window() if cheap and not fits else size
        gap = TURN if options.language_per_segment else round(LONGEST_GAP * size)
        plan = WindowPlan(source, limit, choose_detector(vad=options.vad), longest_gap=gap)
        recognizer = _WindowRecognizer(self, replace(options, timestamps=options.timestamps or not fits))
        languages = Languages(given, each=options.language_per_segment)
        return (yield from batched(plan, recognizer, languages, limit=limit, ahead=ahead))

    def _best_window(self) -> int:
        """The window length in samples for English: shorter than possible where padding costs little.

        Unpadded windows have no padding. In other languages, which models know less well, full windows gain a point:
        base in int8 made 202 errors in 1,530 words of eight languages with them, 218 with these (docs/lab/accuracy.md).
        """
        best = self._engine.best_sound if self._model.pads_window else None
        return self._model.window_samples if best is None else best * HOP

    def _sequential(self, source: AudioSource, options: TranscriptionOptions) -> Job:
        """Sequential: each window starts at the end of the last complete phrase (Radford et al. 2022, section 3.8)."""
        size = self._model.window_samples
        language = resolve_language(options.language, self.vocabulary)
        first: WindowResult | None = None  # with speech: it determines the language
        history: list[int] = []
        ledger = Ledger()
        seek = 0
        while len(samples := source.read(seek, size + 1)) > (SHORTEST_REST if seek else 0):
            fits = len(samples) <= size
            timed = options.timestamps or seek > 0 or not fits
            given = self.prompt(options, timed=timed)
            prompt = (*given, *history) if options.condition_on_previous else given
            request = self.request(samples[:size], options, prompt, language=language, timed=timed)
            result: WindowResult
            (result,) = yield [replace(request, position=seek / SAMPLE_RATE)]
            duration = min(len(samples), size) / SAMPLE_RATE
            pieces, advance = self.pieces(result.decoded, duration, timed=timed, options=options)
            segments = self.segments(pieces, result, seek / SAMPLE_RATE, options)
            ledger.add(segments, fell_back=result.decoded.temperature > 0.0)
            if pieces:  # silence has no language and is no prompt
                first = first or result
                language = None if options.language_per_segment else result.language
                self._remember(history, result.decoded)
            seek += min(round(advance * SAMPLE_RATE), size)
        detected = (language, None) if first is None else (first.language, first.probabilities)
        return ledger.outcome(source.duration or seek / SAMPLE_RATE, language=detected[0], probabilities=detected[1])

    def prompt(self, options: TranscriptionOptions, *, timed: bool) -> tuple[int, ...]:
        """The tokens of the options' hotwords and prompt, in the form of the previous window's end.

        In training, the preceding text had timestamps if the window had them; after text without timestamps, a model
        writes none within a window.
        """
        vocabulary = self.vocabulary
        tokens = vocabulary.prompt(options.context) if options.context else ()
        if not tokens or not timed:
            return tokens
        spoken = min(len(tokens) * SECONDS_PER_TOKEN, self._model.window_samples / SAMPLE_RATE)
        last = vocabulary.timestamp_begin + round(spoken / vocabulary.seconds_per_timestamp)
        return (vocabulary.timestamp_begin, *tokens, last)

    def request(
        self,
        samples: Samples,
        options: TranscriptionOptions,
        prompt: tuple[int, ...],
        *,
        language: str | None,
        timed: bool,
    ) -> Request:
        """The request for one window; windows with equal padded lengths and equal prompt lengths share a batch."""
        padded = self._model.padded(len(samples))
        options = replace(options, timestamps=timed)
        return Request(samples, options, group=(padded, len(prompt), options), prompt=prompt, language=language)

    def pieces(
        self, decoded: DecodingResult, duration: float, *, timed: bool, options: TranscriptionOptions
    ) -> tuple[list[Piece], float]:
        """The phrases of a window of `duration` seconds, and the seconds to advance."""
        if _is_silence(decoded, options):
            return [], duration
        if not timed:
            return ([Piece(0.0, duration, decoded.tokens)] if decoded.text.strip() else []), duration
        vocabulary = self.vocabulary
        pieces, advance = cut_pieces(
            decoded.tokens,
            timestamp_begin=vocabulary.timestamp_begin,
            precision=vocabulary.seconds_per_timestamp,
            duration=duration,
        )
        if not pieces and self._detects_speech(decoded, options):
            advance = min(advance, self._model.window_samples / SAMPLE_RATE / 4)  # try again from a little later
        return pieces, advance

    def _detects_speech(self, decoded: DecodingResult, options: TranscriptionOptions) -> bool:
        """Whether the model detects speech in a window without words."""
        known = self.vocabulary.no_speech is not None and options.no_speech_threshold is not None
        return known and decoded.no_speech_prob < CERTAIN_SPEECH

    def segments(
        self, pieces: Sequence[Piece], result: WindowResult, offset: float, options: TranscriptionOptions
    ) -> list[Segment]:
        """The segments of a window, with their words; the window starts at `offset` seconds."""
        tokens, begin = result.decoded.tokens, self.vocabulary.timestamp_begin
        words = words_of_pieces(pieces, tokens, result.words, timestamp_begin=begin)
        segments: list[Segment] = []
        for piece, own in zip(pieces, words, strict=True):
            segment = self._segment(piece, result.decoded, offset)
            if segment.text:
                earliest = segments[-1].end if segments else 0.0
                segment = with_words(segment, own, offset=offset, earliest=earliest)
                language = result.language if options.language_per_segment else None
                segments.append(replace(segment, language=language, low_confidence=is_low_confidence(segment, options)))
        return segments

    def _segment(self, piece: Piece, decoded: DecodingResult, offset: float) -> Segment:
        return Segment(
            start=round(offset + piece.start, 3),
            end=round(offset + piece.end, 3),
            text=self.vocabulary.text(piece.tokens).strip(),
            tokens=tuple(token for token in piece.tokens if token < self.vocabulary.timestamp_begin),
            avg_logprob=decoded.avg_logprob,
            no_speech_prob=decoded.no_speech_prob,
            compression_ratio=decoded.compression_ratio,
            temperature=decoded.temperature,
        )

    def _remember(self, history: list[int], decoded: DecodingResult) -> None:
        if decoded.temperature > RELIABLE_TEMPERATURE:
            history.clear()
        history += decoded.tokens  # with their timestamps: without them the next window writes none, and skips speech
        del history[: -self._model.max_length]

    def run(self, requests: Sequence[Request]) -> list[WindowResult]:
        """Recognize windows of one group in one batch."""
        padded = self._model.padded(max(len(request.samples) for request in requests))
        with one_thread():
            each = [self.features(request, padded) for request in requests]
        features = namespace(each[0]).stack(each)
        sound = [-(-len(request.samples) // HOP) for request in requests]
        encoded = self._engine.encode(features, sound)
        detected = self._detect_languages(encoded, requests)
        decoded = self._decoder.decode(
            encoded,
            requests[0].options,
            languages=[language for language, _ in detected],
            prompts=[request.prompt for request in requests],
        )
        results = [WindowResult(one, *language) for one, language in zip(decoded, detected, strict=True)]
        rows = [row for row, result in enumerate(results) if _needs_words(requests[row], result)]
        words = self._word_times(encoded.select(rows), [decoded[row] for row in rows], [requests[row] for row in rows])
        for row, own in zip(rows, words, strict=True):
            results[row] = replace(results[row], words=own)
        return results

    def features(self, request: Request, padded: int) -> Array:
        """The log-mel features [T, M] of one window of `padded` samples, on the engine's device."""
        if request.features is not None:
            return request.features
        wave = np.pad(request.samples, (0, padded - len(request.samples)))
        return log_mel(self._engine.place(wave), self._model.n_mels)

    def _word_times(
        self, encoded: EncoderOutput, decoded: Sequence[DecodingResult], requests: Sequence[Request]
    ) -> list[tuple[TimedWord, ...]]:
        """The words of each window."""
        if not requests:
            return []
        found = self._aligner.word_times(
            encoded,
            decoded,
            requests[0].options,
            samples=[request.samples for request in requests],
            prompts=[request.prompt for request in requests],
        )
        return [tuple(words) for words in found]

    def _detect_languages(
        self, encoded: EncoderOutput, requests: Sequence[Request]
    ) -> list[tuple[str | None, Mapping[str, float] | None]]:
        """The language of each window: as given (without probabilities), or the most probable one, summed over windows
        with an equal vote."""
        unknown = [row for row, request in enumerate(requests) if request.language is None]
        detected: list[tuple[str | None, Mapping[str, float] | None]] = [(one.language, None) for one in requests]
        if not unknown or not self.vocabulary.languages:
            return detected
        told = dict(zip(unknown, self._decoder.detect_language(encoded.select(unknown)), strict=True))
        for row, own in told.items():
            vote = requests[row].vote
            voices = [own] if vote is None else [told[at] for at in told if requests[at].vote is vote]
            code = max(own, key=lambda code: sum(voice[code] for voice in voices))
            if len(voices) == 1 and len(requests[row].samples) <= SHORT_CLIP:
                code = self._decoder.settle_language(
                    encoded.select([row]), own, requests[row].options, requests[row].prompt
                )
            detected[row] = (code, own)
        return detected


class _WindowRecognizer:
    """A `longform.WindowRecognizer` for Whisper-family models."""

    def __init__(self, backend: WhisperBackend, options: TranscriptionOptions) -> None:
        self._backend, self._options = backend, options
        self._prompt = backend.prompt(options, timed=options.timestamps)
        self._plain_prompt = backend.prompt(options, timed=False)
        self._pace = Pace()

    def prepare(self, window: Window) -> Window:
        """Compute the features, if this is done on the CPU anyway."""
        if self._backend.device != "cpu":
            return window
        request = self.ask(window, None, None)
        padded: int = request.group[0]
        return replace(window, features=self._backend.features(request, padded))

    def ask(self, window: Window, language: str | None, vote: Languages | None) -> Request:
        """The request for a window."""
        timed = self._timed(window)
        prompt = self._prompt if timed else self._plain_prompt
        request = self._backend.request(window.samples, self._options, prompt, language=language, timed=timed)
        return replace(
            request,
            vote=vote if vote is not None and vote.voting else None,
            features=window.features,
            needs_words=partial(self._may_skip, window) if self._options.vad and timed else None,
        )

    def read(self, window: Window, answer: WindowResult) -> WindowTranscript:
        """Segments in the recording's time; for a stretch skipped before, without those of low confidence."""
        offset, duration = window.start / SAMPLE_RATE, len(window.samples) / SAMPLE_RATE
        timed = self._timed(window)
        pieces, advance = self._backend.pieces(answer.decoded, duration, timed=timed, options=self._options)
        segments = self._backend.segments(pieces, answer, offset, self._options)
        stretched = [is_stretched(segment, window.regions) for segment in segments]
        if answer.words and not self._options.word_timestamps:  # then they only show what is missing
            segments = self._backend.segments(pieces, replace(answer, words=()), offset, self._options)
        skipping = [segment for segment, found in zip(segments, stretched, strict=True) if found]
        fell_back = answer.decoded.temperature > 0.0
        if self._options.vad:
            segments = [segment for segment in segments if not _is_invented(segment, window)]
        if window.again:
            segments = [] if fell_back else [segment for segment in segments if not segment.low_confidence]
        thin: list[Segment] = []
        if self._options.vad:
            self._pace.watch(segments, window.regions)
            least = self._pace.least
            thin = [one for one in segments if one in skipping or is_thin(one, window.regions, least)]
        return WindowTranscript(
            tuple(segments),
            offset + advance,
            fell_back=fell_back,
            language=answer.language,
            probabilities=answer.probabilities,
            thin=tuple(thin),
            skipping=tuple(one for one in thin if one in skipping),
        )

    def _may_skip(self, window: Window, result: WindowResult) -> bool:
        """Whether a phrase may be missing in a segment of a window."""
        offset, duration = window.start / SAMPLE_RATE, len(window.samples) / SAMPLE_RATE
        pieces, _ = self._backend.pieces(result.decoded, duration, timed=True, options=self._options)
        segments = self._backend.segments(pieces, result, offset, self._options)
        ends = [offset, *(one.end for one in segments)]
        usual = self._pace.usual
        return any(may_skip(one, window.regions, end, usual) for one, end in zip(segments, ends, strict=False))

    def _timed(self, window: Window) -> bool:
        """Whether a window is decoded with timestamps; skipped speech is decoded again without them."""
        return self._options.timestamps and not window.again


def _needs_words(request: Request, result: WindowResult) -> bool:
    """Whether word times were requested, or are needed to find missing words."""
    return request.options.word_timestamps or (request.needs_words is not None and request.needs_words(result))


def _is_invented(segment: Segment, window: Window) -> bool:
    """Whether words are probably hallucinated: with low confidence, and without enough speech in the audio.

    Both must agree: voice activity detection finds little speech, and the model assigns the words a low probability
    together with a high no-speech probability, or a probability that is low anywhere.
    """
    probable, silence = segment.avg_logprob, segment.no_speech_prob or 0.0
    if probable is None or probable > SURE:
        return False
    if is_crowded(segment, window.regions):
        return True
    spoken = speech(window.regions)
    if spoken < LITTLE * SAMPLE_RATE:
        return probable < IMPROBABLE or (silence > MAYBE_SILENCE and probable < UNSURE)
    return probable < IMPROBABLE and spoken < SPARSE * len(window.samples)


def _is_silence(decoded: DecodingResult, options: DecodingOptions) -> bool:
    """Whether the model predicts no speech with low confidence in its words (Radford et al. 2022, 4.5)."""
    if options.no_speech_threshold is None or decoded.no_speech_prob <= options.no_speech_threshold:
        return False
    limit = options.log_probability_threshold
    return limit is None or decoded.avg_logprob < limit
