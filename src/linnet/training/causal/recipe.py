"""The recipe of a causal model (`task: causal`), as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from linnet.errors import OptionError
from linnet.settings import BELOW_ONE, NOT_NEGATIVE, POSITIVE, SHARE, require
from linnet.training.causal.options import CausalOptions, Imitation
from linnet.training.freeze import parse
from linnet.training.options import Optimization, RunSettings
from linnet.training.speech.recipe import AugmentOptions

if TYPE_CHECKING:
    from linnet.training.causal.corpus import CausalBatches
    from linnet.training.context import RunContext
    from linnet.training.loop import Validate
    from linnet.training.trainer import Trainer


@dataclass(frozen=True)
class CausalModelChoice:
    """The Whisper checkpoint to make causal, a folder or Hub id; `language` applies to utterances without one.

    `adapter` is the folder of an adapter that training starts from, one that this task saved with the same `freeze`.
    """

    checkpoint: str = ""
    language: str = ""
    adapter: str = ""

    def __post_init__(self) -> None:
        if not self.checkpoint:
            raise OptionError("model: name the `checkpoint` to make causal, such as openai/whisper-tiny.en.")


@dataclass(frozen=True)
class CausalData:
    """Manifests with word times (`linnet data align`), and how batches are built.

    `unlabeled` are sources of any speech, whose texts are not used: the steps of `imitation: first` hear them as well,
    since a language that the model does not write has frames, too.

    Utterances above `longest` seconds are skipped. A batch holds `batch_seconds` of padded audio. A share `join` of the
    batches has two utterances per recording. A share `empty` of the recordings is noise or silence alone, and a share
    `middle` starts between two words, with the preceding words as prompt. `augment` is that of `task: speech`.
    """

    train: tuple[str, ...] = ()
    unlabeled: tuple[str, ...] = ()
    validation: str = ""
    validation_limit: int = 40
    longest: float = 28.0
    batch_seconds: float = 96.0
    empty: float = 0.08
    join: float = 0.2
    middle: float = 0.15
    augment: AugmentOptions | None = None

    def __post_init__(self) -> None:
        require(self, NOT_NEGATIVE, "validation_limit")
        require(self, POSITIVE, "longest", "batch_seconds")
        require(self, SHARE, "empty", "join", "middle")
        if isinstance(self.train, str):
            raise OptionError(f"data: train is a list of manifests: write  train: [{self.train}]")


@dataclass(frozen=True)
class CausalRunSettings(RunSettings):
    """Run settings, and the normalizer of validation."""

    normalizer: str = "auto"


@dataclass(frozen=True)
class CausalRecipe:
    """All settings of causal training.

    `freeze` maps parts to policies of `linnet.training.freeze`; by default all weights are trained. If only adapters
    are trained, only they are saved, in the format of PEFT.
    """

    model: CausalModelChoice = field(default_factory=lambda: CausalModelChoice("openai/whisper-tiny.en"))
    causal: CausalOptions = field(default_factory=CausalOptions)
    freeze: dict[str, str] = field(default_factory=dict)
    data: CausalData = field(default_factory=CausalData)
    smoothing: float = 0.0
    imitation: Imitation = field(default_factory=Imitation)
    optimization: Optimization = field(default_factory=Optimization)
    run: CausalRunSettings = field(default_factory=CausalRunSettings)
    task: str = "causal"

    def __post_init__(self) -> None:
        require(self, BELOW_ONE, "smoothing")
        for policy in self.freeze.values():
            parse(policy)
        if self.data.unlabeled and not self.imitation.first:
            raise OptionError(
                "data: `unlabeled` speech is heard in the steps that learn frames alone: give their share as "
                "imitation: {frames: 8, first: 0.7}"
            )

    def prepare(self, context: RunContext) -> tuple[Trainer, CausalBatches, Validate | None]:
        """Build the trainer at its first step, its batches, and its streaming validation."""
        from linnet.training.causal.run import prepare

        return prepare(self, context)

    def outline(self, context: RunContext) -> Iterator[tuple[str, str]]:
        """Summarize the run: parameters, utterances, hours, steps."""
        from linnet.training.causal.run import outline

        return outline(self, context)
