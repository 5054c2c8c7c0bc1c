"""The memory of a recipe, measured by `linnet train fit-memory` if possible.

Measurements are cached under everything that they depend on: the model's config and what is trained, precisions,
gradient checkpointing and other recipe settings of a step, processes, device, and versions.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from linnet import __version__
from linnet.data.batching import Binning, Cost, JoinPlan, Lengths, Packing, Peak, Shape
from linnet.data.batching.arrays import Ints
from linnet.errors import OptionError, OutputError
from linnet.files import whole_file
from linnet.machine import parse_bytes, show_bytes
from linnet.models.cache import cache_folder
from linnet.models.device import choose_dtype, torch_device
from linnet.training.speech.model import SpeechTask
from linnet.training.speech.recipe import SpeechRecipe

MARGIN = 0.08  # of a GPU's free memory, for errors of the fit and fragmentation
_BEYOND = 1.05  # how far a fit extrapolates in seconds and tokens
_LONGEST, _PACE = 30.0, 3.3  # seconds of a recording and tokens per second, without data
# settings that do not affect the memory of a step; all others are part of the key
_IDLE = {
    "model": {"encoder", "encoder_revision", "language_model", "language_model_revision", "checkpoint", "language"},
    "optimization": {"steps", "epochs", "learning_rate", "rates", "warmup", "weight_decay", "betas", "clip"},
    "run": {
        *("output", "seed", "threads", "workers", "log_every", "checkpoint_every", "keep", "validate_every", "track"),
        *("validation_batch", "beams", "max_new_tokens", "normalizer"),
    },
}
# config keys that do not matter: paths, versions, redundant ones, and what Linnet turns off in an encoder
_PLACES = {"_name_or_path", "name_or_path", "transformers_version", "bases", "_commit_hash", "dtype", "torch_dtype"}
_PLACES |= {"layerdrop", "apply_spec_augment"}


@dataclass(frozen=True)
class Fit:
    """The fitted memory of a step: a cost in bytes, and the measured shapes and bytes."""

    cost: Peak
    held: int
    shapes: tuple[Shape, ...]
    measured: tuple[int, ...]

    def covers(self, seconds: float, tokens: int) -> bool:
        """Whether these maximum seconds and tokens are within the measured range."""
        longest, most = max(d for _, d, _ in self.shapes), max(t for _, _, t in self.shapes)
        return seconds <= longest * _BEYOND and tokens <= most * _BEYOND


def describe(shape: Shape) -> str:
    """A shape as text.

    >>> describe((4, 12.5, 80))
    '4 utterances of 12.50 s and 80 tokens'
    """
    return f"{shape[0]} utterance{'s' * (shape[0] != 1)} of {shape[1]:.2f} s and {shape[2]} tokens"


def free_memory(device: torch.device) -> int:
    """Free bytes on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)


def usable_memory(free: int, device: torch.device, world: int) -> int:
    """The default memory for batches: free bytes less 8 % on a GPU, half of them per process on a CPU."""
    return int(free * (1 - MARGIN)) if device.type == "cuda" else free // 2 // world


# --- the cache


def fit_key(recipe: SpeechRecipe, task: SpeechTask, world: int) -> dict[str, Any]:
    """Everything that the memory of a step depends on, as plain values."""
    key = {name: value for name, value in asdict(recipe).items() if name not in ("task", "data")}
    for part, names in _IDLE.items():
        key[part] = {name: value for name, value in key[part].items() if name not in names}
    key["optimization"] |= {
        "accumulate": min(recipe.optimization.accumulate, 2),
        "average": recipe.optimization.average > 0,
    }
    device = torch_device(recipe.run.device)
    key["run"]["device"] = _name(device)
    config = json.dumps(_bare(task.model.config.to_dict()), sort_keys=True, default=str)
    return {
        **key,
        "freeze": dict(sorted(task.policy.items())),
        "config": hashlib.sha256(config.encode()).hexdigest(),
        "optimizer": "AdamW",
        "world": world,
        "versions": _versions(),
    }


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu {platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def _versions() -> dict[str, str]:
    import accelerate
    import peft
    import transformers

    found = {module.__name__: module.__version__ for module in (torch, transformers, accelerate, peft)}
    return {"linnet": __version__, **found}


def _bare(config: Any) -> Any:
    """A config without irrelevant keys."""
    if isinstance(config, Mapping):
        return {str(name): _bare(value) for name, value in config.items() if name not in _PLACES}
    return [_bare(value) for value in config] if isinstance(config, list | tuple) else config


def fit_file(key: Mapping[str, Any]) -> Path:
    """The cache file of a measurement."""
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
    return cache_folder() / "memory" / f"{name}.json"


def save_fit(fit: Fit, key: Mapping[str, Any]) -> Path:
    """Cache a measurement. Raises `OutputError`."""
    path = fit_file(key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write((json.dumps({"key": key, **asdict(fit)}, indent=1) + "\n").encode())
    except OSError as error:
        raise OutputError(
            f"{path}: cannot save the measurement ({error.strerror}): set LINNET_CACHE to another folder."
        ) from error
    return path


def load_fit(key: Mapping[str, Any]) -> Fit | None:
    """The cached measurement, or None. Raises `OptionError` for a damaged file."""
    path = fit_file(key)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        moments = tuple(Cost(**moment) for moment in content["cost"]["moments"])
        shapes = tuple((int(n), float(d), int(t)) for n, d, t in content["shapes"])
        fit = Fit(Peak(moments), int(content["held"]), shapes, tuple(map(int, content["measured"])))
        if not (moments and shapes) or content["key"] != json.loads(json.dumps(key)):
            raise ValueError("its key differs")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise OptionError(f"{path}: not a readable measurement ({error}): remove it, or use --force.") from error
    return fit


# --- batch costs


def batch_cost(
    recipe: SpeechRecipe, task: SpeechTask, lengths: Lengths, rows: Ints, world: int
) -> tuple[Cost | Peak, float]:
    """The cost of a batch and its budget: in padded seconds, or in bytes if the recipe sets `memory`.

    Raises `OptionError` where the memory of such steps has not been measured on this machine.
    """
    options = recipe.data.batching
    if not options.memory:
        return Cost(options.per_second, options.per_square_second, options.per_token), options.budget
    device = torch_device(recipe.run.device)
    auto = options.memory == "auto"
    budget = usable_memory(free_memory(device), device, world) if auto else parse_bytes(options.memory)
    fit = load_fit(fit_key(recipe, task, world))
    if fit is None or not fit.covers(float(lengths.durations[rows].max()), int(lengths.tokens[rows].max())):
        why = "was not measured on this machine" if fit is None else "was measured for shorter audio or texts only"
        several = f" --processes {world}" * (world > 1)
        raise OptionError(
            f"data: batching: memory {options.memory}: the memory of a step of this model {why}: run  linnet train "
            f"fit-memory RECIPE{several}  first, or give a `budget` of padded seconds instead."
        )
    return fit.cost, budget


# --- a dry run


def memory_rows(
    recipe: SpeechRecipe, task: SpeechTask, planned: Binning | Packing | JoinPlan | None = None
) -> Iterator[tuple[str, str]]:
    """Rows of a dry run: the memory of weights and optimizer, and of a step on the largest batch.

    Without planned bins that is the largest batch of recordings of the maximum length.
    """
    batches = planned.shapes if isinstance(planned, Binning) else [_likely_batch(recipe, task)]
    frozen_size = torch.empty(0, dtype=choose_dtype(recipe.model.dtype, "cpu")[0]).element_size()
    trained = sum(value.numel() for value in task.loss.parameters() if value.requires_grad)
    frozen = sum(value.numel() for value in task.loss.parameters() if not value.requires_grad)
    parts = {"weights": 4 * trained + frozen_size * frozen, "gradients": 4 * trained, "AdamW": 8 * trained}
    parts |= {"moving average": 4 * trained} if recipe.optimization.average else {}
    key = ", ".join(f"{name} {show_bytes(count)}" for name, count in parts.items())
    yield "memory", f"{show_bytes(sum(parts.values()))}: {key}"
    try:
        fit = load_fit(fit_key(recipe, task, int(os.environ.get("WORLD_SIZE", "1"))))
    except OptionError as error:
        yield "", str(error)
        fit = None
    if fit is not None and all(fit.covers(seconds, tokens) for _, seconds, tokens in batches):
        shape = max(batches, key=lambda shape: float(fit.cost.of(*shape)))
        peak = float(fit.cost.of(*shape))
        yield "memory of a step", f"at most {show_bytes(peak)}, by measurement, for {describe(shape)}"
        return
    why = "not measured" if fit is None else "measured for shorter audio or texts only"
    packed = recipe.data.batching.packed  # which fit-memory refuses
    yield (
        "memory of a step",
        "not measured: batches are packed" if packed else f"{why}: run  linnet train fit-memory RECIPE",
    )


def _likely_batch(recipe: SpeechRecipe, task: SpeechTask) -> Shape:
    """The largest batch of recordings of a recipe's maximum length, at a typical speaking rate."""
    options = recipe.data.batching
    seconds = task.inputs.span or min(recipe.data.longest or _LONGEST, task.inputs.longest)
    tokens = max(1, round(_PACE * seconds))
    cost = Cost(options.per_second, options.per_square_second, options.per_token)
    return max(1, int(cost.most(seconds, tokens, options.budget))), seconds, tokens
