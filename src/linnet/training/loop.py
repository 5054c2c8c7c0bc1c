"""The training loop: takes batches, yields rows of the log, resumes from the newest checkpoint."""

from __future__ import annotations

import json
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from itertools import islice
from typing import Any, Protocol, cast

import torch
from torch.utils.data import DataLoader, Dataset

from linnet.files import JsonLog, write_atomic
from linnet.training.batch import Batch
from linnet.training.context import ALONE, RunContext
from linnet.training.curves import read_log
from linnet.training.folder import open_folder
from linnet.training.freeze import WeightDrift
from linnet.training.options import Recipe
from linnet.training.sharding import gathered
from linnet.training.shutdown import Stop, StoppedError, leave_signals, never, together
from linnet.training.tracking import RunInfo, tracking
from linnet.training.trainer import OutOfRoomError, Step, Trainer, memory_gb
from linnet.training.weights import swapped_weights

log = logging.getLogger(__name__)
Row = dict[str, Any]
Validate = Callable[[Trainer], dict[str, float]]  # metrics, including the error rate `wer` (0.05 for 5 %)


class Data(Protocol):
    """Batches by planned rows; augmentation may differ by epoch."""

    epoch: int

    def __getitem__(self, what: Any) -> Batch:
        """One batch."""


def run_recipe(recipe: Recipe, context: RunContext = ALONE) -> Iterator[Row]:
    """Train a recipe; yields the rows of the log, as `train` does.

    Paths in a recipe are relative to the working directory. A finished run only writes its model again.

    Raises:
        OptionError: the recipe or its data cannot be used.
        OutputError: a checkpoint cannot be written.
        StoppedError: `context.stop` returned True; a checkpoint was saved.
    """
    yield from train(*recipe.prepare(context), context.stop)


def train(trainer: Trainer, data: Data, validate: Validate | None = None, stop: Stop = never) -> Iterator[Row]:
    """Train to the last step and yield the log rows, which are also written to `log.jsonl` in the run's folder.

    An interrupted run resumes from its newest checkpoint. The model with the lowest word error rate is kept in `best`,
    the last one in `model`. With several processes the first one yields and writes.

    Raises:
        StoppedError: `stop` returned True on some process after a step; a checkpoint was saved.
        LostProcessError: another process has ended.
    """
    with together():
        yield from _train(trainer, data, validate, stop)


def _train(trainer: Trainer, data: Data, validate: Validate | None, stop: Stop) -> Iterator[Row]:
    run = trainer.recipe.run
    if trainer.leads:
        open_folder(trainer)
    drift = WeightDrift(trainer.task.model, trainer.task.policy)
    trainer.resume()
    meter = Meter(trainer)
    with _log(trainer) as write, ExitStack() as reading:
        groups = reading.enter_context(closing(_groups(trainer, data)))
        while trainer.step < trainer.steps:
            micro_batches = meter.wait(groups)
            try:
                meter.add(micro_batches, trainer.update(micro_batches))
            except OutOfRoomError as error:
                meter.shrunk.append(trainer.shrink(micro_batches, error.place))
                reading.close()
                groups = reading.enter_context(closing(_groups(trainer, data)))
                continue
            step, last = trainer.step, trainer.step == trainer.steps
            row = meter.row() if step % run.log_every == 0 or last or meter.eventful else {}
            if validate is not None and (step % run.validate_every == 0 or last):
                row = {**(row or meter.row()), **validated(trainer, validate, drift)}
                meter.restart()
            stopping = not last and trainer.any(stop())
            if step % run.checkpoint_every == 0 or last or stopping:
                trainer.save()
            if row and trainer.leads:
                write(row)
                yield row
            if stopping:
                raise StoppedError(f"stopped at step {step} of {trainer.steps}: the same command resumes from there")
    with swapped_weights(trainer.loss, trainer.average):
        trainer.export("model")
    trainer.accelerator.wait_for_everyone()


@contextmanager
def _log(trainer: Trainer) -> Iterator[Callable[[Row], None]]:
    """A function that writes rows to `log.jsonl` and the trackers, on the first process only.

    Rows after the newest checkpoint are removed first, since those steps are repeated.
    """
    if not trainer.leads:
        yield lambda _: None
        return
    path = trainer.folder / "log.jsonl"
    if path.is_file():
        write_atomic(path, "".join(json.dumps(row) + "\n" for row in read_log(path) if row["step"] <= trainer.step))
    tracked = RunInfo(trainer.folder, asdict(trainer.recipe), trainer.step)
    with JsonLog(path) as rows, tracking(tracked, trainer.recipe.run.track, log.warning) as track:

        def write(row: Row) -> None:
            rows.append(row)
            track(row)

        yield write


def _groups(trainer: Trainer, data: Data) -> Generator[list[Batch]]:
    """The micro-batches of each step, epoch after epoch, from the current position; counts what it yields.

    A step never spans epochs, so the last one of an epoch may have fewer micro-batches.
    """
    options, workers = trainer.recipe.optimization, trainer.recipe.run.workers
    while True:
        data.epoch = trainer.batches.epoch
        loader: DataLoader[Batch] = DataLoader(
            cast("Dataset[Batch]", data),
            batch_size=None,
            sampler=trainer.batches.of_rank(trainer.rank),
            num_workers=workers,
            prefetch_factor=2 if workers else None,
            worker_init_fn=leave_signals,
            generator=torch.Generator(),  # separate, so that reading does not affect other random numbers
        )
        batches = iter(loader)
        try:
            while micro_batches := list(islice(batches, options.accumulate)):
                trainer.read += len(micro_batches)
                yield micro_batches
        finally:
            _end_workers(batches)
        trainer.batches.seek(trainer.batches.epoch + 1)
        trainer.read = 0


def _end_workers(batches: Any) -> None:
    """End the data workers. They ignore signals, so nothing else would end them after an uncaught error."""
    if hasattr(batches, "_shutdown_workers"):
        batches._shutdown_workers()


def validated(trainer: Trainer, validate: Validate, drift: WeightDrift) -> Row:
    """The error rate of the model as it would be saved, and the drift of its parts; saves the best model."""
    with swapped_weights(trainer.loss, trainer.average):
        with gathered(trainer.loss):
            figures = trainer.agreed(validate(trainer))
        if trainer.best is None or figures["wer"] < trainer.best:
            trainer.best = figures["wer"]
            trainer.export("best")
    return {**figures, "best_wer": trainer.best, "drift": drift.measure()}


class Meter:
    """Metrics between two log rows: loss per token, padding, speed, share of time spent waiting, time left."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._start = self._mark = time.monotonic()
        self._first = trainer.step
        self._clear()

    def _clear(self) -> None:
        self._parts: Counter[str] = Counter()
        self._tokens = 0.0
        self._seconds = self._padded = 0.0  # of this process, like labels and slots
        self._labels = self._slots = self._utterances = 0
        self._used: list[float] = []
        self._waited = 0.0
        self._lost: list[str] = []
        self._skipped = 0
        self.shrunk: list[str] = []

    @property
    def eventful(self) -> bool:
        """Whether there is an event to be logged at once."""
        return bool(self._skipped or self.shrunk)

    def wait(self, groups: Iterator[list[Batch]]) -> list[Batch]:
        """The micro-batches of the next step; the waiting time is counted."""
        begun = time.monotonic()
        micro_batches = next(groups)
        self._waited += time.monotonic() - begun
        return micro_batches

    def restart(self) -> None:
        """Restart the clock after a validation, whose time does not count."""
        self._mark = time.monotonic()

    def add(self, micro_batches: Sequence[Batch], step: Step) -> None:
        """Count a step."""
        self._step = step
        self._skipped += step.skipped
        if not step.skipped:
            self._parts.update({name: part * step.tokens for name, part in step.parts.items()})
            self._tokens += step.tokens
        for batch in micro_batches:
            self._lost += batch.lost
            self._utterances += len(batch.ids)
            self._used += [] if batch.used is None else [batch.used]
            self._seconds += sum(batch.seconds)
            self._padded += batch.padded
            self._labels += batch.tokens
            self._slots += batch.slots or batch.tensors["labels"].numel()

    def row(self) -> Row:
        """The metrics since the last row."""
        trainer, now = self._trainer, time.monotonic()
        pace, span = (now - self._start) / (trainer.step - self._first), max(now - self._mark, 1e-9)
        row: Row = {
            "step": trainer.step,
            "steps": trainer.steps,
            "epoch": round(trainer.batches.epoch + trainer.read / trainer.batches.steps, 4),
            "loss": sum(self._parts.values()) / self._tokens if self._tokens else None,
            "norm": self._step.norm if math.isfinite(self._step.norm) else None,
            "rate": trainer.optimizer.param_groups[0]["lr"],
            "audio_padding": 1 - self._seconds / self._padded if self._padded else 0.0,
            "text_padding": 1 - self._labels / self._slots,
            "tokens_per_second": self._tokens / span,
            "utterances_per_second": self._utterances * trainer.world / span,
            "waiting": min(1.0, self._waited / span),
            "memory_gb": round(memory_gb(trainer.accelerator.device), 3),
            "seconds_per_step": pace,
            "seconds_left": pace * (trainer.steps - trainer.step),
        }
        if len(self._parts) > 1:
            row |= {f"loss_{name}": part / self._tokens for name, part in self._parts.items()}
        row |= {"budget_used": sum(self._used) / len(self._used)} if self._used else {}
        row |= {"skipped": self._skipped} if self._skipped else {}
        row |= {"left_out": self._lost} if self._lost else {}
        row |= {"out_of_memory": self.shrunk} if self.shrunk else {}
        self._mark = now
        self._clear()
        return row
