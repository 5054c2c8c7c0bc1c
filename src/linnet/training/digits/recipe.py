"""What a recipe for the embedded model says (`task: digits`), as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from linnet.training.digits.dataset import DigitsData
from linnet.training.digits.losses import DigitsLosses
from linnet.training.digits.model import DigitsModel
from linnet.training.options import Optimisation, Run


@dataclass(frozen=True)
class DigitsRecipe:
    """Everything that the training of `digits` depends on."""

    task: ClassVar[str] = "digits"
    model: DigitsModel = field(default_factory=DigitsModel)
    losses: DigitsLosses = field(default_factory=DigitsLosses)
    data: DigitsData = field(default_factory=DigitsData)
    optimisation: Optimisation = field(default_factory=Optimisation)
    run: Run = field(default_factory=Run)
