"""What a run is given beside its recipe, and hands on as one."""

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
    """How a run meets what its recipe does not say.

    With `skip_bad` utterances that cannot be used are left out and reported, else they end it. `notify` gets sentences
    for the user. `score` counts the errors of a validation set: without one nothing is validated, unless a task has a
    way of its own. `stop` is asked after each step.
    """

    skip_bad: bool = False
    notify: Notify = logging.getLogger("linnet.training").info
    score: Score | None = None
    stop: Stop = never


ALONE = RunContext()  # nothing but a recipe
