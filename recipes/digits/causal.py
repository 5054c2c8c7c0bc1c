"""What a recipe for `digits-stream` says (`task: digits/causal.py:DigitsCausalRecipe`): `digits`, made causal.

Its data is that of `digits`, put together anew for each batch, and the ends of the words in it are known exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from linnet.settings import POSITIVE, SHARE, require
from linnet.training.causal.options import CausalOptions, Imitation
from linnet.training.freeze import parse
from linnet.training.options import Optimization, RunSettings

from .dataset import DigitsData

if TYPE_CHECKING:
    from linnet.training.context import RunContext
    from linnet.training.loop import Validate
    from linnet.training.trainer import Trainer

    from .causal_run import DigitStreams


@dataclass(frozen=True)
class DigitsCausalData(DigitsData):
    """The data of `digits`, of which a share `middle` begins between two words, with the words before as prompt."""

    middle: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, SHARE, "middle")


@dataclass(frozen=True)
class DigitsCausalRecipe:
    """Everything that the training of `digits-stream` depends on; `start` is the model that it begins with."""

    start: str = "digits"
    causal: CausalOptions = field(default_factory=CausalOptions)
    freeze: dict[str, str] = field(default_factory=dict)
    data: DigitsCausalData = field(default_factory=DigitsCausalData)
    smoothing: float = 0.02
    imitation: Imitation = field(default_factory=Imitation)
    validation_strings: int = 60
    optimization: Optimization = field(default_factory=Optimization)
    run: RunSettings = field(default_factory=RunSettings)
    task: str = field(default=f"{__name__}:DigitsCausalRecipe", compare=False)

    def __post_init__(self) -> None:
        require(self, POSITIVE, "validation_strings")
        require(self, SHARE, "smoothing")
        for policy in self.freeze.values():
            parse(policy)

    def prepare(self, context: RunContext) -> tuple[Trainer, DigitStreams, Validate | None]:
        """The trainer, its batches, and what scores its streams on the validation speakers."""
        from .causal_run import prepare

        del context
        return prepare(self)

    def outline(self, context: RunContext) -> Iterator[tuple[str, str]]:
        """What the recipe comes to: parameters, voices, steps; checks that the data is there."""
        from .causal_run import outline

        del context
        return outline(self)
