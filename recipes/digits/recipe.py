"""What a recipe for the embedded model says (`task: digits/recipe.py:DigitsRecipe`), and how it is run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from linnet.training.options import Optimization, RunSettings

from .dataset import DigitsData
from .losses import DigitsLosses
from .model import DigitsModel

if TYPE_CHECKING:
    from linnet.training.context import RunContext
    from linnet.training.loop import Validate
    from linnet.training.trainer import Trainer

    from .dataset import DigitBatches


@dataclass(frozen=True)
class DigitsRecipe:
    """Everything that the training of `digits` depends on."""

    model: DigitsModel = field(default_factory=DigitsModel)
    losses: DigitsLosses = field(default_factory=DigitsLosses)
    data: DigitsData = field(default_factory=DigitsData)
    optimization: Optimization = field(default_factory=Optimization)
    run: RunSettings = field(default_factory=RunSettings)
    task: str = field(default=f"{__name__}:DigitsRecipe", compare=False)

    def prepare(self, context: RunContext) -> tuple[Trainer, DigitBatches, Validate | None]:
        """The trainer with freshly seeded weights, its batches, and what scores it on the validation speakers."""
        from .run import prepare, validation

        del context
        trainer, data = prepare(self)
        return trainer, data, validation(self)

    def outline(self, context: RunContext) -> Iterator[tuple[str, str]]:
        """What the recipe comes to: parameters, voices, steps; checks that the data is there."""
        from .run import outline

        del context
        return outline(self)
