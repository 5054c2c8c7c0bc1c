"""From a recipe to what the loop trains: utterances with their features, batches drawn anew in each pass."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import ParakeetFeatureExtractor

from linnet.data import Utterance
from linnet.data.samples import UtteranceReader
from linnet.data.sources import open_source
from linnet.errors import AudioError, LinnetError, OptionError
from linnet.training.batch import IGNORED, Batch
from linnet.training.context import RunContext
from linnet.training.numbered import NumberedPlan
from linnet.training.trainer import Trainer, make_accelerator

from .model import CtcTask, frames_of
from .recipe import CtcRecipe

KEPT = 50_000  # features that are kept from run to run in one process: an experiment trains on the same pool again


def prepare(recipe: CtcRecipe, context: RunContext) -> tuple[Trainer, CtcBatches]:
    """The trainer with freshly seeded weights, and its data. Raises `OptionError` where nothing can be learned."""
    accelerator = make_accelerator(recipe.run)
    corpus = read_corpus(recipe, context)
    options = recipe.optimization
    per_pass = max(1, len(corpus) // recipe.data.batch)
    count = options.accumulate * (options.steps or round(options.epochs * per_pass))
    plan = NumberedPlan(count, accelerator.num_processes, recipe.run.seed, lower="`batch`")
    torch.manual_seed(recipe.run.seed)
    batches = CtcBatches(corpus, recipe.data.batch, recipe.run.seed)
    return Trainer(recipe, CtcTask(recipe.model), plan, accelerator), batches


@dataclass(frozen=True)
class Item:
    """An utterance and the numbers of its words."""

    utterance: Utterance
    labels: tuple[int, ...]


def read_corpus(recipe: CtcRecipe, context: RunContext) -> list[Item]:
    """All utterances whose text fits their sound. Raises `OptionError` where none does."""
    known = {word: index + 2 for index, word in enumerate(recipe.model.words)}
    corpus, left = [], 0
    for spec in recipe.data.train:
        for utterance in open_source(spec):
            labels = tuple(known[word] for word in (utterance.text or "").split() if word in known)
            try:
                frames = frames_of(features_of(utterance))
            except AudioError as error:
                if not context.skip_bad:
                    raise LinnetError(f"{utterance.id}: {error} Leave such out with --skip-bad.") from error
                left += 1
                continue
            repeats = sum(a == b for a, b in itertools.pairwise(labels))
            if labels and len(labels) + repeats <= frames:
                corpus.append(Item(utterance, labels))
            else:
                left += 1
    if not corpus:
        raise OptionError("no utterance has a text of the model's words that fits its sound")
    if left:
        context.notify(f"{left} utterances are left out: unreadable, without a word of the model, or too short")
    return corpus


def features_of(utterance: Utterance) -> Tensor:
    """Normalized log-mel features [T, 80]. Raises `AudioError`."""
    return _features(utterance.audio, utterance.start, utterance.end)


@lru_cache(maxsize=KEPT)
def _features(audio: str, start: float | None, end: float | None) -> Tensor:
    with UtteranceReader() as reader:
        samples = reader.read(Utterance(audio, start=start, end=end)).samples
    made = ParakeetFeatureExtractor()(samples, sampling_rate=16_000, return_tensors="pt")
    features: Tensor = made["input_features"][0]
    return features[: int(made["attention_mask"][0].sum())].clone()


class CtcBatches(Dataset[Batch]):
    """Batches by their numbers, of `size` utterances; each utterance comes once before any comes again."""

    epoch = 0

    def __init__(self, corpus: Sequence[Item], size: int, seed: int) -> None:
        self.corpus, self._size, self._seed = corpus, size, seed

    def __getitem__(self, number: int) -> Batch:
        items = [self.corpus[row] for row in self._rows(number)]
        features = [features_of(item.utterance) for item in items]
        longest = max(map(len, features))
        padded = torch.zeros(len(items), longest, features[0].shape[1])
        mask = torch.zeros(len(items), longest, dtype=torch.long)
        labels = torch.full((len(items), max(len(item.labels) for item in items)), IGNORED)
        for place, (item, one) in enumerate(zip(items, features, strict=True)):
            padded[place, : len(one)], mask[place, : len(one)] = one, 1
            labels[place, : len(item.labels)] = torch.tensor(item.labels)
        tensors = {"features": padded, "mask": mask, "labels": labels}
        seconds = [len(one) / 100 for one in features]
        return Batch(tensors, [item.utterance.id for item in items], seconds, len(items) * longest / 100, [])

    def _rows(self, number: int) -> list[int]:
        count = len(self.corpus)
        places = range(number * self._size, (number + 1) * self._size)
        return [int(_permutation(self._seed, place // count, count)[place % count]) for place in places]


@lru_cache(maxsize=4)
def _permutation(seed: int, turn: int, rows: int) -> Any:
    return np.random.default_rng([seed, turn]).permutation(rows)
