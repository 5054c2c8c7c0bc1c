"""The recipe of a speech model (`task: speech`, the default), as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

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
    """The model: a new fusion model of `encoder` and `language_model`, or an existing `checkpoint`.

    All are folders or Hub ids. `projector`, `instruction`, `system`, `window_seconds`, `pad_seconds` and the revisions
    are those of `linnet.models.fusion.build`; for a Whisper, a shorter `window_seconds` (whole seconds) changes its
    window. `language` applies to utterances without one (Whisper models). `dtype` is the precision of frozen weights;
    trained ones are float32.
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
    """Batch planning: `linnet.data.batching.bin_utterances` with a cost of `n (a D + b D^2 + c T)`.

    By default the cost is the padded seconds of audio, with 80 ms per token. `packed` concatenates the utterances of a
    batch for the language model of a fusion model, so that costs add up without padding (`groups` and `splits` are
    ignored). `memory`, such as 40GB, limits batches by the memory per process that `linnet train fit-memory` measured;
    `auto` is what the device has free, less a margin.
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
            raise OptionError("per_second and per_square_second are both 0, so recordings would cost nothing.")
        if self.groups * self.splits >= MOST_BINS:
            raise OptionError(f"groups times splits must be below {MOST_BINS}, got {self.groups * self.splits}.")
        if self.memory and self.packed:
            raise OptionError("packed batches are planned by a `budget` of padded seconds, not by `memory`.")
        if self.memory not in ("", "auto"):
            parse_bytes(self.memory)


@dataclass(frozen=True)
class Mixing:
    """How often each source of `train` is sampled (`linnet.data.batching.mix`); temperature 1 keeps proportions.

    An epoch repeats no source more than `most` times (0: no limit).
    """

    temperature: float = 2.0
    most: float = 0.0

    def __post_init__(self) -> None:
        require(self, POSITIVE, "temperature")
        require(self, NOT_NEGATIVE, "most")


@dataclass(frozen=True)
class AugmentOptions:
    """The probability of each augmentation, applied in this order; see `linnet.training.speech.augment`."""

    FORMER_KEYS: ClassVar[Mapping[str, str]] = {"room": "reverb"}
    speed: float = 0.5
    reverb: float = 0.3
    noise: float = 0.5
    telephone: float = 0.1
    codec: float = 0.1
    level: float = 1.0
    masks: float = 0.3

    def __post_init__(self) -> None:
        require(self, SHARE, *asdict(self))


@dataclass(frozen=True)
class TrainingSource(SourceSpec):
    """A source of training utterances; `transcribe_with` names a model that transcribes them once before training.

    For untranscribed speech: a larger model's transcripts add data, those of the fine-tuned checkpoint itself prevent
    forgetting.
    """

    transcribe_with: str = ""


@dataclass(frozen=True)
class CacheFeatures:
    """Cache the encoder frames of every training utterance, at most `gigabytes`, in the run's folder or in `folder`.

    For a fusion or Whisper model with a frozen encoder, and audio without augmentation; the loss is the same.
    """

    gigabytes: float = 20.0
    folder: str = ""

    def __post_init__(self) -> None:
        require(self, POSITIVE, "gigabytes")


LONGEST_SILENCE = ValueRule("0 to 5 seconds", lambda value: 0 <= value <= 5)


@dataclass(frozen=True)
class JoinOptions:
    """Concatenate utterances in Whisper's window, with up to `silence` seconds before each.

    A share `times` of the windows is trained with timestamps around each utterance's text. A share `alone` of the
    utterances gets its own window, since text after other text is easier to predict.
    """

    silence: float = 0.6
    times: float = 0.5
    alone: float = 0.05

    def __post_init__(self) -> None:
        require(self, LONGEST_SILENCE, "silence")
        require(self, SHARE, "times", "alone")


@dataclass(frozen=True)
class SpeechData:
    """Training and validation data, and how utterances are selected.

    `longest` is in seconds; utterances whose tokens per second are more than `deviations` standard deviations from
    those of similar length are skipped. `validation_limit` uses only the first utterances of the validation set (0:
    all).
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
            raise OptionError("cache_features and augment exclude each other: augmented audio differs in each epoch.")
        if self.cache_features is not None and self.join is not None:
            raise OptionError("cache_features and join exclude each other: windows differ in each epoch.")
        if self.join is not None and (self.batching.memory or self.batching.packed):
            other = "packed" if self.batching.packed else "memory"
            raise OptionError(f"joined windows are planned by a `budget` of padded seconds: leave out `{other}`.")


@dataclass(frozen=True)
class SpeechRunSettings(RunSettings):
    """Run settings, with those of decoding and scoring the validation set."""

    validation_batch: int = 16
    beams: int = 1
    max_new_tokens: int = 200
    normalizer: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, ONE_OR_MORE, "validation_batch", "beams", "max_new_tokens")


@dataclass(frozen=True)
class Distillation:
    """Distillation from a teacher's token predictions, with this weight and temperature.

    A fusion model's teacher is its own language model reading the text; for other models it is `teacher`, a folder or
    Hub id.
    """

    weight: float = 1.0
    temperature: float = 2.0
    teacher: str = ""

    def __post_init__(self) -> None:
        require(self, POSITIVE, "temperature")


@dataclass(frozen=True)
class CtcOptions:
    """A character CTC head on the encoder, and the weight of its loss."""

    weight: float = 0.3


@dataclass(frozen=True)
class AlignmentOptions:
    """CTC of a fusion model's rows against token embeddings, and the weight of that loss."""

    weight: float = 1.0


@dataclass(frozen=True)
class Losses:
    """The losses: the weight of the tokens' cross-entropy, and further losses.

    With `text: 0` and without `distill` a fusion model's language model is not run.
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
            raise OptionError("all weights are zero, so nothing would be trained.")


@dataclass(frozen=True)
class SpeechRecipe:
    """Everything that the training of a speech model depends on.

    `freeze` maps parts (any submodule path) to policies of `linnet.training.freeze`. By default a new fusion model
    trains its projector, and a checkpoint all weights.
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
        """The trainer at its first step, its batches, and its validation."""
        from linnet.training.speech.model import load_task
        from linnet.training.speech.run import prepare

        return prepare(self, load_task(self), context)

    def outline(self, context: RunContext) -> Iterator[tuple[str, str]]:
        """A dry run: parameters, utterances, steps, padding."""
        from linnet.training.estimate.dry_run import dry_run

        return dry_run(self, context)
