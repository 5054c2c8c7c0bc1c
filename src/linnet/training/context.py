"""The context of a training run, besides its recipe."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from linnet.notices import Notify
from linnet.training.shutdown import Stop, never

Score: TypeAlias = Callable[[Sequence[str], Sequence[str], Sequence[str | None]], float]
# references, hypotheses and languages of the utterances -> word error rate, 0.05 for 5 %


@dataclass(frozen=True)
class RunContext:
    """Settings of a run that are not part of its recipe.

    With `skip_bad` unusable utterances are skipped and reported, else they are an error. `notify` receives notices.
    `score` scores a validation set; without it only tasks with their own scoring are validated. `stop` is polled after
    each step.
    """

    skip_bad: bool = False
    notify: Notify = logging.getLogger("linnet.training").info
    score: Score | None = None
    stop: Stop = never


ALONE = RunContext()  # all defaults
