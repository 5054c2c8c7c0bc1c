"""Word error rates of a compressed model, compared with its dense model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from linnet.audio.types import SAMPLE_RATE, Audio, Samples
from linnet.data.manifest import Utterance
from linnet.data.samples import UtteranceReader
from linnet.errors import AudioError, OptionError
from linnet.models.resolve import ModelRef
from linnet.notices import Notify, ignore
from linnet.scoring.bootstrap import Interval, bootstrap_interval, bootstrap_ratio
from linnet.scoring.clusters import choose_clusters
from linnet.scoring.corpus import Pair, Scorer
from linnet.text.normalizers import Normalizers
from linnet.transcription.recognizer import Recognizer, load
from linnet.transcription.texts import greedy_texts

NOISE_DB = 5.0

Change = Callable[[Samples, np.random.Generator], Samples]


def as_recorded(samples: Samples, random: np.random.Generator) -> Samples:
    """The samples [N] unchanged."""
    del random
    return samples


def noisy(samples: Samples, random: np.random.Generator) -> Samples:
    """Add white noise, 5 dB below the level of the whole recording [N]."""
    level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) * 10 ** (-NOISE_DB / 20)
    return samples + random.normal(0.0, level, len(samples)).astype(np.float32)


def narrow(samples: Samples, random: np.random.Generator) -> Samples:
    """Limit to the bandwidth of 8 kHz audio [N]."""
    import soxr

    del random
    there = soxr.resample(samples, SAMPLE_RATE, 8000)
    back: Samples = soxr.resample(there, 8000, SAMPLE_RATE).astype(np.float32)
    return np.pad(back, (0, max(0, len(samples) - len(back))))[: len(samples)]


CONDITIONS: dict[str, Change] = {"as recorded": as_recorded, "white noise at 5 dB": noisy, "8 kHz line": narrow}


@dataclass(frozen=True)
class Judgment:
    """Errors of the dense and the compressed model on the same utterances under one condition.

    `rates` with their intervals, and the paired interval of the difference; None for too few utterances.
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
    say = notify or ignore
    known = [one for one in utterances if one.text is not None]
    sounds = _read(known, say)
    rows = [one for one, samples in zip(known, sounds, strict=True) if samples is not None]
    kept = [samples for samples in sounds if samples is not None]
    check_words(rows)
    recognizers = [load(str(ref.path), device="cpu", compute_type=compute_type, threads=threads) for ref in models]
    scorer = Scorer(normalizers=Normalizers(normalizer))
    found = []
    for name in conditions:
        say(f"transcribing {len(rows)} utterances by both models: {name}")
        changed = [CONDITIONS[name](samples, np.random.default_rng(row)) for row, samples in enumerate(kept)]
        texts = [_texts(recognizer, rows, changed) for recognizer in recognizers]
        found.append(_judgment(name, rows, texts, scorer, len(known) - len(rows)))
    return found


def check_words(utterances: Sequence[Utterance]) -> None:
    """Raise `OptionError` where there is nothing to count errors in."""
    if not any((one.text or "").strip() for one in utterances):
        raise OptionError("the test utterances hold no words: give a manifest with the text of each utterance")


def _read(utterances: Sequence[Utterance], say: Notify) -> list[Samples | None]:
    found: list[Samples | None] = []
    with UtteranceReader() as listener:
        for one in utterances:
            try:
                found.append(listener.read(one).samples)
            except AudioError as error:
                say(f"left out: {error}")
                found.append(None)
    return found


def _texts(recognizer: Recognizer, rows: Sequence[Utterance], sounds: Sequence[Samples]) -> list[str]:
    """The transcripts, in the utterance's language if the model supports it."""
    known = recognizer.languages
    recordings = [Audio(samples, one.id) for one, samples in zip(rows, sounds, strict=True)]
    return greedy_texts(recognizer, recordings, [one.language if one.language in known else None for one in rows])


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
