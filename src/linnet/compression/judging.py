"""What a compressed model costs in words and gains in time, beside the model that it was made from."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from linnet.audio.mel import log_mel
from linnet.audio.types import SAMPLE_RATE, Audio, Samples
from linnet.data.manifest import Utterance
from linnet.data.samples import UtteranceReader
from linnet.decoding.options import DecodingOptions
from linnet.engines.choice import EngineConfig, build_engine, choose
from linnet.engines.protocol import EncoderEngine
from linnet.errors import AudioError, OptionError
from linnet.models.families import WHISPER, family_of
from linnet.models.resolve import ModelRef
from linnet.notices import Notify
from linnet.scoring.bootstrap import Interval, bootstrap_interval, bootstrap_ratio
from linnet.scoring.clusters import choose_clusters
from linnet.scoring.corpus import Pair, Scorer
from linnet.text.normalizers import Normalizers
from linnet.transcription.recognizer import Recognizer, load

COMPUTE_TYPES = ("f32", "bf16", "int8")
NOISE_DB = 5.0
ROUNDS = 7

Change = Callable[[Samples, np.random.Generator], Samples]


# --- words


def as_recorded(samples: Samples, random: np.random.Generator) -> Samples:
    """The samples [N] as they are."""
    del random
    return samples


def noisy(samples: Samples, random: np.random.Generator) -> Samples:
    """With white noise, 5 dB below the level of the whole recording [N]."""
    level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) * 10 ** (-NOISE_DB / 20)
    return samples + random.normal(0.0, level, len(samples)).astype(np.float32)


def narrow(samples: Samples, random: np.random.Generator) -> Samples:
    """With what a line of 8 kHz lets through [N]."""
    import soxr

    del random
    there = soxr.resample(samples, SAMPLE_RATE, 8000)
    back: Samples = soxr.resample(there, 8000, SAMPLE_RATE).astype(np.float32)
    return np.pad(back, (0, max(0, len(samples) - len(back))))[: len(samples)]


CONDITIONS: dict[str, Change] = {"as recorded": as_recorded, "white noise at 5 dB": noisy, "8 kHz line": narrow}


@dataclass(frozen=True)
class Judgment:
    """Errors of the dense model and the compressed one on the same utterances, changed in the same way.

    `rates` with their intervals, and the interval of the difference, paired; None where there are too few utterances.
    """

    condition: str
    utterances: int
    words: int
    errors: tuple[int, int]
    intervals: tuple[Interval | None, Interval | None]
    difference: Interval | None
    skipped: int = 0

    @property
    def rates(self) -> tuple[float, float]:
        """Word error rates."""
        return self.errors[0] / self.words, self.errors[1] / self.words


def judge(
    models: tuple[ModelRef, ModelRef],
    utterances: Sequence[Utterance],
    *,
    compute_type: str = "f32",
    threads: int | None = None,
    conditions: Sequence[str] = tuple(CONDITIONS),
    normalizer: str = "auto",
    notify: Notify | None = None,
) -> list[Judgment]:
    """Transcribe utterances with texts by both models, greedily, under each condition.

    Utterances whose audio cannot be read are reported to `notify` and counted. Raises `OptionError` where no words are
    left, `ModelError` for a model that cannot be loaded.
    """
    say = notify or (lambda _: None)
    known = [one for one in utterances if one.text is not None]
    sounds = _read(known, say)
    rows = [one for one, samples in zip(known, sounds, strict=True) if samples is not None]
    kept = [samples for samples in sounds if samples is not None]
    if not any((one.text or "").strip() for one in rows):
        raise OptionError("the test utterances hold no words: give a manifest with the text of each utterance")
    recognizers = [load(str(ref.path), device="cpu", compute_type=compute_type, threads=threads) for ref in models]
    scorer = Scorer(normalizers=Normalizers(normalizer))
    found = []
    for name in conditions:
        say(f"transcribing {len(rows)} utterances by both models: {name}")
        changed = [CONDITIONS[name](samples, np.random.default_rng(row)) for row, samples in enumerate(kept)]
        texts = [_transcribe(recognizer, rows, changed) for recognizer in recognizers]
        found.append(_judgment(name, rows, texts, scorer, len(known) - len(rows)))
    return found


def _read(utterances: Sequence[Utterance], say: Notify) -> list[Samples | None]:
    found: list[Samples | None] = []
    with UtteranceReader() as listener:
        for one in utterances:
            try:
                found.append(listener.hear(one).samples)
            except AudioError as error:
                say(f"left out: {error}")
                found.append(None)
    return found


def _transcribe(recognizer: Recognizer, rows: Sequence[Utterance], sounds: Sequence[Samples]) -> list[str]:
    texts = [""] * len(rows)
    languages = recognizer.languages
    for language in dict.fromkeys(one.language for one in rows):
        chosen = [row for row, one in enumerate(rows) if one.language == language]
        options = DecodingOptions(language=language if language in languages else None, temperatures=(0.0,))
        given = [Audio(sounds[row], rows[row].id) for row in chosen]
        for result in recognizer.transcribe_many(given, options=options):
            if result.transcript is None:
                raise result.error or AssertionError("a result holds a transcript or an error")
            texts[chosen[result.index]] = result.transcript.text
    return texts


def _judgment(
    name: str, rows: Sequence[Utterance], texts: Sequence[Sequence[str]], scorer: Scorer, skipped: int
) -> Judgment:
    counts = []
    for heard in texts:
        pairs = [Pair(one.text or "", text, one.language) for one, text in zip(rows, heard, strict=True)]
        counts.append(scorer.score(pairs).words)
    words = counts[0][:, 0].astype(np.float64)
    dense, made = (each[:, 1:].sum(1).astype(np.float64) for each in counts)
    clusters = choose_clusters(rows)
    difference = bootstrap_ratio(made - dense, words, clusters=clusters)
    return Judgment(
        condition=name,
        utterances=len(rows),
        words=int(words.sum()),
        errors=(int(dense.sum()), int(made.sum())),
        intervals=(
            bootstrap_interval(dense, words, clusters=clusters),
            bootstrap_interval(made, words, clusters=clusters),
        ),
        difference=None if difference is None else difference.interval,
        skipped=skipped,
    )


# --- time


@dataclass(frozen=True)
class EncoderTime:
    """Milliseconds of both encoders for one window, medians over rounds in turn, and the median of their ratios."""

    compute_type: str
    dense: float
    compressed: float
    speedup: float
    ratios: tuple[float, ...] = field(default=(), repr=False)


def time_encoders(
    models: tuple[ModelRef, ModelRef],
    *,
    compute_types: Sequence[str] = COMPUTE_TYPES,
    threads: int | None = None,
    rounds: int = ROUNDS,
    notify: Notify | None = None,
) -> list[EncoderTime]:
    """Time one full window of noise through both Whisper encoders on the CPU, in turn, A B B A.

    Empty for models of other families. Raises `ModelError`.
    """
    say = notify or (lambda _: None)
    if any(family_of(ref.path) is not WHISPER for ref in models):
        return []
    found = []
    for kind in compute_types:
        say(f"timing both encoders in {kind}")
        wanted = EngineConfig("auto", kind, threads)
        built = [build_engine(ref, "cpu", choose(ref, "cpu", wanted, _silent), _silent) for ref in models]
        model = built[0][0]
        sound = np.random.default_rng(0).normal(0.0, 0.05, model.window_samples).astype(np.float32)
        features = log_mel(sound, model.n_mels)[None]
        found.append(_timed(kind, (built[0][1], built[1][1]), features, rounds))
    return found


def _timed(kind: str, engines: tuple[EncoderEngine, EncoderEngine], features: np.ndarray, rounds: int) -> EncoderTime:
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):  # the first to warm up
        order = (0, 1) if number % 2 else (1, 0)
        for index in order:
            begun = time.perf_counter()
            engines[index].encode(engines[index].place(features))
            times[index].append(1000 * (time.perf_counter() - begun))
    dense, made = times[0][1:], times[1][1:]
    ratios = tuple(a / b for a, b in zip(dense, made, strict=True))
    return EncoderTime(kind, statistics.median(dense), statistics.median(made), statistics.median(ratios), ratios)


def _silent(sentence: str) -> None:
    del sentence
