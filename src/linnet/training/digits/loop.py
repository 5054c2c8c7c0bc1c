"""The loop that trains `digits`, resumable to the bit on a CPU."""

from __future__ import annotations

import copy
import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, Dataset
from transformers import WhisperForConditionalGeneration

from linnet.errors import OptionError
from linnet.training.checkpoint import load_checkpoint, save_checkpoint
from linnet.training.digits.model import DigitsTrainer, blend
from linnet.training.digits.recipe import DigitsRecipe
from linnet.training.optimisation import parameter_groups
from linnet.training.recipe import as_dict

log = logging.getLogger(__name__)
Validate = Callable[[WhisperForConditionalGeneration], dict[str, float]]


class Trainer:
    """The state of a run: model, moving average, optimiser, schedule, step."""

    def __init__(self, recipe: DigitsRecipe, model: WhisperForConditionalGeneration, folder: Path) -> None:
        self.recipe = recipe
        self.folder = folder
        options = recipe.optimisation
        run = recipe.run
        if run.threads:
            torch.set_num_threads(run.threads)
        self.accelerator = Accelerator(mixed_precision=run.precision, cpu=run.device == "cpu")
        self.module = DigitsTrainer(model)
        self.optimiser = torch.optim.AdamW(
            parameter_groups(self.module.parameters(), options.weight_decay),
            lr=options.learning_rate,
            betas=(0.9, 0.98),
        )
        self.schedule = OneCycleLR(
            self.optimiser, options.learning_rate, options.steps, pct_start=options.warmup, cycle_momentum=False
        )
        self.module, self.optimiser = self.accelerator.prepare(self.module, self.optimiser)
        self.average = copy.deepcopy(self.accelerator.unwrap_model(self.module)).float()
        self.step = 0

    def resume(self) -> bool:
        """Take up the newest checkpoint of the folder, if there is one."""
        state = load_checkpoint(self.folder / "checkpoints")
        if state is None:
            return False
        self.accelerator.unwrap_model(self.module).load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["rng"])
        self.step = int(state["step"])
        return True

    def start_from(self, folder: Path) -> None:
        """Begin with the averaged weights of another run, or with those of an exported model folder.

        What that model does not have (an exported one has no helpers) stays freshly made.

        Raises:
            OptionError: neither is there, or weights of another shape.
        """
        state = load_checkpoint(folder / "checkpoints")
        if state is not None:
            weights = state["average"]
        elif (folder / "model.safetensors").is_file():
            exported = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
            weights = {f"model.{name}": value for name, value in exported.state_dict().items()}
        else:
            raise OptionError(
                f"{folder}: neither a run with a checkpoint nor a model folder to start from; train that run first."
            )
        module = self.accelerator.unwrap_model(self.module)
        try:
            unknown = module.load_state_dict(weights, strict=False).unexpected_keys
        except RuntimeError as error:
            raise OptionError(f"{folder}: its model is of another size than this recipe's: {error}") from error
        if unknown:
            raise OptionError(f"{folder}: this recipe's model has no {unknown[0]}: make it at least as large.")
        self.average.load_state_dict(module.state_dict())

    def save(self) -> Path:
        """Write a checkpoint of this step."""
        state = {
            "model": self.accelerator.unwrap_model(self.module).state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "rng": torch.get_rng_state(),
            "step": self.step,
            "recipe": json.dumps(as_dict(self.recipe)),
        }
        return save_checkpoint(self.folder / "checkpoints", self.step, state, self.recipe.run.keep)

    def update(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """One step of the optimiser on one batch; returns the figures to log."""
        options = self.recipe.optimisation
        batch = {name: value.to(self.accelerator.device) for name, value in batch.items()}
        self.module.train()
        with self.accelerator.autocast():
            losses = self.module(batch, options.smoothing)
            weight = options.helper_weight * (1 - 0.9 * self.step / options.steps)
            loss = losses["text"] + weight * (losses["frames"] + losses["looks"] + 0.5 * losses["context"])
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.module.parameters(), options.clip)
        self.optimiser.step()
        self.schedule.step()
        self.optimiser.zero_grad()
        decay = min(options.average, (1 + self.step) / (10 + self.step))
        blend(self.average, self.accelerator.unwrap_model(self.module), decay)
        self.step += 1
        return {"loss": float(loss.detach()), **{k: float(v.detach()) for k, v in losses.items()}, "norm": float(norm)}


def train(
    trainer: Trainer, data: Dataset[dict[str, Tensor]], validate: Validate | None = None
) -> Iterator[dict[str, Any]]:
    """Run to the last step, yielding what is logged; resumes by itself from the folder's newest checkpoint.

    Each row also goes to `log.jsonl` in the run's folder.
    """
    run = trainer.recipe.run
    trainer.folder.mkdir(parents=True, exist_ok=True)
    trainer.resume()
    steps = trainer.recipe.optimisation.steps
    loader = DataLoader(
        data,
        batch_size=None,
        sampler=range(trainer.step, steps),
        num_workers=run.workers,
        prefetch_factor=4 if run.workers else None,
    )
    began, first = time.monotonic(), trainer.step
    with (trainer.folder / "log.jsonl").open("a", encoding="utf-8") as file:
        for batch in loader:
            figures: dict[str, Any] = dict(trainer.update(batch))
            step = trainer.step
            row: dict[str, Any] = {}
            if step % run.log_every == 0 or step == steps:
                pace = (time.monotonic() - began) / (step - first)
                row = {"step": step, **figures, "rate": trainer.schedule.get_last_lr()[0], "seconds_per_step": pace}
            if validate is not None and (step % run.validate_every == 0 or step == steps):
                row = {"step": step, **figures, **validate(trainer.average.model)}
            if step % run.checkpoint_every == 0 or step == steps:
                trainer.save()
            if row:
                file.write(json.dumps(row) + "\n")
                file.flush()
                yield row
