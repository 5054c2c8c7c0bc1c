"""What every recipe says of how weights move and how the run goes, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol


@dataclass(frozen=True)
class Optimisation:
    """How the weights move: AdamW, a linear warm-up over the share `warmup` of the steps, then half a cosine to zero.

    A step takes `accumulate` batches. Without `steps` there are `epochs` of them. `average` is the decay of a moving
    average of the weights, which is then what is validated and saved; 0 keeps none. `rates` sets another learning rate
    for some parts: paths within the model (`encoder`), or what is trained beside it (`ctc`); of two that hold a weight
    the longer path counts.
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


@dataclass(frozen=True)
class Run:
    """Where and how the run goes; `threads` 0 leaves PyTorch's own choice, `track` may be trackio or wandb.

    With several processes `shard` splits weights over them: `trained` those that are trained, `all` frozen ones, too.
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


class Recipe(Protocol):
    """Any recipe: a dataclass with these two and whatever its task needs."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    task: ClassVar[str]

    @property
    def optimisation(self) -> Optimisation:
        """How the weights move."""

    @property
    def run(self) -> Run:
        """Where and how the run goes."""
