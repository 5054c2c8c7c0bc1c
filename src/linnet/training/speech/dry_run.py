"""What a recipe comes to, before anything is trained: parameters, utterances, steps, padding."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from linnet.data.batching.bench import measure_packed, measure_waste
from linnet.errors import LinnetError, OptionError
from linnet.training.freeze import counts
from linnet.training.speech.corpus import read_corpus
from linnet.training.speech.duration import estimate
from linnet.training.speech.flops import StepFlops
from linnet.training.speech.memory import memory_rows
from linnet.training.speech.model import Trainee, outline
from linnet.training.speech.recipe import SpeechRecipe
from linnet.training.speech.run import Planned, plan, require_possible, spelling_head
from linnet.training.trainer import device_of, total_steps


def dry_run(recipe: SpeechRecipe, *, skip_bad: bool = False) -> Iterator[tuple[str, str]]:
    """Rows of a table: what, and its figure. A model or data that is not there is a row that says what is missing.

    Of a model put together only configs and tokenizer are read, so that one of any size can be counted here. Raises
    `OptionError` for what a run would refuse: a device that is not there, a recipe that does not fit its model.
    """
    yield "device", "{} ({})".format(*device_of(recipe.run))
    try:
        trainee = outline(recipe)
        require_possible(recipe, trainee)
    except OptionError:
        raise
    except LinnetError as error:
        yield "model", f"missing: {error}"
        yield "data", "not read: how its texts are tokenized is the model's"
        return
    yield from _parameters(trainee)
    said: list[str] = []
    try:
        planned = plan(recipe, trainee, skip_bad=skip_bad, tell=said.append)
    except LinnetError as error:
        yield "data", f"missing: {error}"
        yield from memory_rows(recipe, trainee)
        return
    yield from _validation(recipe, trainee, skip_bad)
    told = len(said)
    for line in (*said, *planned.lines()):
        yield "data", line
    if recipe.losses.ctc is not None:
        trainee = replace(trainee, ctc=spelling_head(recipe, trainee, planned, said.append))
        yield "ctc head", ". ".join([_ctc_head(trainee), *said[told:]])
    yield from _batches(recipe, trainee, planned)


def _batches(recipe: SpeechRecipe, trainee: Trainee, planned: Planned) -> Iterator[tuple[str, str]]:
    yield "hours", f"{planned.corpus.lengths.durations[planned.selection.rows].sum() / 3600:.2f}"
    batches = planned.batches(1, recipe.run.seed)
    measured = batches.plan, planned.lengths, planned.cost, planned.budget
    waste = measure_waste("planned", *measured)
    each = math.ceil(batches.steps / recipe.optimisation.accumulate)
    total = total_steps(recipe.optimisation, batches)
    yield "batches an epoch", f"{batches.steps}, of {waste.batch:.1f} utterances on average"
    yield "steps an epoch", f"{each}"
    yield "steps", f"{total}, {total / max(each, 1):.2f} epochs"
    span = trainee.inputs.span
    if span is not None:
        heard = planned.corpus.lengths.durations[planned.selection.rows].mean()
        yield "audio padding", f"{1 - heard / span:.1%} (every sound is padded to {span:g} s)"
    else:
        yield "audio padding", f"{waste.audio_padding:.1%}"
    if recipe.data.batching.packed:  # the encoder still pads
        waste = measure_packed("packed", *measured)
    yield "text padding", f"{waste.text_padding:.1%}"
    yield "budget used", f"{waste.budget_used:.0%}"
    flops = StepFlops(trainee.model, span, idle=_idle(recipe))
    yield from estimate(flops, planned.corpus.lengths, batches.plan, total, recipe).rows()
    yield from memory_rows(recipe, trainee, planned.binning)


def _validation(recipe: SpeechRecipe, trainee: Trainee, skip_bad: bool) -> Iterator[tuple[str, str]]:
    if recipe.data.validation is None:
        return
    specs, limit = [recipe.data.validation], recipe.data.validation_limit
    said: list[str] = []
    try:
        corpus = read_corpus(specs, trainee.inputs, skip_bad=skip_bad, limit=limit, tell=said.append)
    except LinnetError as error:
        said = [f"missing: {error}"]
    else:
        said.append(f"{len(corpus.utterances)} utterances")
    for line in said:
        yield "validation", line


def _idle(recipe: SpeechRecipe) -> list[str]:
    """The parts of a fusion model that do no work in a step."""
    unread = not recipe.losses.text and recipe.losses.distil is None
    cached = recipe.data.cache_features is not None
    return ["encoder"] * cached + ["language_model"] * (unread and recipe.losses.alignment is not None)


def _ctc_head(trainee: Trainee) -> str:
    head = trainee.ctc
    assert head is not None
    return f"{sum(v.numel() for v in head.parameters()):,} trained, for {len(head.alphabet.characters)} characters"


def _parameters(trainee: Trainee) -> Iterator[tuple[str, str]]:
    found = counts(trainee.model, trainee.policy)
    for part, count in found.items():
        policy = trainee.policy.get(part, "frozen")
        yield part, f"{policy}: {count.trained:,} trained, {count.frozen:,} frozen"
    trained, frozen = sum(c.trained for c in found.values()), sum(c.frozen for c in found.values())
    yield "parameters", f"{trained:,} trained, {frozen:,} frozen"
