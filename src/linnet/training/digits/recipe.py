"""What a recipe for the embedded model says (`task: digits`, the default), as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field

from linnet.training.digits.dataset import DigitsData
from linnet.training.digits.model import DigitsModel


@dataclass(frozen=True)
class DigitsOptimisation:
    """How the weights move; `helper_weight`, of the frame and attention losses, falls linearly to a tenth."""

    steps: int = 7500
    learning_rate: float = 1.6e-3
    warmup: float = 0.04
    weight_decay: float = 0.02
    clip: float = 1.0
    smoothing: float = 0.02
    helper_weight: float = 1.0
    average: float = 0.999


@dataclass(frozen=True)
class DigitsRun:
    """Where and how the run goes; `threads` 0 leaves PyTorch's own choice.

    `start` is the folder of an earlier run, whose averaged weights this one begins with, or an exported model's.
    """

    output: str = "runs/digits"
    start: str = ""
    seed: int = 0
    device: str = "auto"
    precision: str = "bf16"
    threads: int = 2
    workers: int = 1
    checkpoint_every: int = 300
    validate_every: int = 500
    log_every: int = 20
    keep: int = 2


@dataclass(frozen=True)
class DigitsRecipe:
    """Everything that the training of `digits` depends on."""

    model: DigitsModel = field(default_factory=DigitsModel)
    data: DigitsData = field(default_factory=DigitsData)
    optimisation: DigitsOptimisation = field(default_factory=DigitsOptimisation)
    run: DigitsRun = field(default_factory=DigitsRun)
