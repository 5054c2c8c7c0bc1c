"""Batches by number: batch `step` depends on the seed and on `step` alone, so a resumed run sees the same data.

Shapes: B recordings, T mel frames (10 ms), M mel bands, P = T / 2 encoder positions (20 ms), L tokens.
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
from linnet.training.digits import augment
from linnet.training.digits.bank import Voices, load_bank, load_fsdd
from linnet.training.digits.compose import Composer, Mix, context_targets, frame_targets
from linnet.training.digits.targets import IGNORED, Target, build_target, choose_style
from linnet.training.digits.tokens import LANGUAGES, TIME_STEP, WINDOW, Vocabulary

Batch = dict[str, Tensor]
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


class DigitBatches(Dataset[Batch]):
    """`self[step]` is a whole batch."""

    def __init__(self, data: DigitsData, steps: int, seed: int, root: Path) -> None:
        self.data = data
        self.steps = steps
        self.seed = seed
        self.root = root
        self.vocabulary = Vocabulary.build()
        self._composer: Composer | None = None

    def __len__(self) -> int:
        return self.steps

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
            load_fsdd(self.root / self.data.fsdd, speakers, voices)
        for bank in self.data.banks:
            load_bank(self.root / bank, voices)
        return voices

    def __getitem__(self, step: int) -> Batch:
        if step >= self.steps:
            raise IndexError(step)
        rng = np.random.default_rng([self.seed, step])
        data, progress = self.data, step / self.steps
        shares = np.array(data.shares)
        if progress < data.short_until:
            shares[2:] = 0.0
        full = progress >= data.full_from
        window = WINDOW if full else float(rng.choice(data.windows, p=shares / shares.sum()))
        size = max(1, round((data.full_batch_seconds if full else data.batch_seconds) / window))
        strength = min(1.0, progress / data.gentle_until) if data.gentle_until else 1.0
        numbers = ([self.seed, step, i] for i in range(size))
        return collate([self.example(np.random.default_rng(n), window, strength) for n in numbers])

    def example(self, rng: np.random.Generator, window: float, strength: float = 1.0) -> Example:
        """One recording; `strength` is the chance to be augmented at all."""
        limit = window
        if window == WINDOW and rng.random() < 0.3:
            limit = float(rng.uniform(0.5, WINDOW))  # a short recording in the full window
        polluted = bool(rng.random() < strength * (1 - self.data.clean))
        recording = self.composer.compose(rng, limit, polluted=polluted)
        padded = np.zeros(round(window * RATE), np.float32)
        padded[: len(recording.samples)] = recording.samples
        features = log_mel(torch.from_numpy(padded)).numpy()
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


def collate(examples: list[Example]) -> Batch:
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
