"""The state of a run and its training step: weights, moving average, optimizer, position in the data."""

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
PATIENCE = 3  # consecutive steps without a finite loss


class OutOfRoomError(Exception):
    """Micro-batch `place` (from 0) of a step did not fit into memory on some process. Handled by the loop."""

    def __init__(self, place: int) -> None:
        super().__init__(place)
        self.place = place


class TrainingTask(Protocol):
    """The model and loss of a task.

    `loss` holds the model and whatever is trained beside it. Called with the tensors of a batch, it returns the parts
    of the loss by name, `text` first: weighted scalars, summed over the batch's label tokens. `policy` names the parts
    of the model whose drift is logged.
    """

    @property
    def model(self) -> nn.Module:
        """The model that is saved."""

    @property
    def loss(self) -> nn.Module:
        """The module that computes the loss."""

    @property
    def policy(self) -> Mapping[str, Any]:
        """The parts of the model."""

    def export(self, folder: Path, state: dict[str, Tensor]) -> Path:
        """Write a model folder for Linnet and Transformers, atomically.

        `state` are all weights of `loss` by name, since its own may be sharded.
        """


class BatchPlan(Protocol):
    """The batches of each rank: `linnet.data.batching.Batches`, or a task's equivalent."""

    @property
    def epoch(self) -> int:
        """The epoch, from 0."""

    @property
    def steps(self) -> int:
        """Batches of each rank in the whole epoch."""

    def of_rank(self, rank: int) -> Iterator[Any]:
        """The batches of one rank from the current position to the end of the epoch."""

    def seek(self, epoch: int, step: int = 0) -> None:
        """Go to a step of an epoch."""

    def shrink(self, step: int, again: int) -> str:
        """Use smaller batches after that of `step` ran out of memory, replanned from `again` on; returns a notice."""

    def state(self, step: int) -> dict[str, Any]:
        """The position after `step` batches of the epoch, as plain values."""

    def restore(self, state: Mapping[str, Any]) -> int:
        """Resume from a `state`; returns the number of batches read in the epoch."""


@dataclass(frozen=True)
class Step:
    """The result of a step: `loss` per token and its `parts`, the gradient norm, the number of label tokens.

    `skipped`: weights were not updated, since loss or norm is not finite, or there are no labels.
    """

    loss: float
    parts: dict[str, float]
    norm: float
    tokens: int
    skipped: bool


class Trainer:
    """Trains a model step by step. The randomness of a step depends on the seed and its number alone.

    Processes have their own batches, and gradients are summed over all of them. Each holds the full model or a shard of
    its weights (`shard`). All methods are collective.
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
        self.read = 0  # batches of this epoch taken so far, on each process
        self.best: float | None = None  # the lowest error rate
        self._unfit = 0  # consecutive steps without a finite loss

    @property
    def leads(self) -> bool:
        """Whether this process writes files."""
        return bool(self.rank == 0)

    def update(self, micro_batches: Sequence[Batch]) -> Step:
        """One step on accumulated micro-batches.

        Raises:
            LinnetError: the third consecutive step whose loss or gradient is not finite.
            OutOfRoomError: a batch does not fit into memory; weights are unchanged on all processes.
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
        """Accumulate gradients of the mean loss per label token over all micro-batches and processes.

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
                if value.requires_grad:  # unused on this process counts as zero
                    value.grad = self._sum(torch.zeros_like(value) if value.grad is None else value.grad)
        return {name: float(self._sum(total)) / max(tokens, 1) for name, total in totals.items()}, tokens

    def _require_room(self, place: int) -> None:
        """Raise an `OutOfRoomError` on all processes if one of them is out of memory (-1: it is not).

        With sharded weights the other processes wait inside the model, so the run ends.
        """
        if self.sharded and place >= 0:
            raise LinnetError(
                f"step {self.step + 1}: a batch is out of memory, and with  shard: {self.recipe.run.shard}  no step "
                "can be undone: lower `budget` of `batching`; the same command resumes from the newest checkpoint."
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
        """The first process's metrics on all processes, so that all decide alike."""
        shared: list[dict[str, float]] = broadcast_object_list([figures])
        return shared[0]

    def shrink(self, micro_batches: Sequence[Batch], place: int) -> str:
        """Use smaller batches of that kind, replanning this step and what follows; returns a notice.

        Raises `OptionError` where they cannot be smaller.
        """
        start = self.read - len(micro_batches)
        message = self.batches.shrink(start + place, start)
        self.read = start
        return message

    def _sum(self, value: Tensor) -> Tensor:
        """The sum over all processes."""
        whole: Tensor = self.accelerator.reduce(value.to(self.accelerator.device), "sum")
        return whole

    def _note(self, micro_batches: Sequence[Batch], finite: bool) -> None:
        """Record the utterances of a step without a finite loss; the third consecutive one ends the run."""
        self._unfit = 0 if finite else self._unfit + 1
        if finite:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / ("not_finite.jsonl" if self.leads else f"not_finite-{self.rank}.jsonl")
        with JsonLog(path) as rows:
            rows.append({"step": self.step, "ids": [name for batch in micro_batches for name in batch.ids]})
        if self._unfit == PATIENCE:
            raise LinnetError(
                f"the loss was not finite in {PATIENCE} consecutive steps, the last of them step {self.step}: the "
                f"utterances are in {path}. Check their audio and text, or lower `learning_rate`; the same command "
                "resumes from the newest checkpoint."
            )

    def _blend(self) -> None:
        """Update the moving average, faster at first so that initial weights are soon forgotten."""
        decay = min(self.recipe.optimization.average, (1 + self.step) / (10 + self.step))
        own = trained(self.loss) if self.average else {}
        for name, mean in self.average.items():
            if mean.is_floating_point():
                mean.lerp_(own[name].to(mean.dtype), 1 - decay)
            else:
                mean.copy_(own[name])

    # --- checkpoints

    def save(self) -> None:
        """Write a checkpoint of this step, atomically, on the first process. Raises `OutputError`."""
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
        """Write the current model to a folder of the run. Raises `OutputError`."""
        state = whole_state(self.loss, self.leads)
        if self.leads:
            self.task.export(self.folder / name, state)

    def resume(self) -> bool:
        """Load the newest checkpoint of the folder, if any.

        Raises `OptionError` for a checkpoint of another model, other data or another seed.
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
        """Raise an `OptionError` where a checkpoint's optimizer has `rates` for other parts."""
        theirs, ours = (
            [len(group["params"]) for group in one["param_groups"]] for one in (state, self.optimizer.state_dict())
        )
        if theirs != ours:
            raise OptionError(
                f"{self.folder}: its checkpoint was written with `rates` for other parts: name the same parts (their "
                "rates may differ), or choose another `output`."
            )


def total_steps(options: Optimization, batches: BatchPlan) -> int:
    """The steps of a run, by default those of its epochs."""
    return options.steps or math.ceil(options.epochs * math.ceil(batches.steps / options.accumulate))


def make_accelerator(run: RunSettings) -> Accelerator:
    """Set up device, precision and threads of this process. Raises `OptionError` for what is unavailable."""
    if run.threads:
        torch.set_num_threads(run.threads)
    device_of(run)
    try:
        return Accelerator(mixed_precision=run.precision, cpu=run.device == "cpu")
    except ValueError as error:
        raise OptionError(f"run: device {run.device}, precision {run.precision}: {first_line(error)}") from error


def device_of(run: RunSettings) -> tuple[torch.device, str]:
    """The device of a run, and why. Raises `OptionError` where it is unavailable or unsuitable."""
    name, why = choose_device(run.device)
    device = torch.device(name)
    if run.precision == "fp16" and device.type != "cuda":
        raise OptionError(f"run: precision fp16 needs a GPU, and the device is {device} ({why}): use bf16 or no.")
    return device, why


def memory_gb(device: Any) -> float:
    """Peak memory so far, in GB: the GPU's, or else this process's."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device)) / 1e9
    return (peak_memory() or 0) / 1e9
