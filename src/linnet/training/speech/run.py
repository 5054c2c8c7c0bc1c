"""From a speech recipe to the trainer's inputs: model, data, batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from linnet.audio import SAMPLE_RATE
from linnet.data.batching import (
    Batches,
    Binning,
    Cost,
    JoinPlan,
    Lengths,
    Mixture,
    Packing,
    Peak,
    Selection,
    Shape,
    bin_utterances,
    mix,
    pack_utterances,
    select,
)
from linnet.errors import OptionError
from linnet.training.context import ALONE, RunContext
from linnet.training.estimate.memory import batch_cost
from linnet.training.loop import Validate
from linnet.training.optimization import parameter_groups
from linnet.training.speech.alignment import RowAlignment, make_alignment
from linnet.training.speech.corpus import AudioBatches, Corpus, read_corpus
from linnet.training.speech.corpus_cache import kept_corpus
from linnet.training.speech.ctc import CtcHead, frames_of, make_ctc_head, outputs_needed
from linnet.training.speech.features import CachedBatches, ClipEncoder, cached_features, encoder_of, require_cacheable
from linnet.training.speech.inputs import FusionInputs, Inputs
from linnet.training.speech.joining import JoinedBatches, plan_joined, require_joinable
from linnet.training.speech.model import SpeechTask
from linnet.training.speech.recipe import JoinOptions, SpeechData, SpeechRecipe
from linnet.training.speech.transcribed import with_transcripts
from linnet.training.speech.validate import validation
from linnet.training.trainer import Trainer, make_accelerator


@dataclass(frozen=True, eq=False)
class TrainingPlan:
    """The training data: corpus, selected utterances, cost and budget of a batch, bins.

    `lengths` are those that batches are planned by; all are equal if the model pads audio to one length.
    """

    corpus: Corpus
    lengths: Lengths
    selection: Selection
    cost: Cost | Peak
    budget: float
    binning: Binning | Packing | JoinPlan
    mixture: Mixture | None = None

    def batches(self, world: int, seed: int) -> Batches:
        """The batches of `world` processes."""
        return Batches(self.binning, world=world, seed=seed, mixture=self.mixture)

    def lines(self) -> list[str]:
        """Notices: what is skipped, and how often each of several sources is sampled."""
        lines = self.selection.lines()
        if self.mixture is not None:
            named = zip(self.corpus.lengths.parts, self.mixture.passes, strict=True)
            lines += [f"{name}: {passes:.2f} passes per epoch" for (name, _), passes in named]
        return lines

    def used(self, rows: Sequence[int]) -> float:
        """The share of the budget that a batch of these rows uses."""
        if isinstance(self.binning, Packing):
            return float((self.cost.fixed + self.binning.loads[list(rows)].sum()) / self.budget)
        return float(self.cost.of(*self.shape(rows)) / self.budget)

    def shape(self, rows: Sequence[int]) -> Shape:
        """The padded shape of a batch of these rows: recordings, seconds, tokens."""
        if isinstance(self.binning, JoinPlan):
            return self.binning.shape(rows)
        taken = list(rows)
        return len(taken), float(self.lengths.durations[taken].max()), int(self.lengths.tokens[taken].max())


def require_possible(recipe: SpeechRecipe, task: SpeechTask) -> None:
    """Raise an `OptionError` for settings that this model does not support, before data is read."""
    if not recipe.data.train:
        raise OptionError("data: `train` names no source, such as  train: [{path: train.jsonl}]")
    if recipe.data.batching.packed and not isinstance(task.inputs, FusionInputs):
        raise OptionError("data: batching: only a fusion model's batches can be `packed`.")
    if recipe.data.cache_features is not None:
        require_cacheable(task)
        if Path(recipe.data.cache_features.folder or ".").is_file():
            raise OptionError("data: cache_features: folder is a file, expected a folder for encoder frames.")
    if recipe.data.join is not None:
        require_joinable(task.inputs)
    beside = {name for name in ("ctc", "alignment") if getattr(recipe.losses, name) is not None}
    rates = {part: rate for part, rate in recipe.optimization.rates.items() if part.split(".")[0] not in beside}
    parameter_groups(task.loss, replace(recipe.optimization, rates=rates))  # heads depend on the data


def prepare(
    recipe: SpeechRecipe, task: SpeechTask, context: RunContext = ALONE
) -> tuple[Trainer, AudioBatches, Validate | None]:
    """The trainer at its first step, its batches, and its validation (None without a score or a validation set)."""
    require_possible(recipe, task)
    keep = Path(recipe.run.output) / "corpus"
    accelerator, seed = make_accelerator(recipe.run), recipe.run.seed
    world = accelerator.num_processes
    planned = plan(recipe, task, context, world=world, keep=keep / "train")
    for line in planned.lines():
        context.notify(line)
    validate = None
    if recipe.data.validation is not None and context.score is not None:
        limit, place = recipe.data.validation_limit, keep / "validation"
        held = kept_corpus(place, [recipe.data.validation], task.inputs, context, limit=limit)
        validate = validation(task, recipe.run, held, context.score)
    if recipe.losses.ctc is not None:
        task = replace(task, ctc=spelling_head(recipe, task, planned, context))
    if recipe.losses.alignment is not None:
        task = replace(task, alignment=row_alignment(recipe, task, planned, context))
    batches = planned.batches(world, seed)
    data = _audio_batches(recipe, task, planned, accelerator, context)
    return Trainer(recipe, task, batches, accelerator), data, validate


def _audio_batches(
    recipe: SpeechRecipe, task: SpeechTask, planned: TrainingPlan, accelerator: Any, context: RunContext
) -> AudioBatches:
    """The planned batches, of audio or of cached encoder frames."""
    options: dict[str, Any] = {
        "seed": recipe.run.seed,
        "augment": recipe.data.augment,
        "skip_bad": context.skip_bad,
        "used": planned.used,
        "alphabet": None if task.ctc is None else task.ctc.alphabet,
        "packed": recipe.data.batching.packed,
    }
    if isinstance(planned.binning, JoinPlan):
        return JoinedBatches(planned.corpus, recipe.data.join or JoinOptions(), planned.binning.window, **options)
    if recipe.data.cache_features is None:
        return AudioBatches(planned.corpus, **options)
    encoder_of(task).to(accelerator.device)
    encode = ClipEncoder(task, accelerator.device, accelerator.autocast, context)
    rows = planned.selection.rows.tolist()
    folder = Path(recipe.data.cache_features.folder or Path(recipe.run.output) / "corpus" / "features")
    features = cached_features(folder, recipe, encode, planned.corpus, rows)
    return CachedBatches(planned.corpus, features, **options)


def spelling_head(recipe: SpeechRecipe, task: SpeechTask, planned: TrainingPlan, context: RunContext) -> CtcHead:
    """The CTC head of a recipe, with the characters of its training texts; reports utterances that it cannot spell."""
    corpus, rows = planned.corpus, planned.selection.rows.tolist()
    begun = Path(recipe.model.checkpoint) if recipe.model.checkpoint else None
    torch.manual_seed(recipe.run.seed)
    head = make_ctc_head(task.model, (corpus.utterances[row].text or "" for row in rows), begun)
    frames, tight = frames_of(task.model), 0
    for row in rows:
        needed = outputs_needed(head.alphabet.ids(corpus.utterances[row].text or ""))
        tight += needed > head.outputs * frames(round(float(corpus.lengths.durations[row]) * SAMPLE_RATE))
    if tight:
        context.notify(
            f"{tight} of {len(rows)} utterances have more characters than encoder frames: no CTC loss for them"
        )
    return head


def row_alignment(recipe: SpeechRecipe, task: SpeechTask, planned: TrainingPlan, context: RunContext) -> RowAlignment:
    """The alignment loss of a recipe, with the tokens of its training texts; reports utterances where it is zero."""
    corpus, rows = planned.corpus, planned.selection.rows.tolist()
    texts = [corpus.labels(row) for row in rows]
    torch.manual_seed(recipe.run.seed)
    made = make_alignment(task.model, texts)
    lengths = [round(float(corpus.lengths.durations[row]) * SAMPLE_RATE) for row in rows]
    tight = sum(
        outputs_needed(text[:-1]) > task.model.audio_rows(length) for text, length in zip(texts, lengths, strict=True)
    )
    if tight:
        context.notify(f"{tight} of {len(rows)} utterances have more tokens than rows: no alignment loss for them")
    return made


def plan(
    recipe: SpeechRecipe, task: SpeechTask, context: RunContext = ALONE, *, world: int = 1, keep: Path | None = None
) -> TrainingPlan:
    """Read and measure the training data and sort it into bins; the corpus is cached in `keep`. Raises
    `OptionError`."""
    data, options = recipe.data, recipe.data.batching
    corpus, lengths, selection = chosen(data, task.inputs, context, keep=keep)
    rows = selection.rows
    cost, budget = batch_cost(recipe, task, lengths, rows, world)
    binning: Binning | Packing | JoinPlan
    if data.join is not None:
        binning = plan_joined(corpus, data, cost, budget, rows)
    elif options.packed:
        binning = pack_utterances(lengths, cost, budget, rows=rows)
    else:
        binning = bin_utterances(lengths, cost, budget, rows=rows, groups=options.groups, splits=options.splits)
    mixture = None
    if data.mixing is not None:
        mixture = mix(corpus.lengths, rows, temperature=data.mixing.temperature, most=data.mixing.most or np.inf)
    return TrainingPlan(corpus, lengths, selection, cost, budget, binning, mixture)


def chosen(
    data: SpeechData, inputs: Inputs, context: RunContext = ALONE, *, keep: Path | None = None
) -> tuple[Corpus, Lengths, Selection]:
    """Read the training data: the corpus, the lengths for planning, and the selected utterances. Raises
    `OptionError`."""
    if keep is None:
        corpus = read_corpus(data.train, inputs, context)
    else:
        specs = with_transcripts(data.train, keep.with_name("transcripts"), context)
        corpus = kept_corpus(keep, specs, inputs, context)
    longest = min(data.longest or np.inf, inputs.longest)
    selection = select(corpus.lengths, longest=longest, deviations=data.deviations)
    lengths = corpus.lengths
    if inputs.span is not None:
        lengths = replace(lengths, durations=np.full(len(lengths), inputs.span, np.float32))
    return corpus, lengths, selection
