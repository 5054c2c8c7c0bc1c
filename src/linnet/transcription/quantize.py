"""Quantize a Whisper-family model on the user's recordings, and evaluate the result on held-out ones."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from linnet.arrays import Array
from linnet.audio.detectors import PauseCutter, VoiceActivity
from linnet.audio.source import open_audio
from linnet.audio.types import Audio, Samples
from linnet.data.manifest import Utterance
from linnet.engines.choice import EngineChoice, build_engine, openvino_precision, openvino_source
from linnet.engines.openvino import OpenVinoEngine
from linnet.engines.openvino.cache import ConvertedModel, calibrate, compile_converted
from linnet.engines.protocol import Engine
from linnet.errors import AudioError, OptionError
from linnet.models.resolve import ModelRef
from linnet.notices import Notify
from linnet.scoring.corpus import Pair, Scorer
from linnet.text.normalizers import Normalizers
from linnet.timing import time_in_turn
from linnet.transcription.options import TranscriptionOptions
from linnet.transcription.recognizer import Recognizer
from linnet.transcription.texts import greedy_texts
from linnet.transcription.whisper import WhisperBackend
from linnet.transcription.windows import WindowPlan
from linnet.urls import public_name

LEAST = 8  # windows for calibration, and clips for evaluation
MOST_TIMED = 16  # windows for timing


@dataclass(frozen=True)
class CalibrationClip:
    """An utterance with its text, or a window of a recording without text."""

    name: str
    samples: Samples
    text: str | None = None
    language: str | None = None


@dataclass(frozen=True)
class QuantizationReport:
    """Errors and speed of w8a8 compared with int8.

    `errors` are those of int8 and w8a8 against the texts; without texts int8 has none, and those of w8a8 are the words
    that differ. `seconds` are medians for encoding one window; `speedup` is the median of paired int8 / w8a8.
    """

    has_texts: bool
    clips: int
    words: int
    errors: tuple[int, int]
    seconds: tuple[float, float]
    speedup: float

    @property
    def rates(self) -> tuple[float, float]:
        """Errors in percent of words."""
        return 100 * self.errors[0] / self.words, 100 * self.errors[1] / self.words

    @property
    def loss(self) -> float:
        """In percentage points; negative if w8a8 is better."""
        return self.rates[1] - self.rates[0]


def read_clips(utterances: Iterable[Utterance], window: int, *, windows: int, skipped: Notify) -> list[CalibrationClip]:
    """Read clips of these utterances in a random but fixed order, for about this number of windows of `window` samples.

    Utterances with a text are used whole; each of the others yields windows of speech: 8, or more if there are few.
    Utterances that cannot be read, or hold no speech, are reported to `skipped`. Raises `OptionError` for too little
    audio.
    """
    order = list(utterances)
    random.Random(0).shuffle(order)
    share = max(LEAST, math.ceil(windows / max(len(order), 1)))
    clips: list[CalibrationClip] = []
    left = windows
    for one in order:
        if left <= 0:
            break
        try:
            found = _clips(one, window, share)
        except AudioError as error:
            skipped(str(error))
            continue
        if not found:
            skipped(f"{public_name(one.audio)}: skipped, no speech was found in it")
        clips += found
        left -= sum(math.ceil(len(clip.samples) / window) for clip in found)
    if len(clips) < 2 * LEAST:
        raise OptionError(
            f"too little audio: {len(clips)} clips (windows of speech, or utterances with a text) of {len(order)} "
            f"recordings; at least {2 * LEAST} are needed, half to calibrate on and half to judge on: give more"
        )
    return clips


def _clips(one: Utterance, window: int, share: int) -> list[CalibrationClip]:
    with open_audio(one.audio) as source:
        if one.text is not None:
            return [CalibrationClip(one.audio, source.read(0, 2**62), one.text, one.language)]
        found = islice(WindowPlan(source, window, VoiceActivity()), share)
        return [CalibrationClip(one.audio, each.samples, language=one.language) for each in found]


class QuantizationRun:
    """Quantizes a model on one half of some clips and compares it with int8 on the other half."""

    def __init__(self, ref: ModelRef, utterances: Iterable[Utterance], *, windows: int, notify: Notify) -> None:
        """Load the model and read clips of about `windows` windows for each half.

        `notify` receives skipped recordings. Raises `ModelError`, `OptionError` (too little audio), `OpenVinoMissing`.
        """
        self._model, self._int8 = build_engine(ref, "cpu", EngineChoice("openvino", "int8"), notify)
        self._ref = ref
        clips = read_clips(utterances, self._model.window_samples, windows=2 * windows, skipped=notify)
        self.calibration, others = clips[0::2], clips[1::2]
        texts = [clip for clip in others if clip.text is not None]
        self.judged = texts if len(texts) >= LEAST else others

    def quantize(self) -> ConvertedModel:
        """Quantize to 8-bit weights and activations; the result is not kept yet. Raises `OutputError`,
        `OpenVinoMissing`."""
        windows = self._features(self.calibration)
        return calibrate(openvino_source(self._ref), openvino_precision("w8a8"), windows)

    def judge(self, converted: ConvertedModel) -> QuantizationReport:
        """Compare errors and speed of this model and int8 on the held-out clips.

        Raises `OptionError` if these hold no words.
        """
        w8a8 = OpenVinoEngine(compile_converted(converted), label="w8a8")
        transcripts = [self._texts(engine) for engine in (self._int8, w8a8)]
        has_texts = all(clip.text is not None for clip in self.judged)
        references = [clip.text or "" for clip in self.judged] if has_texts else transcripts[0]
        languages = [clip.language for clip in self.judged]
        scorer = Scorer(normalizers=Normalizers("basic"))
        counts = [scorer.score(map(Pair, references, texts, languages)).score.words for texts in transcripts]
        if not counts[0].words:
            raise OptionError("w8a8 cannot be evaluated: the held-out recordings hold no words")
        windows = self._features(self.judged[:MOST_TIMED])[:MOST_TIMED]
        times = time_in_turn(
            lambda row: self._int8.encode(windows[row][None]), lambda row: w8a8.encode(windows[row][None]), len(windows)
        )
        return QuantizationReport(
            has_texts=has_texts,
            clips=len(self.judged),
            words=counts[0].words,
            errors=(counts[0].errors, counts[1].errors),
            seconds=times.medians,
            speedup=times.speedup,
        )

    def _texts(self, engine: Engine) -> list[str]:
        """The text of each held-out clip, greedy at temperature 0, so it is deterministic."""
        backend = WhisperBackend(self._model, engine)
        recognizer = Recognizer(backend, self._ref, device="cpu", dtype=engine.name)
        recordings = [Audio(clip.samples, clip.name) for clip in self.judged]
        return greedy_texts(recognizer, recordings, [clip.language for clip in self.judged])

    def _features(self, clips: Iterable[CalibrationClip]) -> list[Array]:
        """The log-mel features [T, M] of all windows of these clips, as the model's input."""
        backend, options, size = (
            WhisperBackend(self._model, self._int8),
            TranscriptionOptions(),
            self._model.window_samples,
        )
        found = []
        for clip in clips:
            for window in WindowPlan(open_audio(Audio(clip.samples, clip.name)), size, PauseCutter()):
                request = backend.request(window.samples, options, (), language=None, timed=True)
                found.append(backend.features(request, request.group[0]))
        return found
