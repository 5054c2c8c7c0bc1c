"""Training data of a causal model: utterances with word times, validated, joined, cut, augmented and batched."""

from __future__ import annotations

import math
import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from linnet.alignment.forced import text_tokens
from linnet.audio.effects import colored
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.data import Utterance, open_source
from linnet.data.aligned import AlignedUtterance, read_aligned
from linnet.data.manifest import WordTime
from linnet.data.samples import UtteranceReader
from linnet.decoding.options import DecodingOptions
from linnet.decoding.prefix import build_prefix
from linnet.errors import AudioError, OptionError
from linnet.models.whisper import WhisperModel
from linnet.training.batch import Batch
from linnet.training.causal.batches import Shape, causal_tensors, window_tensors
from linnet.training.causal.points import Rng
from linnet.training.causal.recipe import CausalData, CausalRecipe
from linnet.training.causal.targets import CausalExample, from_middle
from linnet.training.context import RunContext
from linnet.training.speech.augment import SLOWEST, augmented
from linnet.training.speech.recipe import AugmentOptions

_NAMED = 10
_NEAR = 0.1  # share of the corpus, sorted by length, from which a batch is drawn
_LONGEST_GAP = 1.2  # seconds between joined utterances


@dataclass(frozen=True, eq=False)
class AlignedClip:
    """One utterance with the tokens of its words, and for each token the start and end of its word in seconds."""

    aligned: AlignedUtterance
    seconds: float
    tokens: tuple[int, ...]
    starts: tuple[float, ...]
    ends: tuple[float, ...]


def read_clips(paths: Sequence[str], whisper: WhisperModel, longest: float, context: RunContext) -> list[AlignedClip]:
    """Read the usable utterances of manifests with word times, of at most `longest` seconds.

    Raises `OptionError` that names unusable utterances (with `context.skip_bad` they are skipped and reported), or if
    none is left.
    """
    clips: list[AlignedClip] = []
    bad: list[str] = []
    long = 0
    for path in paths:
        for found in read_aligned(Path(path)):
            if isinstance(found, str):
                bad.append(found)
                continue
            seconds = found.utterance.stated_duration
            if seconds is None:
                bad.append(f"{found.utterance.id}: has no duration: make the manifest with  linnet data align")
            elif seconds > longest:
                long += 1
            else:
                clips.append(AlignedClip(found, seconds, *token_times(whisper.vocabulary.tokenizer, found.words)))
    if long:
        context.notify(f"{long} of {long + len(clips)} utterances are skipped: longer than {longest:g} s")
    _settle(bad, context)
    if not clips:
        raise OptionError(f"no utterance with word times found in {', '.join(paths) or 'no manifest at all'}.")
    return clips


def read_unlabeled(paths: Sequence[str], longest: float, context: RunContext) -> list[AlignedClip]:
    """Recordings without words, for the teacher's frames alone, in equal pieces of at most `longest` seconds.

    Raises `OptionError` that names unusable recordings (with `context.skip_bad` they are skipped and reported).
    """
    clips: list[AlignedClip] = []
    bad: list[str] = []
    with UtteranceReader() as reader:
        for path in paths:
            source = open_source(path)
            for one in source:
                try:
                    clips += _pieces(one, one.stated_duration or reader.read(one).duration, longest)
                except AudioError as error:
                    bad.append(f"{one.id}: {error}")
            bad.extend(map(str, source.report.problems))
    _settle(bad, context)
    return clips


def _pieces(one: Utterance, seconds: float, longest: float) -> Iterator[AlignedClip]:
    """Equal pieces, of at most `longest` seconds, of a recording without words."""
    start, count = one.start or 0.0, math.ceil(seconds / longest)
    for number in range(count):
        first, last = (start + seconds * place / count for place in (number, number + 1))
        piece = replace(one, start=first, end=last, duration=last - first, language=None, text="")
        yield AlignedClip(AlignedUtterance(piece, ()), last - first, (), (), ())


def _settle(bad: Sequence[str], context: RunContext) -> None:
    """Report unusable utterances, or raise an `OptionError`."""
    if bad:
        named = "\n".join(f"  {one}" for one in bad[:_NAMED])
        message = f"{len(bad)} utterances cannot be used\n{named}"
        if not context.skip_bad:
            raise OptionError(f"{message}\nFix them, or skip them with --skip-bad.")
        context.notify(message)


def token_times(
    tokenizer: Any, words: Sequence[WordTime]
) -> tuple[tuple[int, ...], tuple[float, ...], tuple[float, ...]]:
    """Tokenize words; returns tokens, and the start and end of the word of each token.

    Byte pairs never cross the space before a word, so these are also the tokens of the whole text.
    """
    found = [(token, word.start, word.end) for word in words for token in text_tokens(tokenizer, word.word)]
    if not found:
        return (), (), ()
    tokens, starts, ends = zip(*found, strict=True)
    return tokens, starts, ends


class _Clips:
    """Clips in order of length."""

    def __init__(self, clips: Sequence[AlignedClip]) -> None:
        self.all = sorted(clips, key=lambda clip: clip.seconds)
        self.voiced = [row for row, clip in enumerate(self.all) if clip.tokens]

    def near(self, rng: Rng, row: int) -> AlignedClip:
        """Choose another clip with words, of similar length."""
        place = bisect_left(self.voiced, row)
        reach = max(round(_NEAR * len(self.voiced)), 4)
        low, high = max(place - reach, 0), min(place + reach + 1, len(self.voiced))
        return self.all[self.voiced[int(rng.integers(low, high))]]


class CausalBatches(Dataset[Batch]):
    """A dataset of whole batches; `self[number]` depends on the seed and the number alone."""

    epoch = 0

    def __init__(
        self,
        recipe: CausalRecipe,
        whisper: WhisperModel,
        clips: Sequence[AlignedClip],
        shape: Shape,
        *,
        frames_only: int = 0,
        unlabeled: Sequence[AlignedClip] = (),
    ) -> None:
        """The first `frames_only` batches learn the teacher's frames alone, also of `unlabeled` clips."""
        self._frames_only = frames_only
        self._data, self._causal, self._seed = recipe.data, recipe.causal, recipe.run.seed
        self._language, self._taught = recipe.model.language or None, bool(recipe.imitation)
        self._whisper, self._shape = whisper, shape
        self._labeled, self._every = _Clips(clips), _Clips([*clips, *unlabeled])
        self._reader: tuple[int, UtteranceReader] | None = None

    def __getitem__(self, number: int) -> Batch:
        rng = np.random.default_rng([self._seed, number])
        frames_only = number < self._frames_only
        clips = self._every if frames_only else self._labeled
        whole = bool(rng.random() < self._causal.full_context)
        joined = bool(rng.random() < self._data.join)
        rows = self._rows(rng, clips, whole=whole, joined=joined)
        seeds = ([self._seed, number, place] for place in range(len(rows)))
        examples = [
            self.example(np.random.default_rng(seed), row, clips, joined=joined)
            for seed, row in zip(seeds, rows, strict=True)
        ]
        tensors = (
            window_tensors(examples, self._shape)
            if whole
            else causal_tensors(examples, self._causal, self._shape, rng, windows=self._taught)
        )
        if frames_only:
            tensors["frames_only"] = torch.tensor(True)
        padded = tensors["features"].shape[1] / 100 * len(examples)
        ids = [clips.all[row].aligned.utterance.id for row in rows]
        return Batch(tensors, ids, [one.seconds for one in examples], padded, [])

    def _rows(self, rng: Rng, clips: _Clips, *, whole: bool, joined: bool) -> list[int]:
        """Choose rows of similar length that fill a batch, as whole windows or joined with other utterances."""
        count = len(clips.all)
        near = max(round(_NEAR * count), 8)
        center = int(rng.integers(count))
        low, high = max(center - near, 0), min(center + near + 1, count)
        window = self._shape.window / SAMPLE_RATE
        padded = window if whole else min(clips.all[high - 1].seconds * (1 + joined) / SLOWEST, window)
        size = max(1, round(self._data.batch_seconds / padded))
        return [int(row) for row in rng.integers(low, high, size)]

    def example(self, rng: Rng, row: int, clips: _Clips | None = None, *, joined: bool = False) -> CausalExample:
        """Build one recording: an utterance, followed by another of similar length if `joined`, at random without its
        beginning or replaced by noise."""
        clips = clips or self._labeled
        data, clip = self._data, clips.all[row]
        if rng.random() < data.empty:
            return CausalExample(_noise(rng, clip.seconds), prefix_of(self._whisper, self._language_of(clip)))
        samples, starts, ends, tokens = self._sound(clip), clip.starts, clip.ends, clip.tokens
        if joined and clips.voiced:
            other = clips.near(rng, row)
            gap = round(float(rng.uniform(0.1, _LONGEST_GAP)) * SAMPLE_RATE)
            shift = (len(samples) + gap) / SAMPLE_RATE
            if shift + other.seconds < (self._shape.window / SAMPLE_RATE - 1.0) * SLOWEST:
                samples = np.concatenate([samples, np.zeros(gap, np.float32), self._sound(other)])
                starts = (*starts, *(shift + start for start in other.starts))
                ends = (*ends, *(shift + end for end in other.ends))
                tokens = (*tokens, *other.tokens)
        made = CausalExample(samples, prefix_of(self._whisper, self._language_of(clip)), tokens, ends)
        previous = self._whisper.vocabulary.start_of_previous
        if previous is not None and rng.random() < data.middle:
            made = from_middle(made, starts, previous, rng)
        return made if data.augment is None else augmented_example(made, data.augment, rng)

    def _language_of(self, clip: AlignedClip) -> str | None:
        return clip.aligned.utterance.language or self._language

    def _sound(self, clip: AlignedClip) -> Samples:
        if self._reader is None or self._reader[0] != os.getpid():  # file positions must not be shared with a fork
            self._reader = os.getpid(), UtteranceReader()
        return self._reader[1].read(clip.aligned.utterance).samples


def augmented_example(example: CausalExample, options: AugmentOptions, rng: Rng) -> CausalExample:
    """Augment a recording as `training.speech.augment` does; word ends are scaled with its length."""
    before = max(len(example.samples), 1)
    samples = augmented(example.samples, options, [int(rng.integers(2**31))])
    ratio = len(samples) / before
    return CausalExample(samples, example.prefix, example.tokens, tuple(end * ratio for end in example.ends))


def prefix_of(whisper: WhisperModel, language: str | None) -> tuple[int, ...]:
    """Build the decoder prefix, without timestamps. Raises `OptionError` for an unknown language."""
    known = whisper.vocabulary.languages
    if known and language not in known:
        raise OptionError(
            f"model: language: {language or 'none'} is unknown to {whisper.name}: set a known one in the recipe or the "
            "manifest"
        )
    options = DecodingOptions(timestamps=False)
    prefix, _ = build_prefix(whisper.vocabulary, options, language=language, max_length=whisper.max_length)
    return tuple(prefix)


def validation_examples(
    data: CausalData, whisper: WhisperModel, language: str | None, context: RunContext
) -> list[tuple[CausalExample, str | None]]:
    """Read the recordings to decode as streams, and their languages."""
    clips = read_clips([data.validation], whisper, data.longest, context)
    made: list[tuple[CausalExample, str | None]] = []
    with UtteranceReader() as reader:
        for clip in clips[: data.validation_limit or None]:
            spoken = clip.aligned.utterance.language or language
            samples = reader.read(clip.aligned.utterance).samples
            made.append((CausalExample(samples, prefix_of(whisper, spoken), clip.tokens, clip.ends), spoken))
    return made


def _noise(rng: Rng, seconds: float) -> Samples:
    """Silence, or noise between white and brown at -75 to -20 dBFS."""
    count = max(round(seconds * SAMPLE_RATE), SAMPLE_RATE // 2)
    if rng.random() < 0.15:
        return np.zeros(count, np.float32)
    level = np.float32(10 ** (rng.uniform(-75, -20) / 20))
    noise: Samples = (level * colored(rng, count, float(rng.uniform(0, 2)))[:count]).astype(np.float32)
    return noise
