"""The state of a run and one step of it, whatever is trained: weights, moving average, optimizer, place in the data."""

from __future__ import annotations

import json
import logging
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, set_seed
from torch import Tensor, nn

from linnet.errors import LinnetError, OptionError
from linnet.files import JsonLog
from linnet.machine import peak_memory
from linnet.models.device import choose_device
from linnet.models.loading import first_line
from linnet.training.batch import Batch, tensors_to
from linnet.training.checkpoint import load_checkpoint, save_checkpoint
from linnet.training.optimization import cosine_rate, parameter_groups
from linnet.training.options import Optimization, Recipe, RunSettings
from linnet.training.sharding import full_tensor, like_parameters, shard, shard_like, whole_state, whole_tree
from linnet.training.weights import load_trainable, trained

log = logging.getLogger(__name__)
PATIENCE = 3  # steps in a row without a finite loss


class OutOfRoomError(Exception):
    """A batch that did not fit into memory on some process: number `place` of its step, from 0. Handled by the loop."""

    def __init__(self, place: int) -> None:
        super().__init__(place)
        self.place = place


class TrainingTask(Protocol):
    """What a task gives to be trained.

    `loss` holds the model, and whatever else is trained beside it. Called with the tensors of a batch it answers with
    the parts of its loss by name, `text` first: each a scalar, weighted, and summed over the batch's label tokens.
    `policy` names the parts of the model whose drift is told.
    """

    @property
    def model(self) -> nn.Module:
        """What is saved."""

    @property
    def loss(self) -> nn.Module:
        """What is minimized."""

    @property
    def policy(self) -> Mapping[str, Any]:
        """The parts of the model."""

    def export(self, folder: Path, state: dict[str, Tensor]) -> Path:
        """Write a folder of the model that Linnet and Transformers load; it appears whole or not at all.

        `state` are all weights of `loss` by name: its own may be split over processes.
        """


class BatchPlan(Protocol):
    """Which batches each rank takes: `linnet.data.batching.Batches`, or what stands for it in a task."""

    @property
    def epoch(self) -> int:
        """The epoch, from 0."""

    @property
    def steps(self) -> int:
        """Batches of each rank in the whole epoch."""

    def of_rank(self, rank: int) -> Iterator[Any]:
        """The batches of one rank from where the plan stands to the end of the epoch."""

    def seek(self, epoch: int, step: int = 0) -> None:
        """Go to a step of an epoch."""

    def shrink(self, step: int, again: int) -> str:
        """After the batch of `step` ran out of memory: smaller ones of its kind, planned from `again` on; says so."""

    def state(self, step: int) -> dict[str, Any]:
        """Where a run stands after `step` batches of the epoch, as plain values."""

    def restore(self, state: Mapping[str, Any]) -> int:
        """Go on from a `state`; the batches of the epoch that have been read."""


@dataclass(frozen=True)
class Step:
    """What a step came to: `loss` per token and its `parts`, the norm of its gradient, label tokens.

    `skipped` is set where it moved nothing: its loss or norm is no finite number, or nothing had a label.
    """

    loss: float
    parts: dict[str, float]
    norm: float
    tokens: int
    skipped: bool


class Trainer:
    """Moves a model batch by batch. All randomness of a step follows from the seed and its number alone.

    Several processes take their own batches, and gradients are added up over all. Each has the whole model, or a
    share of its weights (`shard`). Methods are called on all processes together.
    """

    def __init__(self, recipe: Recipe, task: TrainingTask, batches: BatchPlan, accelerator: Accelerator) -> None:
        self.recipe, self.task, self.batches, self.accelerator = recipe, task, batches, accelerator
        self.folder = Path(recipe.run.output)
        self.world, self.rank = accelerator.num_processes, accelerator.process_index
        options = recipe.optimization
        self.loss = task.loss
        self.sharded = shard(self.loss, recipe.run.shard, accelerator.device)
        groups = parameter_groups(self.loss, options)
        self._peaks = [group["lr"] for group in groups]
        optimizer = torch.optim.AdamW(groups, lr=options.learning_rate, betas=(options.betas[0], options.betas[1]))
        self.optimizer = accelerator.prepare(optimizer)
        self.average = {name: value.clone() for name, value in trained(self.loss).items()} if options.average else {}
        self.steps = total_steps(options, batches)
        self.step = 0
        self.read = 0  # batches of this epoch that steps have taken, on each process
        self.best: float | None = None  # the lowest error rate
        self._unfit = 0  # steps in a row without a finite loss

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes."""
        return bool(self.rank == 0)

    def update(self, micro_batches: Sequence[Batch]) -> Step:
        """One step on the micro-batches that are accumulated.

        Raises:
            LinnetError: the third step in a row whose loss or gradient is no finite number.
            OutOfRoomError: a batch does not fit into memory; nothing has moved, on any process.
        """
        options = self.recipe.optimization
        set_seed(((self.recipe.run.seed * 1_000_003 + self.step) * self.world + self.rank) % 2**32)
        for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = cosine_rate(self.step, self.steps, peak, options.warmup)
        self.loss.train()
        parts, tokens = self.backward(micro_batches)
        loss = sum(parts.values())
        norm = float(full_tensor(self.accelerator.clip_grad_norm_(self.loss.parameters(), options.clip or math.inf)))
        finite = math.isfinite(loss) and (math.isfinite(norm) or self.recipe.run.precision == "fp16")
        skipped = not finite or not tokens
        if not skipped:
            self.optimizer.step()
            self._blend()
        self.optimizer.zero_grad()
        self.step += 1
        self._note(micro_batches, finite)
        return Step(loss, parts, norm, tokens, skipped)

    def backward(self, micro_batches: Sequence[Batch]) -> tuple[dict[str, float], int]:
        """Gradients of the mean loss per label token of all micro-batches on all processes.

        Returns the parts of that mean, and the number of tokens.
        """
        tokens = int(self._sum(torch.tensor(float(sum(batch.tokens for batch in micro_batches)))))
        totals: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=self.accelerator.device))
        place = -1
        try:
            for place, batch in enumerate(micro_batches):  # noqa: B007
                with self.accelerator.autocast():
                    parts = self.loss(tensors_to(batch.tensors, self.accelerator.device))
                self.accelerator.backward(torch.stack(list(parts.values())).sum() / max(tokens, 1))
                for name, part in parts.items():
                    totals[name] += part.detach()
            place = -1
        except torch.OutOfMemoryError:
            log.warning("step %d: batch %d is out of memory", self.step + 1, place + 1)
        self._require_room(place)
        if self.world > 1 and not self.sharded:
            for value in self.loss.parameters():
                if value.requires_grad:  # one that a process did not use counts as zero
                    value.grad = self._sum(torch.zeros_like(value) if value.grad is None else value.grad)
        return {name: float(self._sum(total)) / max(tokens, 1) for name, total in totals.items()}, tokens

    def _require_room(self, place: int) -> None:
        """Raise an `OutOfRoomError` on all processes where one of them has no room for a batch (-1: it had).

        Where weights are split the others wait for this one's share inside the model: there the run ends.
        """
        if self.sharded and place >= 0:
            raise LinnetError(
                f"step {self.step + 1}: a batch is out of memory, and with  shard: {self.recipe.run.shard}  no step "
                "can be taken back: lower `budget` of `batching`; the same command goes on from the newest checkpoint."
            )
        full = int(self.accelerator.gather(torch.tensor([place], device=self.accelerator.device)).max())
        if full >= 0:
            self.optimizer.zero_grad()
            torch.cuda.empty_cache()
            raise OutOfRoomError(full)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any process."""
        return flag if self.world == 1 else bool(self._sum(torch.tensor(float(flag))) > 0)

    def agreed(self, figures: dict[str, float]) -> dict[str, float]:
        """The first process's figures on all, so that what follows from them is done by all or by none."""
        shared: list[dict[str, float]] = broadcast_object_list([figures])
        return shared[0]

    def shrink(self, micro_batches: Sequence[Batch], place: int) -> str:
        """Make batches like that one smaller and plan again what the step has read and what follows; says so.

        Raises:
            OptionError: they cannot be smaller.
        """
        start = self.read - len(micro_batches)
        said = self.batches.shrink(start + place, start)
        self.read = start
        return said

    def _sum(self, value: Tensor) -> Tensor:
        """The sum over all processes."""
        whole: Tensor = self.accelerator.reduce(value.to(self.accelerator.device), "sum")
        return whole

    def _note(self, micro_batches: Sequence[Batch], finite: bool) -> None:
        """Write down what a step without a finite loss was made of; the third in a row ends the run."""
        self._unfit = 0 if finite else self._unfit + 1
        if finite:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / ("not_finite.jsonl" if self.leads else f"not_finite-{self.rank}.jsonl")
        with JsonLog(path) as rows:
            rows.append({"step": self.step, "ids": [name for batch in micro_batches for name in batch.ids]})
        if self._unfit == PATIENCE:
            raise LinnetError(
                f"the loss was no finite number in {PATIENCE} steps in a row, the last of them step {self.step}: the "
                f"utterances are in {path}. Look at their sound and text, or lower `learning_rate`; the same command "
                "goes on from the newest checkpoint."
            )

    def _blend(self) -> None:
        """Move the average toward the weights; early on faster, so that the first ones are soon forgotten."""
        decay = min(self.recipe.optimization.average, (1 + self.step) / (10 + self.step))
        own = trained(self.loss) if self.average else {}
        for name, mean in self.average.items():
            if mean.is_floating_point():
                mean.lerp_(own[name].to(mean.dtype), 1 - decay)
            else:
                mean.copy_(own[name])

    # --- checkpoints

    def save(self) -> None:
        """Write a checkpoint of this step, whole, by the first process. Raises `OutputError` where it cannot."""
        scaler = self.accelerator.scaler
        state = {
            "step": self.step,
            "best": self.best,
            "weights": whole_tree(trained(self.loss), self.leads),
            "average": whole_tree(self.average, self.leads),
            "optimizer": whole_tree(self.optimizer.state_dict(), self.leads),
            "scaler": None if scaler is None else scaler.state_dict(),
            "batches": self.batches.state(self.read),
            "recipe": json.dumps(asdict(self.recipe)),
        }
        if self.leads:
            save_checkpoint(self.folder / "checkpoints", self.step, state, self.recipe.run.keep)

    def export(self, name: str) -> None:
        """Write the model as it stands to that folder of the run. Raises `OutputError` where it cannot be written."""
        state = whole_state(self.loss, self.leads)
        if self.leads:
            self.task.export(self.folder / name, state)

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
        load_trainable(self.loss, state["weights"])
        self._require_same_parts(state["optimizer"])
        self.read = self.batches.restore(state["batches"])
        parameters = [value for group in self.optimizer.param_groups for value in group["params"]]
        self.optimizer.load_state_dict(like_parameters(state["optimizer"], parameters))
        if self.average:
            begun = state["average"] or state["weights"]
            self.average = {name: shard_like(begun[name], value) for name, value in self.average.items()}
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.step, self.best = int(state["step"]), state["best"]
        return True

    def _require_same_parts(self, state: Mapping[str, Any]) -> None:
        """Raise an `OptionError` where a checkpoint's optimizer has its own rates for other parts than this one."""
        theirs, ours = (
            [len(group["params"]) for group in one["param_groups"]] for one in (state, self.optimizer.state_dict())
        )
        if theirs != ours:
            raise OptionError(
                f"{self.folder}: its checkpoint was written with `rates` for other parts: name the same parts (their "
                "rates may differ), or choose another `output`."
            )


def total_steps(options: Optimization, batches: BatchPlan) -> int:
    """The steps of a run; by its epochs where the recipe names none."""
    return options.steps or math.ceil(options.epochs * math.ceil(batches.steps / options.accumulate))


def make_accelerator(run: RunSettings) -> Accelerator:
    """The device, precision and threads of this process. Raises `OptionError` for what is not there."""
    if run.threads:
        torch.set_num_threads(run.threads)
    device_of(run)
    try:
        return Accelerator(mixed_precision=run.precision, cpu=run.device == "cpu")
    except ValueError as error:
        raise OptionError(f"run: device {run.device}, precision {run.precision}: {first_line(error)}") from error


def device_of(run: RunSettings) -> tuple[torch.device, str]:
    """The device that a run takes here, and why. Raises `OptionError` where it is not there or of no use for it."""
    name, why = choose_device(run.device)
    device = torch.device(name)
    if run.precision == "fp16" and device.type != "cuda":
        raise OptionError(f"run: precision fp16 needs a GPU, and the device is {device} ({why}): use bf16 or no.")
    return device, why


def memory_gb(device: Any) -> float:
    """The most memory that was in use so far, in GB: the accelerator's, or this process's where there is none."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device)) / 1e9
    return (peak_memory() or 0) / 1e9
