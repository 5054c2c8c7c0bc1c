"""From a recipe to what the loop trains: utterances with their features, batches of like lengths, warped at random.

Shapes: B utterances, T log-mel frames of 10 ms, M mel bins, L labels.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from linnet.audio.mel import SETTLED, LogMel
from linnet.data import Utterance
from linnet.data.samples import UtteranceReader
from linnet.data.sources import open_source
from linnet.errors import AudioError, LinnetError, OptionError
from linnet.training.batch import IGNORED, Batch
from linnet.training.context import RunContext
from linnet.training.numbered import NumberedPlan
from linnet.training.trainer import Trainer, make_accelerator

from .model import CtcTask, decode, frames_of, load
from .recipe import CtcData, CtcRecipe

KEPT = 50_000  # features that are kept from run to run in one process: an experiment trains on the same pool again
BUCKET = 8  # batches that are made of neighbors in length
TESTED = 32  # utterances transcribed at once
RANGE = 6.0  # of log10: what is 60 dB below the loudest counts as that


def prepare(recipe: CtcRecipe, context: RunContext) -> tuple[Trainer, CtcBatches]:
    """The trainer with freshly seeded weights, and its data. Raises `OptionError` where nothing can be learned."""
    accelerator = make_accelerator(recipe.run)
    corpus = read_corpus(recipe, context)
    options = recipe.optimization
    per_pass = max(1, len(corpus) // recipe.data.batch)
    count = options.accumulate * (options.steps or round(options.epochs * per_pass))
    plan = NumberedPlan(count, accelerator.num_processes, recipe.run.seed, lower="`batch`")
    torch.manual_seed(recipe.run.seed)
    batches = CtcBatches(corpus, recipe.data, recipe.run.seed)
    return Trainer(recipe, CtcTask(recipe.model), plan, accelerator), batches


@dataclass(frozen=True)
class Item:
    """An utterance with its features [T, M] and the numbers of its words."""

    utterance: Utterance
    features: Tensor
    labels: tuple[int, ...]


def read_corpus(recipe: CtcRecipe, context: RunContext) -> list[Item]:
    """All utterances whose text fits their sound. Raises `OptionError` where none does."""
    known = {word: number for number, word in enumerate(recipe.model.words, 1)}
    corpus, left = [], 0
    for spec in recipe.data.train:
        for utterance in open_source(spec):
            labels = tuple(known[word] for word in (utterance.text or "").split() if word in known)
            try:
                features = features_of(utterance, recipe.model.mels)
            except AudioError as error:
                if not context.skip_bad:
                    raise LinnetError(f"{utterance.id}: {error} Leave such out with --skip-bad.") from error
                left += 1
                continue
            repeats = sum(a == b for a, b in itertools.pairwise(labels))
            if labels and len(labels) + repeats <= frames_of(round(len(features) * (1 - recipe.data.stretch))):
                corpus.append(Item(utterance, features, labels))
            else:
                left += 1
    if not corpus:
        raise OptionError("no utterance has a text of the model's words that fits its sound")
    if left:
        context.notify(f"{left} utterances are left out: unreadable, without a word of the model, or too short")
    return corpus


def features_of(utterance: Utterance, mels: int) -> Tensor:
    """Log-mel features [T, M], each bin with mean 0 and deviation 1. Raises `AudioError`."""
    return _features(utterance.audio, utterance.start, utterance.end, mels)


@lru_cache(maxsize=KEPT)
def _features(audio: str, start: float | None, end: float | None, mels: int) -> Tensor:
    with UtteranceReader() as reader:
        samples = reader.read(Utterance(audio, start=start, end=end)).samples
    if len(samples) <= SETTLED:
        raise AudioError(f"{audio}: lasts only {len(samples)} samples: it has no frame of features")
    log: NDArray[np.float32] = LogMel(mels).finish(samples)
    log = np.maximum(log, log.max(initial=-np.inf) - RANGE)
    spread = np.maximum(log.std(axis=0), 1e-3)
    return torch.from_numpy(((log - log.mean(axis=0)) / spread).astype(np.float32))


def transcribe(folder: Path, utterances: Sequence[Utterance]) -> list[str]:
    """What the model in a folder hears, in the order of the utterances."""
    size, net = load(folder)
    features = [features_of(one, size.mels) for one in utterances]
    texts = [""] * len(features)
    order = sorted(range(len(features)), key=lambda place: len(features[place]))
    for some in _runs(order, TESTED):
        padded, frames = pad([features[place] for place in some])
        for place, text in zip(some, decode(size, net, padded, frames), strict=True):
            texts[place] = text
    return texts


def pad(features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Features [B, T, M] with zeros behind each, and how many frames each has [B]."""
    frames = torch.tensor([len(one) for one in features])
    return torch.nn.utils.rnn.pad_sequence(list(features), batch_first=True), frames


class CtcBatches(Dataset[Batch]):
    """Batches by their numbers. A pass takes every utterance once, but for those that do not fill a batch."""

    epoch = 0

    def __init__(self, corpus: Sequence[Item], options: CtcData, seed: int) -> None:
        self.corpus, self._options, self._seed = corpus, options, seed
        self._lengths = tuple(len(item.features) for item in corpus)

    def __getitem__(self, number: int) -> Batch:
        per_pass = max(1, len(self.corpus) // self._options.batch)
        rows = dealt(self._seed, number // per_pass, self._lengths, self._options.batch)[number % per_pass]
        items = [self.corpus[row] for row in rows]
        padded, frames = pad([item.features for item in items])
        padded, frames = warped(
            padded, frames, np.random.default_rng([self._seed, number, 1]), self._options.warp, self._options.stretch
        )
        labels = torch.full((len(items), max(len(item.labels) for item in items)), IGNORED)
        for place, item in enumerate(items):
            labels[place, : len(item.labels)] = torch.tensor(item.labels)
        tensors = {"features": padded, "frames": frames, "labels": labels}
        seconds = (frames / 100).tolist()
        return Batch(tensors, [item.utterance.id for item in items], seconds, padded[..., 0].numel() / 100, [])


@lru_cache(maxsize=4)
def dealt(seed: int, turn: int, lengths: tuple[int, ...], size: int) -> list[list[int]]:
    """The rows of each batch of a pass: of like lengths where there are enough, in an order of seed and pass."""
    random = np.random.default_rng([seed, turn, 0])
    order = random.permutation(len(lengths)).tolist()
    order = order[: max(size, len(order) // size * size)]
    near = [sorted(some, key=lengths.__getitem__) for some in _runs(order, BUCKET * size)]
    batches = [rows for some in near for rows in _runs(some, size)]
    return [batches[place] for place in random.permutation(len(batches)).tolist()]


def warped(features: Tensor, frames: Tensor, random: Any, warp: float, stretch: float) -> tuple[Tensor, Tensor]:
    """Features [B, T, M] with each utterance's frequencies and time stretched by its own factors, and its frames [B].

    In the manner of vocal tract length perturbation (Jaitly and Hinton 2013), by linear interpolation.
    """
    batch, longest, bins = features.shape
    slower = torch.from_numpy(np.exp(random.uniform(-1, 1, batch) * np.log1p(stretch))).float()
    higher = torch.from_numpy(np.exp(random.uniform(-1, 1, batch) * np.log1p(warp))).float()
    heights = torch.arange(bins)[None] * higher[:, None]
    found = torch.bmm(features, _between(heights.clamp(max=bins - 1), bins).transpose(1, 2))
    made = (frames * slower).round().long().clamp(min=1)
    times = (torch.arange(int(made.max()))[None] / slower[:, None]).clamp(max=longest - 1)
    first = times.floor().long()
    rows = torch.arange(batch)[:, None]
    part = (times - first)[..., None]
    found = torch.lerp(found[rows, first], found[rows, (first + 1).clamp(max=longest - 1)], part)
    return found * (torch.arange(found.shape[1])[None] < made[:, None])[..., None], made


def _between(places: Tensor, count: int) -> Tensor:
    """Weights [B, M, count] by which linear interpolation at `places` [B, M] reads a row of `count` values."""
    return (1 - (places[..., None] - torch.arange(count)).abs()).clamp(min=0)


def _runs(rows: list[int], size: int) -> list[list[int]]:
    return [rows[at : at + size] for at in range(0, len(rows), size)]
