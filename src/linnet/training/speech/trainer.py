"""The state of a run and one step of it: model, moving average, optimiser, place in the data."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor

from linnet.data.batching import Batches, Binning
from linnet.errors import LinnetError, OptionError
from linnet.models.device import choose_device
from linnet.models.loading import first_line
from linnet.training.checkpoint import load_checkpoint, save_checkpoint
from linnet.training.optimisation import cosine_rate, parameter_groups
from linnet.training.recipe import as_dict
from linnet.training.speech.corpus import Batch, tensors_to
from linnet.training.speech.loss import TokenLoss
from linnet.training.speech.model import Trainee, put, trained
from linnet.training.speech.recipe import SpeechRecipe, SpeechRun

log = logging.getLogger(__name__)
PATIENCE = 3  # steps in a row without a finite loss


class OutOfRoomError(Exception):
    """A batch that did not fit into memory on some process: number `place` of its step, from 0. Handled by the loop."""

    def __init__(self, place: int) -> None:
        super().__init__(place)
        self.place = place


@dataclass(frozen=True)
class Step:
    """What a step came to: `loss` per token, the norm of its gradient, label tokens; `skipped` where it moved nothing.

    A loss or norm that is no number means that the step was skipped.
    """

    loss: float
    norm: float
    tokens: int
    skipped: bool


class Trainer:
    """Moves a model batch by batch. All randomness of a step follows from the seed and its number alone.

    Under `torchrun` each process has the whole model and takes its own batches; gradients are added up over all.
    """

    def __init__(self, recipe: SpeechRecipe, trainee: Trainee, binning: Binning, folder: Path) -> None:
        self.recipe, self.trainee, self.folder = recipe, trainee, folder
        if recipe.run.threads:
            torch.set_num_threads(recipe.run.threads)
        self.accelerator = _accelerator(recipe.run)
        self.world, self.rank = self.accelerator.num_processes, self.accelerator.process_index
        self.batches = Batches(binning, world=self.world, seed=recipe.run.seed)
        options = recipe.optimisation
        self.loss = TokenLoss(trainee.model).to(self.accelerator.device)
        groups = parameter_groups(self.loss.parameters(), options.weight_decay)
        optimiser = torch.optim.AdamW(groups, lr=options.learning_rate, betas=_pair(options.betas))
        self.optimiser = self.accelerator.prepare(optimiser)
        self.average = {name: value.clone() for name, value in self._trained().items()} if options.average else {}
        self.steps = total_steps(recipe, self.batches)
        self.step = 0
        self.read = 0  # batches of this epoch that steps have taken, on each process
        self.best: float | None = None  # the lowest error rate
        self._unfit = 0  # steps in a row without a finite loss

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes."""
        return bool(self.rank == 0)

    def update(self, window: Sequence[Batch]) -> Step:
        """One step on the batches of an accumulation window.

        Raises:
            LinnetError: the third step in a row whose loss or gradient is no finite number.
            OutOfRoomError: a batch does not fit into memory; nothing has moved, on any process.
        """
        options = self.recipe.optimisation
        set_seed(((self.recipe.run.seed * 1_000_003 + self.step) * self.world + self.rank) % 2**32)
        rate = cosine_rate(self.step, self.steps, options.learning_rate, options.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.loss.train()
        loss, tokens = self.backward(window)
        norm = float(self.accelerator.clip_grad_norm_(self.loss.parameters(), options.clip or math.inf))
        finite = math.isfinite(loss) and (math.isfinite(norm) or self.recipe.run.precision == "fp16")
        skipped = not finite or not tokens
        if not skipped:
            self.optimiser.step()
            self._blend()
        self.optimiser.zero_grad()
        self.step += 1
        self._note(window, finite)
        return Step(loss, norm, tokens, skipped)

    def backward(self, window: Sequence[Batch]) -> tuple[float, int]:
        """Gradients of the mean loss per label token of all batches of the window on all processes; loss and tokens."""
        tokens = int(self._sum(torch.tensor(float(sum(batch.tokens for batch in window)))))
        total = torch.zeros((), device=self.accelerator.device)
        place = -1
        try:
            for place, batch in enumerate(window):  # noqa: B007
                with self.accelerator.autocast():
                    summed = self.loss(tensors_to(batch.tensors, self.accelerator.device))
                self.accelerator.backward(summed / max(tokens, 1))
                total += summed.detach()
            place = -1
        except torch.OutOfMemoryError:
            log.warning("step %d: batch %d is out of memory", self.step + 1, place + 1)
        self._require_room(place)
        if self.world > 1:
            for value in self.loss.parameters():
                if value.requires_grad:  # one that a process did not use counts as zero
                    value.grad = self._sum(torch.zeros_like(value) if value.grad is None else value.grad)
        return float(self._sum(total)) / max(tokens, 1), tokens

    def _require_room(self, place: int) -> None:
        """Raise an `OutOfRoomError` on all processes where one of them has no room for a batch (-1: it had)."""
        full = int(self.accelerator.gather(torch.tensor([place], device=self.accelerator.device)).max())
        if full >= 0:
            self.optimiser.zero_grad()
            torch.cuda.empty_cache()
            raise OutOfRoomError(full)

    def shrink(self, window: Sequence[Batch], place: int) -> str:
        """Make the batches of that bin smaller and plan again what the step has read and what follows; says so.

        Raises:
            OptionError: the bin's batches hold one utterance already.
        """
        start, planner = self.read - len(window), self.batches.planner
        number = int(self.batches.plan.bins[start + place - self.batches.begin])
        smaller = planner.shrunk(number)
        self.batches.change(start, planner=smaller)
        self.read = start
        return f"bin {number} has batches of {smaller.limits[number]:g} now, not of {planner.limits[number]:g}"

    def _sum(self, value: Tensor) -> Tensor:
        """The sum over all processes."""
        whole: Tensor = self.accelerator.reduce(value.to(self.accelerator.device), "sum")
        return whole

    def _note(self, window: Sequence[Batch], finite: bool) -> None:
        """Write down what a step without a finite loss was made of; the third in a row ends the run."""
        self._unfit = 0 if finite else self._unfit + 1
        if finite:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / ("not_finite.jsonl" if self.leads else f"not_finite-{self.rank}.jsonl")
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": self.step, "ids": [name for batch in window for name in batch.ids]}) + "\n")
        if self._unfit == PATIENCE:
            raise LinnetError(
                f"the loss was no finite number in {PATIENCE} steps in a row, the last of them step {self.step}: the "
                f"utterances are in {path}. Look at their sound and text, or lower `learning_rate`; the same command "
                "goes on from the newest checkpoint."
            )

    def _blend(self) -> None:
        """Move the average towards the weights; early on faster, so that the first ones are soon forgotten."""
        decay = min(self.recipe.optimisation.average, (1 + self.step) / (10 + self.step))
        own = self._trained() if self.average else {}
        for name, mean in self.average.items():
            if mean.is_floating_point():
                mean.lerp_(own[name].to(mean.dtype), 1 - decay)
            else:
                mean.copy_(own[name])

    def _trained(self) -> dict[str, Tensor]:
        return trained(self.trainee.model)

    # --- checkpoints

    def save(self) -> Path:
        """Write a checkpoint of this step. Raises `OutputError` where it cannot be written."""
        scaler = self.accelerator.scaler
        state = {
            "step": self.step,
            "best": self.best,
            "weights": self._trained(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "batches": self.batches.state(self.read),
            "recipe": json.dumps(as_dict(self.recipe)),
        }
        return save_checkpoint(self.folder / "checkpoints", self.step, state, self.recipe.run.keep)

    def resume(self) -> bool:
        """Take up the newest checkpoint of the folder, if there is one.

        Raises:
            OptionError: it is of another model, other data or another seed than this recipe's.
        """
        state = load_checkpoint(self.folder / "checkpoints")
        if state is None:
            return False
        if "weights" not in state:
            raise OptionError(f"{self.folder}: its checkpoints are of another kind of run; choose another `output`.")
        put(self.trainee.model, state["weights"])
        self.batches.restore(state["batches"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average:
            begun = state["average"] or state["weights"]
            self.average = {name: begun[name].to(value.device) for name, value in self.average.items()}
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.step, self.best = int(state["step"]), state["best"]
        self.read = int(state["batches"]["step"])
        return True


def total_steps(recipe: SpeechRecipe, batches: Batches) -> int:
    """The steps of a run; by its epochs where the recipe names none."""
    options = recipe.optimisation
    return options.steps or math.ceil(options.epochs * math.ceil(batches.steps / options.accumulate))


def _accelerator(run: SpeechRun) -> Accelerator:
    """The device and the number format of this process. Raises `OptionError` for what is not there."""
    for key, value, known in (
        ("device", run.device, ("auto", "cpu", "cuda")),
        ("precision", run.precision, ("no", "bf16", "fp16")),
    ):
        if value not in known:
            raise OptionError(f"run: {key} {value!r} is unknown: use {', '.join(known)}.")
    device, why = choose_device(run.device)
    if run.precision == "fp16" and device.type != "cuda":
        raise OptionError(f"run: precision fp16 needs a GPU, and the device is {device} ({why}): use bf16 or no.")
    try:
        return Accelerator(mixed_precision=run.precision, cpu=run.device == "cpu")
    except ValueError as error:
        raise OptionError(f"run: device {run.device}, precision {run.precision}: {first_line(error)}") from error


def _pair(betas: Sequence[float]) -> tuple[float, float]:
    if len(betas) != 2:
        raise OptionError(f"optimisation: betas must be two numbers, got {list(betas)}.")
    return betas[0], betas[1]


def memory_gb(device: Any) -> float:
    """The most memory that was in use so far, in GB: the accelerator's, or this process's where there is none."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device)) / 1e9
    import resource
    import sys

    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit) / 1e9
