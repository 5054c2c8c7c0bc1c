"""Batches by number: batch `step` depends on the seed and on `step` alone, so a resumed run sees the same data.

Shapes: B recordings, T mel frames (10 ms), M mel bins, P = T / 2 encoder frames (20 ms), L tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from linnet.audio.mel import log_mel
from linnet.audio.types import SAMPLE_RATE as RATE
from linnet.errors import OptionError
from linnet.settings import NOT_NEGATIVE, POSITIVE, SHARE, require
from linnet.training.batch import IGNORED, Batch

from . import augment
from .bank import Voices, load_bank, load_fsdd
from .compose import Composer, Mix, context_targets, frame_targets
from .targets import Target, build_target, choose_style
from .tokens import LANGUAGES, TIME_STEP, WINDOW, Vocabulary

Example = tuple[Tensor, Target, Tensor, Tensor]  # log-mel [T, M], target, frame classes [P], context classes [P, 3]


@dataclass(frozen=True)
class DigitsData:
    """Where the speech is and in what shapes it comes.

    `windows` are the seconds that a batch may span and `shares` how often each is drawn. Of all steps, the first
    `short_until` use only the two shortest windows, the first `gentle_until` grow from clean to full augmentation,
    and from `full_from` on every batch spans the model's whole window, as recordings do when the model is used. The
    share `clean` of the recordings gets neither room nor noise all the way.
    """

    fsdd: str = ""
    banks: tuple[str, ...] = ()
    train_speakers: tuple[str, ...] = ("george", "jackson", "nicolas", "yweweler")
    validation_speakers: tuple[str, ...] = ("lucas",)
    windows: tuple[float, ...] = (1.5, 2.5, 4.0, 6.0, 10.0)
    shares: tuple[float, ...] = (0.1, 0.2, 0.25, 0.2, 0.25)
    short_until: float = 0.08
    gentle_until: float = 0.35
    full_from: float = 0.75
    batch_seconds: float = 64.0
    full_batch_seconds: float = 128.0
    english: float = 0.6
    empty: float = 0.11
    cut: float = 0.25
    alone: float = 0.28
    clean: float = 0.0

    def __post_init__(self) -> None:
        require(self, NOT_NEGATIVE, "short_until", "gentle_until", "full_from")
        require(self, POSITIVE, "batch_seconds", "full_batch_seconds")
        require(self, SHARE, "english", "empty", "cut", "alone", "clean")
        early = self.shares[:2] if self.short_until else self.shares
        if len(self.windows) != len(self.shares) or not any(early):
            raise OptionError("shares must be one number for each of the windows, and not all 0 where they are used.")
        for window, share in zip(self.windows, self.shares, strict=True):
            POSITIVE.check("windows", window)
            NOT_NEGATIVE.check("shares", share)


class ComposedBatches(Dataset[Batch]):
    """Batches of composed speech, `count` of them; a subclass makes `self[number]`."""

    epoch = 0

    def __init__(self, data: DigitsData, count: int, seed: int) -> None:
        self.data = data
        self.count = count
        self.seed = seed
        self.vocabulary = Vocabulary.build()
        self._composer: Composer | None = None

    def __len__(self) -> int:
        return self.count

    @property
    def composer(self) -> Composer:
        """Made on first use, in the process that uses it."""
        if self._composer is None:
            mix = Mix(self.data.english, self.data.empty, self.data.cut, self.data.alone)
            self._composer = Composer(self.load_voices(self.data.train_speakers), mix, self.seed)
        return self._composer

    def load_voices(self, speakers: tuple[str, ...]) -> Voices:
        """The real speakers asked for, and every synthetic voice."""
        voices: Voices = {}
        if self.data.fsdd:
            load_fsdd(Path(self.data.fsdd), speakers, voices)
        for bank in self.data.banks:
            load_bank(Path(bank), voices)
        return voices


class DigitBatches(ComposedBatches):
    """`self[number]` is a whole batch of the `count` that there are."""

    def __getitem__(self, number: int) -> Batch:
        if number >= self.count:
            raise IndexError(number)
        rng = np.random.default_rng([self.seed, number])
        data, progress = self.data, number / self.count
        shares = np.array(data.shares)
        if progress < data.short_until:
            shares[2:] = 0.0
        full = progress >= data.full_from
        window = WINDOW if full else float(rng.choice(data.windows, p=shares / shares.sum()))
        size = max(1, round((data.full_batch_seconds if full else data.batch_seconds) / window))
        strength = min(1.0, progress / data.gentle_until) if data.gentle_until else 1.0
        seeds = ([self.seed, number, i] for i in range(size))
        examples = [self.example(np.random.default_rng(seed), window, strength) for seed in seeds]
        tensors = {**collate(examples), "helping": torch.tensor(1 - 0.9 * progress)}
        seconds = [window] * size  # padding that is silence to the model counts as sound
        return Batch(tensors, [f"batch {number}"], seconds, window * size, [])

    def example(self, rng: np.random.Generator, window: float, strength: float = 1.0) -> Example:
        """One recording; `strength` is the chance to be augmented at all."""
        limit = window
        if window == WINDOW and rng.random() < 0.3:
            limit = float(rng.uniform(0.5, WINDOW))  # a short recording in the full window
        polluted = bool(rng.random() < strength * (1 - self.data.clean))
        recording = self.composer.compose(rng, limit, polluted=polluted)
        padded = np.zeros(round(window * RATE), np.float32)
        padded[: len(recording.samples)] = recording.samples
        features = log_mel(padded)
        if polluted and rng.random() < 0.6:
            features = augment.warp_mel(features, float(np.clip(rng.normal(1.0, 0.06), 0.85, 1.15)))
        if rng.random() < 0.5 * strength:
            features = augment.mask(rng, features)
        style = choose_style(rng, recording, self.vocabulary)
        target = build_target(recording, style, self.vocabulary)
        positions = len(features) // 2
        frames = frame_targets(recording, positions, 1 + 10 * LANGUAGES.index(recording.language))
        context = context_targets(recording, positions)
        return (
            torch.from_numpy(np.ascontiguousarray(features)),
            target,
            torch.from_numpy(frames),
            torch.from_numpy(context),
        )


def collate(examples: list[Example]) -> dict[str, Tensor]:
    """features [B, M, T], inputs and labels [B, L], spans [B, L, 2] in positions, frames [B, P], context [B, P, 3]."""
    sounds, targets, frames, context = zip(*examples, strict=True)
    length = max(len(target.inputs) for target in targets)
    inputs = torch.zeros(len(examples), length, dtype=torch.long)
    labels = torch.full((len(examples), length), IGNORED)
    spans = torch.zeros(len(examples), length, 2)
    for row, target in enumerate(targets):
        spans[row, : len(target.spans)] = torch.tensor(target.spans) / TIME_STEP
        inputs[row, : len(target.inputs)] = torch.tensor(target.inputs)
        labels[row, : len(target.labels)] = torch.tensor(target.labels)
    return {
        "features": torch.stack(sounds).transpose(1, 2).contiguous(),
        "inputs": inputs,
        "labels": labels,
        "spans": spans.round(),
        "frames": torch.stack(frames),
        "context": torch.stack(context),
    }
