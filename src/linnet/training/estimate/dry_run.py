"""Dry run of a recipe: parameters, utterances, steps, padding."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from linnet.data.batching import JoinPlan, Packing
from linnet.data.batching.arrays import Ints
from linnet.errors import LinnetError, OptionError
from linnet.training.context import ALONE, RunContext
from linnet.training.estimate.duration import estimate, some_batches
from linnet.training.estimate.flops import StepFlops
from linnet.training.estimate.memory import memory_rows
from linnet.training.freeze import counts
from linnet.training.speech.corpus import read_corpus
from linnet.training.speech.inputs import WhisperInputs
from linnet.training.speech.model import SpeechTask, outline
from linnet.training.speech.recipe import SpeechRecipe
from linnet.training.speech.run import TrainingPlan, plan, require_possible, spelling_head
from linnet.training.trainer import device_of, total_steps


def dry_run(recipe: SpeechRecipe, context: RunContext = ALONE) -> Iterator[tuple[str, str]]:
    """Rows of a table of names and values; a missing model or data is reported as a row.

    Only configs and tokenizer of a new fusion model are read, so models of any size can be counted. Raises
    `OptionError` for an unavailable device or a recipe that does not fit its model.
    """
    yield "device", "{} ({})".format(*device_of(recipe.run))
    try:
        task = outline(recipe)
        require_possible(recipe, task)
    except OptionError:
        raise
    except LinnetError as error:
        yield "model", f"missing: {error}"
        yield "data", "not read: tokenizing its texts needs the model"
        return
    yield from _parameters(task)
    lines: list[str] = []
    collecting = replace(context, notify=lines.append)
    try:
        planned = plan(recipe, task, collecting)
    except LinnetError as error:
        yield "data", f"missing: {error}"
        yield from memory_rows(recipe, task)
        return
    yield from _validation(recipe, task, context)
    before = len(lines)
    for line in (*lines, *planned.lines()):
        yield "data", line
    if recipe.losses.ctc is not None:
        task = replace(task, ctc=spelling_head(recipe, task, planned, collecting))
        yield "ctc head", ". ".join([_ctc_head(task), *lines[before:]])
    yield from _batches(recipe, task, planned)


def _batches(recipe: SpeechRecipe, task: SpeechTask, planned: TrainingPlan) -> Iterator[tuple[str, str]]:
    yield "hours", f"{planned.corpus.lengths.durations[planned.selection.rows].sum() / 3600:.2f}"
    batches = planned.batches(1, recipe.run.seed)
    each = math.ceil(batches.steps / recipe.optimization.accumulate)
    total = total_steps(recipe.optimization, batches)
    size = len(batches.plan.rows) / max(batches.steps, 1)
    yield "batches an epoch", f"{batches.steps}, of {size:.1f} utterances on average"
    yield "steps an epoch", f"{each}"
    yield "steps", f"{total}, {total / max(each, 1):.2f} epochs"
    yield from _waste(recipe, planned, list(some_batches(batches.plan)))
    flops = StepFlops(task.model, task.inputs.span, idle=_idle(recipe))
    yield from estimate(partial(_spent, flops, planned), batches.plan, total, recipe).rows()
    yield from memory_rows(recipe, task, planned.binning)


def _validation(recipe: SpeechRecipe, task: SpeechTask, context: RunContext) -> Iterator[tuple[str, str]]:
    if recipe.data.validation is None:
        return
    specs, limit = [recipe.data.validation], recipe.data.validation_limit
    lines: list[str] = []
    try:
        corpus = read_corpus(specs, task.inputs, replace(context, notify=lines.append), limit=limit)
    except LinnetError as error:
        lines = [f"missing: {error}"]
    else:
        lines.append(f"{len(corpus.utterances)} utterances")
    for line in lines:
        yield "validation", line


def _waste(recipe: SpeechRecipe, planned: TrainingPlan, batches: list[Ints]) -> Iterator[tuple[str, str]]:
    """The computed padding of some batches, and how full they are."""
    lengths, inputs = planned.corpus.lengths, planned.corpus.inputs
    whole = isinstance(planned.binning, JoinPlan) or recipe.data.cache_features is not None
    padded = seconds = slots = tokens = clips = 0.0
    for rows in batches:
        count, longest, most = planned.shape(rows.tolist())
        padded += count * longest if whole else inputs.padded_seconds(lengths.durations[rows].tolist())
        seconds += float(lengths.durations[rows].sum())
        tokens += int(lengths.tokens[rows].sum())
        slots += int(lengths.tokens[rows].sum()) if isinstance(planned.binning, Packing) else count * most
        clips += count
    yield "audio padding", f"{1 - seconds / padded:.1%}{_reason(planned, sum(map(len, batches)) / clips, whole)}"
    yield "text padding", f"{1 - tokens / max(slots, 1):.1%}"
    yield "budget used", f"{np.mean([planned.used(rows.tolist()) for rows in batches]):.0%}"


def _reason(planned: TrainingPlan, each: float, whole: bool) -> str:
    """A remark on the padding of an encoder that pads to a full window."""
    inputs = planned.corpus.inputs
    if isinstance(planned.binning, JoinPlan):
        return f" ({each:.1f} utterances in a window of {inputs.span:g} s)"
    if inputs.span is not None:
        hint = "; `data: {join: true}` puts several into one" * isinstance(inputs, WhisperInputs)
        return f" (all audio is padded to {inputs.span:g} s{hint})"
    least = inputs.padded_seconds([0.1])
    if whole or least < 1:
        return ""
    return f" (the encoder pads every window to {least:g} s; `pad_seconds` reduces that)"


def _spent(flops: StepFlops, planned: TrainingPlan, rows: Ints) -> float:
    """Operations of a batch."""
    if not isinstance(planned.binning, Packing):
        return flops.batch(*planned.shape(rows.tolist()))
    lengths = planned.corpus.lengths
    return flops.pack(lengths.durations[rows].tolist(), lengths.tokens[rows].tolist())


def _idle(recipe: SpeechRecipe) -> list[str]:
    """The parts of a fusion model that are idle in a step."""
    unread = not recipe.losses.text and recipe.losses.distill is None
    cached = recipe.data.cache_features is not None
    return ["encoder"] * cached + ["language_model"] * (unread and recipe.losses.alignment is not None)


def _ctc_head(task: SpeechTask) -> str:
    head = task.ctc
    assert head is not None
    return f"{sum(v.numel() for v in head.parameters()):,} trained, for {len(head.alphabet.characters)} characters"


def _parameters(task: SpeechTask) -> Iterator[tuple[str, str]]:
    found = counts(task.model, task.policy)
    for part, count in found.items():
        policy = task.policy.get(part, "frozen")
        yield part, f"{policy}: {count.trained:,} trained, {count.frozen:,} frozen"
    trained, frozen = sum(c.trained for c in found.values()), sum(c.frozen for c in found.values())
    yield "parameters", f"{trained:,} trained, {frozen:,} frozen"
