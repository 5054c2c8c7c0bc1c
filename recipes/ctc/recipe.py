"""What a recipe for a small CTC model says (`task: ctc/recipe.py:CtcRecipe`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from linnet.data import SourceSpec
from linnet.errors import OptionError
from linnet.settings import ONE_OR_MORE, require
from linnet.training.options import Optimization, RunSettings

if TYPE_CHECKING:
    from linnet.training.context import RunContext
    from linnet.training.loop import Data, Validate
    from linnet.training.trainer import Trainer


@dataclass(frozen=True)
class CtcModel:
    """The sizes of a Parakeet CTC encoder (a Conformer on log-mel features, a frame every 40 ms), and its words."""

    words: tuple[str, ...]
    width: int = 96
    layers: int = 3
    heads: int = 4

    def __post_init__(self) -> None:
        require(self, ONE_OR_MORE, "width", "layers", "heads")
        if not self.words:
            raise OptionError("words must name at least one")


@dataclass(frozen=True)
class CtcData:
    """What is learned, in batches of as many utterances. A text is made of the model's words; other words are left out
    of it, and a text that is then too long for its sound is left out whole."""

    train: tuple[SourceSpec, ...]
    batch: int = 16

    def __post_init__(self) -> None:
        require(self, ONE_OR_MORE, "batch")


@dataclass(frozen=True)
class CtcRecipe:
    """Everything that the training depends on."""

    model: CtcModel
    data: CtcData
    optimization: Optimization = field(default_factory=Optimization)
    run: RunSettings = field(default_factory=RunSettings)
    task: str = field(default=f"{__name__}:CtcRecipe", compare=False)

    def prepare(self, context: RunContext) -> tuple[Trainer, Data, Validate | None]:
        """The trainer with freshly seeded weights, and its batches."""
        from .run import prepare

        return (*prepare(self, context), None)

    def outline(self, context: RunContext) -> Iterator[tuple[str, str]]:
        """Parameters, utterances and steps."""
        from .run import prepare

        trainer, data = prepare(self, context)
        yield "parameters", f"{sum(value.numel() for value in trainer.loss.parameters()):,}"
        yield "utterances", f"{len(data.corpus):,}"
        yield "steps", str(trainer.steps)
