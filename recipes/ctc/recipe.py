"""What a recipe for a small CTC model says (`task: ctc/recipe.py:CtcRecipe`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.data import SourceSpec, Utterance
from linnet.errors import OptionError
from linnet.settings import BELOW_ONE, ONE_OR_MORE, require
from linnet.training.options import Optimization, RunSettings

if TYPE_CHECKING:
    from linnet.training.context import RunContext
    from linnet.training.loop import Data, Validate
    from linnet.training.trainer import Trainer


@dataclass(frozen=True)
class CtcModel:
    """The sizes of the model and its words.

    `layers` convolutions of `width` follow the one that makes an encoder frame (40 ms) of `mels` log-mel bins; the
    recurrent layer has `hidden` cells in each direction.
    """

    words: tuple[str, ...]
    mels: int = 40
    width: int = 96
    layers: int = 1
    hidden: int = 64
    dropout: float = 0.1

    def __post_init__(self) -> None:
        require(self, ONE_OR_MORE, "mels", "width", "layers", "hidden")
        require(self, BELOW_ONE, "dropout")
        if not self.words:
            raise OptionError("words must name at least one")


@dataclass(frozen=True)
class CtcData:
    """What is learned, in batches of as many utterances of like lengths.

    A text is made of the model's words; other words are left out of it, and an utterance with no word left, or too many
    for its sound, is left out whole. `warp` stretches an utterance's frequencies by at most this share, so that it
    sounds as if said by somebody else, and `stretch` its time.
    """

    train: tuple[SourceSpec, ...]
    batch: int = 16
    warp: float = 0.12
    stretch: float = 0.1

    def __post_init__(self) -> None:
        require(self, ONE_OR_MORE, "batch")
        require(self, BELOW_ONE, "warp", "stretch")


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

    def transcribe(self, model: Path, utterances: Sequence[Utterance]) -> list[str]:
        """What a trained model hears in utterances, in their order. Raises `AudioError` and `ModelError`."""
        from .run import transcribe

        return transcribe(model, utterances)
