"""Optimization and run settings that all recipes share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from linnet.errors import OptionError
from linnet.settings import (
    BELOW_ONE,
    NOT_NEGATIVE,
    ONE_OR_MORE,
    POSITIVE,
    SHARE,
    require,
    require_known,
)

if TYPE_CHECKING:
    from linnet.training.context import RunContext
    from linnet.training.loop import Data, Validate
    from linnet.training.trainer import Trainer

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("no", "bf16", "fp16")
SHARDS = ("none", "trained", "all")
TRACKERS = ("", "trackio", "wandb")


@dataclass(frozen=True)
class Optimization:
    """AdamW with linear warmup over the share `warmup` of the steps, then cosine decay to zero.

    A step takes `accumulate` batches. `steps` 0 means `epochs`. `average` is the decay of a moving average of the
    weights, which is then validated and saved; 0 turns it off. `rates` sets learning rates of parts: paths within the
    model (`encoder`), or what is trained beside it (`ctc`); the longest matching path applies.
    """

    steps: int = 0
    epochs: float = 1.0
    learning_rate: float = 1e-3
    rates: dict[str, float] = field(default_factory=dict)
    warmup: float = 0.05
    weight_decay: float = 0.0
    betas: tuple[float, ...] = (0.9, 0.999)
    accumulate: int = 1
    clip: float = 1.0
    average: float = 0.0
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        require(self, POSITIVE, "epochs")
        require(self, NOT_NEGATIVE, "steps", "learning_rate", "weight_decay", "clip")
        require(self, SHARE, "warmup")
        require(self, ONE_OR_MORE, "accumulate")
        require(self, BELOW_ONE, "average")
        for part, rate in self.rates.items():
            POSITIVE.check(f"rates: {part}", rate)
        if len(self.betas) != 2:
            raise OptionError(f"betas must be two numbers, got {list(self.betas)}.")
        for beta in self.betas:
            BELOW_ONE.check("betas", beta)


@dataclass(frozen=True)
class RunSettings:
    """Settings of a run; `threads` 0 keeps PyTorch's default, `track` is trackio or wandb.

    With several processes `shard` splits weights over them: `trained` only trained ones, `all` also frozen ones.
    """

    output: str = "runs/speech"
    seed: int = 0
    device: str = "auto"
    precision: str = "no"
    shard: str = "none"
    threads: int = 0
    workers: int = 2
    log_every: int = 20
    checkpoint_every: int = 500
    keep: int = 2
    validate_every: int = 1000
    track: str = ""

    def __post_init__(self) -> None:
        require(self, NOT_NEGATIVE, "seed", "threads", "workers")
        require(self, ONE_OR_MORE, "log_every", "checkpoint_every", "keep", "validate_every")
        for name, known in (("device", DEVICES), ("precision", PRECISIONS), ("shard", SHARDS), ("track", TRACKERS)):
            require_known(self, name, known)
        if not self.output:
            raise OptionError("output is empty: name the folder that the run writes to.")
        if self.precision == "fp16" and self.shard != "none":
            raise OptionError(f"precision fp16 does not go with  shard: {self.shard}: use bf16 or no.")
        if self.precision == "fp16" and self.device == "cpu":
            raise OptionError("precision fp16 needs a GPU, and the device is cpu: use bf16 or no.")


class Recipe(Protocol):
    """A recipe: a frozen dataclass with these three fields and those of its task, read from YAML."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def task(self) -> str:
        """The name of the task, as `linnet.training.recipe.read_recipe` takes it from any folder."""

    @property
    def optimization(self) -> Optimization:
        """Optimizer settings."""

    @property
    def run(self) -> RunSettings:
        """Run settings."""

    def prepare(self, context: RunContext) -> tuple[Trainer, Data, Validate | None]:
        """The trainer at its first step, its batches, and its validation, if any. Raises `OptionError`."""

    def outline(self, context: RunContext) -> Iterator[tuple[str, str]]:
        """A dry run: a table of names and values, without training."""
