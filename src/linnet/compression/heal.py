"""Healing: train the low-rank layers to follow the dense model, on audio without texts.

The loss is KL(dense || compressed) at each token of the dense model's own transcripts, plus a share of the error of the
encoder's output. The result is kept only if it is better on held-out windows. The caller may supply the optimizer loop.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from linnet.compression.heldout import HeldOut, divergences
from linnet.compression.job import put_in
from linnet.compression.sites import hooked
from linnet.compression.subject import Example, Subject
from linnet.errors import OptionError
from linnet.notices import Notify, ignore

Fit = Callable[[Sequence[nn.Parameter], Callable[[int], Tensor], Callable[[int], bool]], int]
CHECKS = 8  # evaluations on held-out windows, evenly over the time


@dataclass(frozen=True)
class HealOptions:
    """Options of healing. `feature_share` is the weight of the encoder's output relative to the predictions."""

    minutes: float = 10.0
    rate: float = 1e-5
    feature_share: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0 < self.minutes < math.inf and self.rate > 0 and self.feature_share >= 0):
            raise OptionError(
                "healing needs a number of minutes and a rate, both above 0, and no negative share of features; "
                f"got {self.minutes:g} minutes"
            )


@dataclass(frozen=True, eq=False)
class Healed:
    """The layers after healing, or the original ones if it did not help.

    `divergence` is their mean KL on held-out windows, `before` that of the original ones, `kept` whether healing was
    kept, `steps` the number of training windows, `course` the divergence at each check.
    """

    layers: Mapping[str, nn.Module]
    before: float
    divergence: float
    steps: int
    kept: bool
    course: tuple[float, ...]


def heal(
    subject: Subject,
    layers: Mapping[str, nn.Module],
    examples: Sequence[Example],
    held_out: HeldOut,
    options: HealOptions | None = None,
    *,
    fit: Fit | None = None,
    notify: Notify | None = None,
) -> Healed:
    """Train copies of `layers`, placed in the dense model of `subject`, on windows without texts.

    Examples that have no transcript of the dense model yet are given it when they are first heard.

    `fit(parameters, loss, goes_on)` steps an optimizer on `loss(step)` for as long as `goes_on(step)` and answers with
    the number of steps; by default `adam`. The best state that was seen on the windows held out is kept.
    """
    if not layers:
        raise OptionError("nothing to heal: no layer is low-rank")
    options, say = options or HealOptions(), notify or ignore
    student = copy.deepcopy(dict(layers))
    parameters = [value for layer in student.values() for value in layer.parameters()]
    guard = _Guard(subject, student, held_out, say)
    lesson = _Lesson(subject, student, examples, options)
    clock = _Clock(options.minutes * 60)

    def goes_on(step: int) -> bool:
        if clock.share >= (len(guard.course)) / CHECKS:
            guard.check(step)
        return clock.share < 1.0

    for value in parameters:
        value.requires_grad_()
    if fit is None:
        steps = adam(parameters, lesson.loss, goes_on, options, clock)
    else:
        steps = fit(parameters, lesson.loss, goes_on)
    guard.check(steps)
    guard.restore()
    for value in parameters:
        value.requires_grad_(False)
    kept = guard.best < guard.course[0]
    made = student if kept else dict(layers)
    return Healed(made, guard.course[0], guard.best, steps, kept, tuple(guard.course))


def adam(
    parameters: Sequence[nn.Parameter],
    loss: Callable[[int], Tensor],
    goes_on: Callable[[int], bool],
    options: HealOptions,
    clock: _Clock,
) -> int:
    """Adam with a short warm-up; the learning rate decays as a half cosine over the given time."""
    optimizer = torch.optim.AdamW(parameters, lr=options.rate, betas=(0.9, 0.98), weight_decay=0.0)
    step = 0
    while goes_on(step):
        rate = options.rate * min(1.0, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * min(1.0, clock.share)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss(step).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
    return step


class _Clock:
    """Measures the elapsed share of the time."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._begun = seconds, time.perf_counter()

    @property
    def share(self) -> float:
        return (time.perf_counter() - self._begun) / self._seconds


class _Lesson:
    """The loss of one window after another, in random order without repetition within a pass."""

    def __init__(
        self, subject: Subject, student: Mapping[str, nn.Module], examples: Sequence[Example], options: HealOptions
    ) -> None:
        self._subject, self._student, self._options = subject, student, options
        self._examples = examples
        self._tokens: dict[int, Tensor | None] = {}
        self._generator = torch.Generator().manual_seed(options.seed)
        self._order: list[int] = []

    def loss(self, step: int) -> Tensor:
        del step
        if not self._order:
            self._order = torch.randperm(len(self._examples), generator=self._generator).tolist()
        index = self._order.pop()
        with torch.no_grad():
            example = self._examples[index]
            if example.tokens is None:
                if index not in self._tokens:  # features are large, and rebuilt
                    self._tokens[index] = self._subject.transcribed(example).tokens
                example = replace(example, tokens=self._tokens[index])
            taught, frames = _predictions(self._subject, example)
        with torch.enable_grad(), put_in(self._subject, self._student):
            said, own = _predictions(self._subject, example)
        loss = divergences(said, taught.log_softmax(-1)).mean()
        if frames and self._options.feature_share:
            spread = frames[-1].var(dim=(0, 1)).mean()
            loss = loss + self._options.feature_share * (own[-1] - frames[-1]).square().mean() / spread
        return loss


def _predictions(subject: Subject, example: Example) -> tuple[Tensor, list[Tensor]]:
    """The logits and the encoder's output."""
    written: list[Tensor] = []

    def keep(_: nn.Module, __: object, made: object) -> None:
        found = getattr(made, "last_hidden_state", None)
        if isinstance(found, Tensor):
            written.append(found)

    with hooked(subject.model, {subject.path(subject.encoder): keep}):
        return subject.logits(example), written


class _Guard:
    """Keeps the best state of the layers on held-out windows."""

    def __init__(self, subject: Subject, student: Mapping[str, nn.Module], held_out: HeldOut, say: Notify) -> None:
        self._subject, self._student, self._held_out, self._say = subject, student, held_out, say
        self.course: list[float] = []
        self.best = math.inf
        self._state: dict[str, dict[str, Tensor]] = {}

    def check(self, step: int) -> None:
        with put_in(self._subject, self._student):
            found = self._held_out.divergence()
        self.course.append(found)
        self._say(f"healing, step {step}: {found:.4f} nats from the dense model")
        if found < self.best:
            self.best = found
            self._state = {name: copy.deepcopy(layer.state_dict()) for name, layer in self._student.items()}

    def restore(self) -> None:
        for name, layer in self._student.items():
            layer.load_state_dict(self._state[name])
