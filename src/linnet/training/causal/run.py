"""Build the trainer's inputs from a causal recipe: model, batches, validation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from linnet.errors import OptionError
from linnet.models.causal import CausalSpec
from linnet.training.causal.corpus import AlignedClip, CausalBatches, read_clips, read_unlabeled, validation_examples
from linnet.training.causal.options import CausalOptions
from linnet.training.causal.recipe import CausalRecipe
from linnet.training.causal.task import CausalTask, load_adapters, load_causal
from linnet.training.causal.validate import StreamValidation
from linnet.training.context import RunContext
from linnet.training.freeze import counts
from linnet.training.loop import Validate
from linnet.training.numbered import NumberedPlan
from linnet.training.trainer import Trainer, make_accelerator


def prepare(recipe: CausalRecipe, context: RunContext) -> tuple[Trainer, CausalBatches, Validate | None]:
    """Build the trainer at its first step, its batches, and its validation (None without a score or a manifest)."""
    if not recipe.data.train:
        raise OptionError("data: `train` names no manifest, such as  train: [aligned.jsonl]")
    accelerator = make_accelerator(recipe.run)
    task, clips = _task(recipe, context)
    world, accumulate = accelerator.num_processes, recipe.optimization.accumulate
    count = steps_of(recipe, clips, world) * accumulate * world
    plan = NumberedPlan(count, world, recipe.run.seed, lower="`batch_seconds`")
    first = round(recipe.imitation.first * count)
    unlabeled = read_unlabeled(recipe.data.unlabeled, recipe.data.longest, context)
    data = CausalBatches(recipe, task.whisper, clips, task.shape, frames_only=first, unlabeled=unlabeled)
    return Trainer(recipe, task, plan, accelerator), data, _validation(recipe, task, context)


def outline(recipe: CausalRecipe, context: RunContext) -> Iterator[tuple[str, str]]:
    """Yield the names and values of a summary table."""
    task, clips = _task(recipe, context)
    for part, count in counts(task.model, task.policy).items():
        yield part, f"{count.trained:,} trained, {count.frozen:,} frozen"
    yield "saved as", "adapter" if task.only_adapters else "whole model"
    hours = sum(clip.seconds for clip in clips) / 3600
    yield "data", f"{len(clips)} utterances, {hours:.2f} hours, {sum(len(clip.tokens) for clip in clips)} tokens"
    if recipe.data.unlabeled:
        pieces = read_unlabeled(recipe.data.unlabeled, recipe.data.longest, context)
        yield "unlabeled", f"{len(pieces)} pieces, {sum(piece.seconds for piece in pieces) / 3600:.2f} hours"
    steps = steps_of(recipe, clips, 1)
    first = round(recipe.imitation.first * steps)
    yield "steps", f"{steps}, the first {first} of frames alone" if first else str(steps)


def steps_of(recipe: CausalRecipe, clips: Sequence[AlignedClip], world: int) -> int:
    """Number of steps: as configured, or enough for `epochs` passes over the audio."""
    options = recipe.optimization
    if options.steps:
        return options.steps
    seconds = sum(clip.seconds for clip in clips) * options.epochs
    return max(1, math.ceil(seconds / (recipe.data.batch_seconds * options.accumulate * world)))


def spec_of(base: str, options: CausalOptions, *, language: str | None, aligner: str, hours: float) -> CausalSpec:
    """Build the spec that is stored with a model trained with these options."""
    return CausalSpec(
        base=base,
        first_block=options.first_block,
        shortest_block=options.shortest_block,
        longest_block=options.longest_block,
        default_block=options.default_block,
        speech_peak=options.speech_peak,
        tail_pad=options.tail_pad,
        right_context=options.right_context,
        sure=options.sure,
        language=language,
        aligner=aligner,
        hours=round(hours, 3),
    )


def _task(recipe: CausalRecipe, context: RunContext) -> tuple[CausalTask, list[AlignedClip]]:
    """Load the model, and the clips tokenized for it."""
    choice, options = recipe.model, recipe.optimization
    spec = spec_of(
        choice.checkpoint, recipe.causal, language=choice.language or None, aligner="linnet data align", hours=0.0
    )
    task = load_causal(
        choice.checkpoint,
        recipe.freeze,
        spec,
        seed=recipe.run.seed,
        checkpointing=options.gradient_checkpointing,
        smoothing=recipe.smoothing,
        imitation=recipe.imitation,
    )
    if choice.adapter:
        load_adapters(task.model, Path(choice.adapter))
    clips = read_clips(recipe.data.train, task.whisper, recipe.data.longest, context)
    hours = sum(clip.seconds for clip in clips) / 3600
    return task.trained_on(hours), clips


def _validation(recipe: CausalRecipe, task: CausalTask, context: RunContext) -> Validate | None:
    if not recipe.data.validation or context.score is None:
        return None
    found = validation_examples(recipe.data, task.whisper, recipe.model.language or None, context)
    scored = StreamValidation(
        task.whisper.vocabulary,
        task.shape,
        [one for one, _ in found],
        recipe.causal,
        context.score,
        [language for _, language in found],
    )
    return lambda trainer: scored.figures(trainer.task.model)
