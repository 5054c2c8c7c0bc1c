"""What a recipe for a speech model says (`task: speech`, the default), as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from linnet.data import SourceSpec
from linnet.data.batching.bins import MOST_BINS
from linnet.data.sources import require_kind
from linnet.errors import ModelError, OptionError
from linnet.machine import DTYPES, parse_bytes
from linnet.models.fusion.projectors import projector_options
from linnet.settings import NOT_NEGATIVE, ONE_OR_MORE, POSITIVE, SHARE, ValueRule, require, require_known
from linnet.training.freeze import parse
from linnet.training.options import Optimization, RunSettings

if TYPE_CHECKING:
    from linnet.training.context import RunContext
    from linnet.training.loop import Data, Validate
    from linnet.training.trainer import Trainer


@dataclass(frozen=True)
class SpeechModelChoice:
    """Which model: one put together of `encoder` and `language_model`, or a `checkpoint` that already exists.

    All are folders or Hub ids. `projector`, `instruction`, `system`, `window_seconds`, `pad_seconds` and the revisions
    are those of `linnet.models.fusion.build`; a Whisper with a shorter `window_seconds` than its own hears and is saved
    with such windows, a whole number of seconds. `language` is that of utterances that name none (Whisper models).
    `dtype` is the precision of the weights that stay as they are; what is trained is float32.
    """

    encoder: str = ""
    encoder_revision: str | None = None
    language_model: str = ""
    language_model_revision: str | None = None
    projector: dict[str, Any] = field(default_factory=dict)
    instruction: str = "Transcribe the speech."
    system: str | None = None
    window_seconds: float = 30.0
    pad_seconds: float = 0.0
    checkpoint: str = ""
    language: str = ""
    dtype: str = "float32"

    def __post_init__(self) -> None:
        require(self, POSITIVE, "window_seconds")
        require(self, NOT_NEGATIVE, "pad_seconds")
        require_known(self, "dtype", ("auto", *DTYPES))
        try:
            projector_options(self.projector, frames_per_second=50.0)
        except ModelError as error:
            raise OptionError(str(error)) from error


@dataclass(frozen=True)
class Batching:
    """How batches are planned: `linnet.data.batching.bin_utterances` with a cost of `n (a D + b D^2 + c T)`.

    The defaults stand for the padded seconds of audio, a place for a token counted as 80 ms. `packed` lays the
    utterances of a batch end to end before the language model of a fusion model, so that their own costs add up to the
    budget; `groups` and `splits` mean nothing then. With `memory`, such as 40GB, a batch may take so much of each
    process's memory instead, by what `linnet train fit-memory` has measured; `auto` is what the device has free, less a
    margin.
    """

    budget: float = 600.0
    memory: str = ""
    per_second: float = 1.0
    per_square_second: float = 0.0
    per_token: float = 0.08
    groups: int = 30
    splits: int = 2
    packed: bool = False

    def __post_init__(self) -> None:
        require(self, POSITIVE, "budget")
        require(self, NOT_NEGATIVE, "per_second", "per_square_second", "per_token")
        require(self, ONE_OR_MORE, "groups", "splits")
        if not (self.per_second or self.per_square_second):
            raise OptionError("per_second and per_square_second are both 0, so a recording would cost nothing.")
        if self.groups * self.splits >= MOST_BINS:
            raise OptionError(f"groups times splits must be below {MOST_BINS}, got {self.groups * self.splits}.")
        if self.memory and self.packed:
            raise OptionError("packed batches are planned by a `budget` of padded seconds, not by `memory`.")
        if self.memory not in ("", "auto"):
            parse_bytes(self.memory)


@dataclass(frozen=True)
class Mixing:
    """How often each source of `train` is drawn: `linnet.data.batching.mix`; temperature 1 leaves them as they are.

    An epoch goes through no source more than `most` times (0: as often as the temperature asks for).
    """

    temperature: float = 2.0
    most: float = 0.0

    def __post_init__(self) -> None:
        require(self, POSITIVE, "temperature")
        require(self, NOT_NEGATIVE, "most")


@dataclass(frozen=True)
class AugmentOptions:
    """The chance of each thing that can happen to a training recording, in this order; 0 leaves it out.

    What they are is told in `linnet.training.speech.augment`.
    """

    speed: float = 0.5
    room: float = 0.3
    noise: float = 0.5
    telephone: float = 0.1
    codec: float = 0.1
    level: float = 1.0
    masks: float = 0.3

    def __post_init__(self) -> None:
        require(self, SHARE, *asdict(self))


@dataclass(frozen=True)
class TrainingSource(SourceSpec):
    """A source of training utterances; `transcribe_with` names a model that writes their texts first, once.

    For speech without texts: a larger model's make it more data; the texts of the very checkpoint that is fine-tuned,
    beside the recordings of a new domain, keep it from forgetting what it knew.
    """

    transcribe_with: str = ""


@dataclass(frozen=True)
class CacheFeatures:
    """Encode every training utterance once and keep its encoder frames, at most `gigabytes`.

    They are kept in the run's folder, or in `folder`, where the next run on the same data finds them.

    For a fusion model or a Whisper whose encoder is frozen, and audio that is not augmented: the loss is the same,
    without the encoder's work in each step.
    """

    gigabytes: float = 20.0
    folder: str = ""

    def __post_init__(self) -> None:
        require(self, POSITIVE, "gigabytes")


LONGEST_SILENCE = ValueRule("0 to 5 seconds", lambda value: 0 <= value <= 5)


@dataclass(frozen=True)
class JoinOptions:
    """Lay utterances one after another in a Whisper's window, with up to `silence` seconds before each.

    A share `times` of the windows is trained with Whisper's times around each utterance's text, the others without. A
    share `alone` of the utterances has a window for itself: a text that others stand before is easier to tell.
    """

    silence: float = 0.6
    times: float = 0.5
    alone: float = 0.05

    def __post_init__(self) -> None:
        require(self, LONGEST_SILENCE, "silence")
        require(self, SHARE, "times", "alone")


@dataclass(frozen=True)
class SpeechData:
    """What is trained and validated on, and which utterances of it.

    `longest` is in seconds; utterances whose tokens per second are more than `deviations` standard deviations from
    those of similar length are left out. `validation_limit` keeps the first so many of the validation set (0: all).
    """

    train: tuple[TrainingSource, ...] = ()
    validation: SourceSpec | None = None
    validation_limit: int = 0
    longest: float = 30.0
    deviations: float = 4.0
    augment: AugmentOptions | None = None
    cache_features: CacheFeatures | None = None
    join: JoinOptions | None = None
    batching: Batching = field(default_factory=Batching)
    mixing: Mixing | None = None

    def __post_init__(self) -> None:
        require(self, NOT_NEGATIVE, "validation_limit", "longest")
        require(self, POSITIVE, "deviations")
        for source in (*self.train, *filter(None, [self.validation])):
            require_kind(source)
        if self.cache_features is not None and self.augment is not None:
            raise OptionError(
                "cache_features and augment exclude each other: augmented audio is another one in each epoch."
            )
        if self.cache_features is not None and self.join is not None:
            raise OptionError("cache_features and join exclude each other: windows are others in each epoch.")
        if self.join is not None and (self.batching.memory or self.batching.packed):
            other = "packed" if self.batching.packed else "memory"
            raise OptionError(f"joined windows are planned by a `budget` of padded seconds: leave out `{other}`.")


@dataclass(frozen=True)
class SpeechRunSettings(RunSettings):
    """Where and how the run goes, and how the validation set is decoded and scored."""

    validation_batch: int = 16
    beams: int = 1
    max_new_tokens: int = 200
    normalizer: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, ONE_OR_MORE, "validation_batch", "beams", "max_new_tokens")


@dataclass(frozen=True)
class Distillation:
    """Learning from what a teacher would say, token by token, with this weight, at this temperature.

    A fusion model's teacher is its own language model that reads the text; that of any other model is `teacher`, a
    folder or Hub id.
    """

    weight: float = 1.0
    temperature: float = 2.0
    teacher: str = ""

    def __post_init__(self) -> None:
        require(self, POSITIVE, "temperature")


@dataclass(frozen=True)
class CtcOptions:
    """A head on the encoder that spells the text, and the weight of its loss."""

    weight: float = 0.3


@dataclass(frozen=True)
class AlignmentOptions:
    """CTC of a fusion model's rows against the language model's token embeddings, and the weight of that loss."""

    weight: float = 1.0


@dataclass(frozen=True)
class Losses:
    """What is minimized: the weight of the tokens' cross-entropy, and what is learned from beside it.

    With `text: 0` and without `distill` a fusion model's language model does no work.
    """

    text: float = 1.0
    distill: Distillation | None = None
    ctc: CtcOptions | None = None
    alignment: AlignmentOptions | None = None

    def __post_init__(self) -> None:
        weights = {"text": self.text}
        weights |= {} if self.distill is None else {"distill": self.distill.weight}
        weights |= {} if self.ctc is None else {"ctc": self.ctc.weight}
        weights |= {} if self.alignment is None else {"alignment": self.alignment.weight}
        for name, weight in weights.items():
            NOT_NEGATIVE.check(f"the weight of {name}", weight)
        if not any(weights.values()):
            raise OptionError("all weights are zero, so nothing would be learned.")


@dataclass(frozen=True)
class SpeechRecipe:
    """Everything that the training of a speech model depends on.

    `freeze` has a policy of `linnet.training.freeze` for each part, which is any path of a submodule. By default a
    model put together trains its projector, and a checkpoint all of itself.
    """

    model: SpeechModelChoice = field(default_factory=SpeechModelChoice)
    freeze: dict[str, str] = field(default_factory=dict)
    data: SpeechData = field(default_factory=SpeechData)
    losses: Losses = field(default_factory=Losses)
    optimization: Optimization = field(default_factory=Optimization)
    run: SpeechRunSettings = field(default_factory=SpeechRunSettings)
    task: str = "speech"

    def __post_init__(self) -> None:
        for policy in self.freeze.values():
            parse(policy)

    def prepare(self, context: RunContext) -> tuple[Trainer, Data, Validate | None]:
        """The trainer at its first step, its batches, and what validates it."""
        from linnet.training.speech.model import load_task
        from linnet.training.speech.run import prepare

        return prepare(self, load_task(self), context)

    def outline(self, context: RunContext) -> Iterator[tuple[str, str]]:
        """What the recipe comes to: parameters, utterances, steps, padding."""
        from linnet.training.estimate.dry_run import dry_run

        return dry_run(self, context)
