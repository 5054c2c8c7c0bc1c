"""All options of a stream."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from linnet.errors import OptionError
from linnet.settings import NOT_NEGATIVE, ONE_OR_MORE, POSITIVE, SHARE, require

POLICIES = ("commit", "hold-n", "local-agreement-n", "emit-all")
_NUMBERED = re.compile(r"(hold|local-agreement)-([1-9]\d?)")


@dataclass(frozen=True)
class Endpointing:
    """Seconds of silence that end a segment of speech.

    The end of a sentence needs less silence than a comma or the middle of a sentence.
    """

    pause: float = 0.8  # for text of models or languages without punctuation
    after_sentence: float = 0.6
    after_phrase: float = 0.9  # no punctuation or a comma: the speaker may be pausing to think
    without_text: float = 2.4  # speech detected but no words recognized

    def __post_init__(self) -> None:
        require(self, POSITIVE, "pause", "after_sentence", "after_phrase", "without_text")


@dataclass(frozen=True)
class CommitTiming:
    """How soon words of a model are final; see `StreamOptions`, whose fields of the same name override these.

    `ends_after_words`: the model was trained to write a word only after its end, so that the last word before
    <|endoftext|> is complete. Other models also write the beginning of a word that is cut off.
    """

    delay: float = 0.3
    step: float = 0.4
    patience: float = 1.0
    threshold: float = 0.9
    ends_after_words: bool = False


@dataclass(frozen=True)
class StreamOptions:
    """How a stream is recognized, and how soon its words are final.

    `delay`, the seconds of audio after a word's end before it can be final, is the main trade-off: a smaller delay
    costs a little accuracy. Of `delay`, `step`, `patience` and `threshold`, None means the model's own.
    """

    language: str | None = None  # a code or a name; None or auto: detect
    prompt: str | None = None  # preceding text to condition on: names, spelling, style
    policy: str = "commit"  # commit, hold-N, local-agreement-N, emit-all
    delay: float | None = None
    step: float | None = None  # seconds of new audio between decodes
    patience: float | None = None  # extra seconds of delay for a word of probability 0, proportionally less for others
    threshold: float | None = None  # minimum token probability for a word to be final after one hypothesis
    beam_size: int = 1
    endpointing: Endpointing = field(default_factory=Endpointing)
    window: float = 15.0  # seconds of speech beyond which audio with final words is dropped
    stats_every: float = 30.0  # seconds of audio between `Stats` events

    def __post_init__(self) -> None:
        if self.policy not in ("commit", "emit-all") and not _NUMBERED.fullmatch(str(self.policy)):
            raise OptionError(
                f"policy {self.policy!r} is unknown: use commit, emit-all, hold-1 or local-agreement-2 (or up to 99)"
            )
        for name in ("language", "prompt"):
            if not isinstance(getattr(self, name), str | None):
                raise OptionError(f"{name} must be text, got {getattr(self, name)!r}")
        rules = {"delay": NOT_NEGATIVE, "patience": NOT_NEGATIVE, "step": POSITIVE, "threshold": SHARE}
        for name, rule in rules.items():
            if getattr(self, name) is not None:
                require(self, rule, name)
        require(self, POSITIVE, "window", "stats_every")
        require(self, ONE_OR_MORE, "beam_size")
        if self.step is not None and self.step > 5.0:
            raise OptionError(f"step must be at most 5 seconds, got {self.step:g}: words would be late")
        if not 5.0 <= self.window <= 25.0:
            raise OptionError(f"window must be from 5 to 25 seconds, got {self.window:g}")
        if self.language is not None and self.language.strip().lower() in ("", "auto"):
            object.__setattr__(self, "language", None)

    def timing(self, model: CommitTiming) -> CommitTiming:
        """How soon words are final with these options, for a model of its own timing."""
        given = {name: getattr(self, name) for name in ("delay", "step", "patience", "threshold")}
        return replace(model, **{name: value for name, value in given.items() if value is not None})

    @property
    def count(self) -> int:
        """The number in the policy's name; 0 if it has none."""
        found = _NUMBERED.fullmatch(self.policy)
        return int(found[2]) if found else 0
