"""Measure the memory of a recipe's steps at a few shapes, fit a cost, and derive batch sizes.

The paper's tool bisects the largest batch of every bin by running out of memory; here eight shapes well below the limit
are measured and the formula of `linnet.data.batching.cost` is fitted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from linnet.data.batching import Bins, Shape, fit_bins, fit_peak
from linnet.errors import OptionError
from linnet.machine import parse_bytes, show_bytes
from linnet.models.device import torch_device
from linnet.notices import Notify
from linnet.training.context import ALONE, RunContext
from linnet.training.estimate.memory import (
    Fit,
    describe,
    fit_file,
    fit_key,
    free_memory,
    load_fit,
    save_fit,
    usable_memory,
)
from linnet.training.estimate.memory_profile import Moments
from linnet.training.estimate.probing import Probing
from linnet.training.speech.ctc import Alphabet
from linnet.training.speech.inputs import Inputs
from linnet.training.speech.model import outline
from linnet.training.speech.recipe import SpeechRecipe
from linnet.training.speech.run import chosen, require_possible

Measured = tuple[Shape, Moments]
_PROBES = 8
_CHECKS = 3
_LARGEST = 512  # utterances in a measured batch
_LEAST = 16_000_000  # bytes of a measured batch, so that it stands out
_TRUSTED = 0.06  # maximum error of a good fit
_SHARE = 0.5  # of the free memory that a measured batch may take


@dataclass(frozen=True)
class Check:
    """A batch outside the fit: its predicted and measured bytes."""

    shape: Shape
    predicted: float
    measured: int

    @property
    def error(self) -> float:
        """The relative error, 0.05 if predicted 5 % too high."""
        return self.predicted / self.measured - 1


@dataclass(frozen=True, eq=False)
class MemoryFit:
    """The fitted memory of a recipe, and the batch size of each bin within the budget of bytes.

    `sizes` [B] is 0 where one utterance is too large. `checks` is empty if the fit came from the cache.
    """

    fit: Fit
    bins: Bins
    budget: int
    checks: tuple[Check, ...]
    kept: str

    @property
    def sizes(self) -> list[int]:
        """The batch size of each bin."""
        return [int(size) for size in self.fit.cost.most(self.bins.seconds, self.bins.tokens, self.budget)]

    @property
    def shapes(self) -> list[Shape]:
        """The largest batch of each bin."""
        pairs = zip(self.sizes, self.bins.seconds.tolist(), self.bins.tokens.tolist(), strict=True)
        return [(size, seconds, tokens) for size, seconds, tokens in pairs]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        cost = self.fit.cost
        return {
            "budget": self.budget,
            "held": self.fit.held,
            "bins": [
                {"seconds": d, "tokens": t, "batch": n, "predicted": float(cost.of(n, d, t))} for n, d, t in self.shapes
            ],
            "probes": [
                {"shape": shape, "measured": measured}
                for shape, measured in zip(self.fit.shapes, self.fit.measured, strict=True)
            ],
            "checks": [
                {"shape": each.shape, "predicted": each.predicted, "measured": each.measured, "error": each.error}
                for each in self.checks
            ],
            "kept": self.kept,
        }

    def tables(self) -> list[list[tuple[str, ...]]]:
        """Two tables as text, with headings: the bins, and the checks."""
        cost = self.fit.cost
        bins: list[tuple[str, ...]] = [("seconds", "tokens", "batch", "memory")]
        for n, d, t in self.shapes:
            bins.append((f"{d:.2f}", f"{t}", f"{n}" if n else "none fits", show_bytes(float(cost.of(max(n, 1), d, t)))))
        checks: list[tuple[str, ...]] = [("checked", "predicted", "measured", "error")]
        for each in self.checks:
            predicted, found = show_bytes(each.predicted), show_bytes(each.measured)
            checks.append((describe(each.shape), predicted, found, f"{each.error:+.1%}"))
        return [bins, *([checks] if self.checks else [])]


def fit_memory(
    recipe: SpeechRecipe,
    context: RunContext = ALONE,
    *,
    memory: str = "auto",
    processes: int = 1,
    force: bool = False,
) -> MemoryFit:
    """Measure and fit the memory of a recipe's steps, or take it from the cache unless `force`; caches the result.

    `memory` is the limit per process, such as `40GB`; `auto` is what is free on the device, less a margin. `processes`
    train together, as under torchrun.

    Raises:
        OptionError: the recipe, its model, data or device is unavailable, or one utterance alone exceeds `memory`.
        LinnetError: no step could be measured.
        OutputError: the cache cannot be written.
    """
    if recipe.data.batching.packed:
        raise OptionError("data: batching: the memory of packed batches is not fitted: leave `packed` out.")
    limit = None if memory == "auto" else parse_bytes(memory)
    device = torch_device(recipe.run.device)
    task = outline(recipe)
    require_possible(recipe, task)
    corpus, lengths, selection = chosen(recipe.data, task.inputs, context)
    rows, options = selection.rows, recipe.data.batching
    bins = fit_bins(lengths.durations[rows], lengths.tokens[rows], groups=options.groups, splits=options.splits)
    key = fit_key(recipe, task, processes)
    found = None if force else load_fit(key)
    if found is not None and found.covers(float(bins.seconds.max()), int(bins.tokens.max())):
        budget = limit or usable_memory(free_memory(device), device, processes)
        return MemoryFit(found, bins, budget, (), str(fit_file(key)))
    texts = (corpus.utterances[row].text or "" for row in rows.tolist()) if recipe.losses.ctc is not None else ()
    with Probing(recipe, processes, context.notify, Alphabet.of(texts).characters) as probing:
        budget = limit or usable_memory(probing.free, device, processes)
        fit = fit_steps(probing, probe_shapes(bins, task.inputs), budget, context.notify)
        kept = save_fit(fit, key)
        made = MemoryFit(fit, bins, budget, (), str(kept))
        reach = budget if device.type == "cuda" else min(budget, fit.held + 3 * _aim(fit.held, budget))
        return replace(made, checks=tuple(_checks(probing, made, reach, context.notify)))


def probe_shapes(bins: Bins, inputs: Inputs) -> list[tuple[float, int]]:
    """The shapes (seconds, tokens) to measure: `Bins.probes`, or values spread below the longest if those are too few.

    Texts too long for the model are shortened.
    """
    found = bins.probes(_PROBES)
    if len(found) < _PROBES or len({seconds for seconds, _ in found}) < _PROBES // 2:
        longest, most = float(bins.seconds.max()), max(4, int(bins.tokens.max()))
        found = Bins(np.linspace(longest / 4, longest, 6), np.linspace(1, most, 6).astype(np.int64)).probes(_PROBES)
    return [(seconds, _fitting(seconds, tokens, inputs)) for seconds, tokens in found]


def _fitting(seconds: float, tokens: int, inputs: Inputs) -> int:
    while tokens > 1 and inputs.misfit(seconds, tokens) is not None:
        tokens = tokens * 9 // 10
    return tokens


def _aim(held: int, budget: int) -> int:
    """The target size of a measured batch in bytes, without weights: well above them, well below the limit."""
    return int(min(_SHARE * (budget - held), max(_LEAST, 2 * held)))


def fit_steps(probing: Probing, shapes: Sequence[tuple[float, int]], budget: int, notify: Notify) -> Fit:
    """Measure a step at each shape and fit the cost of its moments.

    Raises:
        OptionError: the weights, or one utterance alone, exceed the budget.
        LinnetError: a step fails for another reason than memory.
    """
    held = probing.held
    if held >= budget:
        raise OptionError(
            f"weights, optimizer and moving average alone take {show_bytes(held)} of {show_bytes(budget)}: train a "
            "smaller part (`freeze`), or provide more memory."
        )
    measured: list[Measured] = []
    for number, (seconds, tokens) in enumerate(shapes):
        alone = _alone(probing, seconds, tokens, budget)
        aim = _aim(held, budget) // (1 + 2 * (number % 2))  # every other batch is smaller, to vary the size
        several = _several(probing, alone, aim, budget, notify)
        if several is None or number == 0:
            measured.append(alone)
        measured += [several] if several is not None else []
        notify(f"{describe(measured[-1][0])}: {show_bytes(max(measured[-1][1].values()))}")
    taken = [shape for shape, _ in measured]
    peaks = [max(moments.values()) for _, moments in measured]
    fit = Fit(fit_peak(taken, _moments(measured, held), known=held), held, tuple(taken), tuple(peaks))
    error = float(np.abs(fit.cost.errors(taken, peaks)).max())
    advice = ": set the limit lower by that share" if error > _TRUSTED else ""
    notify(f"fitted to {len(peaks)} measured steps, within {error:.1%}{advice}")
    return fit


def _alone(probing: Probing, seconds: float, tokens: int, budget: int) -> Measured:
    """Measure one utterance. Raises `OptionError` where it exceeds the budget."""
    shape = (1, seconds, tokens)
    moments = probing.moments(shape)
    if moments is None or max(moments.values()) > budget:
        takes = "does not fit into memory" if moments is None else f"takes {show_bytes(max(moments.values()))}"
        raise OptionError(
            f"a step of {describe(shape)} {takes}, of {show_bytes(budget)}: leave out the longest (`longest`), turn on "
            "gradient_checkpointing, or provide more memory."
        )
    return shape, moments


def _several(probing: Probing, alone: Measured, aim: int, budget: int, notify: Notify) -> Measured | None:
    """Measure the number of utterances that should take `aim` bytes, at least two, halved while they do not fit; else
    None."""
    (_, seconds, tokens), moments = alone
    each = max(max(moments.values()) - probing.held, 1)
    count = min(max(2, aim // each), _LARGEST, (budget - probing.held) // each)
    while count > 1:
        shape = (count, seconds, tokens)
        if (found := probing.moments(shape)) is not None:
            return shape, found
        notify(f"{describe(shape)} do not fit: trying half as many")
        count //= 2
    return None


def _moments(measured: Sequence[Measured], held: int) -> list[list[float]]:
    """The bytes of each moment at all shapes; moments missing at some shapes are combined."""
    common = set.intersection(*(set(moments) for _, moments in measured))
    rest = [max((moments[name] for name in moments.keys() - common), default=held) for _, moments in measured]
    return [*([float(moments[name]) for _, moments in measured] for name in sorted(common)), [float(r) for r in rest]]


def _checks(probing: Probing, made: MemoryFit, reach: float, notify: Notify) -> Iterator[Check]:
    """Measure batches of three bins outside the fit, each as large as its bin (or `reach`) allows."""
    known = {(seconds, tokens) for _, seconds, tokens in made.fit.shapes}
    others = [shape for shape in made.shapes if shape[1:] not in known and shape[0] > 0]
    for at in sorted({len(others) * place // (2 * _CHECKS) for place in range(1, 2 * _CHECKS, 2)} if others else ()):
        size, seconds, tokens = others[at]
        cost = made.fit.cost
        size = max(1, min(size, _LARGEST, int(cost.most(seconds, tokens, reach))))
        shape = (size, seconds, tokens)
        if (moments := probing.moments(shape)) is None:
            notify(f"{describe(shape)} should fit but do not: set the limit below {show_bytes(made.budget)}")
            continue
        yield Check(shape, float(cost.of(*shape)), max(moments.values()))
