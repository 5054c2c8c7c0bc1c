"""A process that measures training steps on synthetic audio, started by `linnet train fit-memory`, also under torchrun.

Its arguments are a recipe, and the characters of a CTC head, if any. It replies to each line of JSON on stdin, a shape
[utterances, seconds, tokens], with one on stdout (first process only). The model is loaded once, since the memory of a
step does not depend on earlier steps. Running out of memory may end the process; it is then restarted.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor

from linnet.audio import SAMPLE_RATE, Samples
from linnet.data.batching import Batches, Cost, Lengths, Shape, bin_utterances
from linnet.errors import LinnetError, OptionError
from linnet.training.batch import Batch
from linnet.training.estimate.memory import free_memory
from linnet.training.estimate.memory_profile import Moments, bytes_of, optimizer_tensors, step_moments
from linnet.training.recipe import read_recipe
from linnet.training.speech.ctc import make_ctc_head
from linnet.training.speech.model import load_task
from linnet.training.speech.recipe import SpeechRecipe
from linnet.training.trainer import OutOfRoomError, Trainer, make_accelerator

_SHORTER = 0.1  # seconds that the last recording is shorter, for padding as in real batches
_UNUSED = 0.01  # share of trained weights that may lack a gradient
_SCALER_STEPS = 20  # float16 may need several until gradients are finite


class Probe:
    """A trainer of the recipe that runs steps on noise and random tokens without changing weights.

    Raises:
        LinnetError: the model or device is unavailable, or more than 1 % of the trained weights get no gradient.
    """

    def __init__(self, recipe: SpeechRecipe, characters: str = "") -> None:
        if recipe.losses.alignment is not None:
            raise OptionError(
                "losses: alignment: its memory depends on the tokens of the training texts and is not measured: set a "
                "`budget` of batches, or measure the recipe without it."
            )
        accelerator = make_accelerator(recipe.run)
        self.free = free_memory(accelerator.device)
        still = replace(recipe.optimization, steps=10**9, learning_rate=0.0, rates={})
        task = load_task(recipe)
        head = make_ctc_head(task.model, [characters]) if recipe.losses.ctc is not None else None
        self._task = replace(task, ctc=head)
        self._vocabulary = int(self._task.model.get_input_embeddings().num_embeddings)
        self._random = np.random.default_rng(0)
        world = accelerator.num_processes
        lengths = Lengths(np.ones(world, np.float32), np.ones(world, np.int32), (("noise", world),), "none")
        batches = Batches(bin_utterances(lengths, Cost(), 2.0), world=world)
        self.trainer = Trainer(replace(recipe, optimization=still), self._task, batches, accelerator)
        self.unused = self._unused()

    def moments(self, shape: Shape) -> Moments:
        """The bytes of each moment of a step at this shape, the maximum of all processes. Raises `OutOfRoomError`."""
        trainer = self.trainer
        batch = self._batch(*shape)
        micro_batches = [batch] * min(trainer.recipe.optimization.accumulate, 2)  # the second one has gradients already
        on_host = 0 if trainer.accelerator.device.type == "cuda" else bytes_of(batch.tensors.values())
        own = step_moments(
            lambda: trainer.update(micro_batches), trainer.loss, trainer.optimizer, self.held() + on_host
        )
        if trainer.world == 1:
            return own
        everywhere: list[Moments] = gather_object([own])
        return {name: max(each.get(name, 0) for each in everywhere) for name in own}

    def held(self) -> int:
        """The bytes of weights, optimizer and moving average."""
        loss, trainer = self.trainer.loss, self.trainer
        own: Iterator[Tensor] = (value.data for value in (*loss.parameters(), *loss.buffers()))
        return bytes_of((*own, *optimizer_tensors(trainer.optimizer), *trainer.average.values()))

    def _unused(self) -> list[str]:
        """Take a first step, which creates the optimizer's state; returns the trained weights without a gradient."""
        parameters: Any = self.trainer.loss.named_parameters()  # its hooks are untyped
        trained = {name: value for name, value in parameters if value.requires_grad}
        reached: set[str] = set()
        hooks = [
            value.register_post_accumulate_grad_hook(lambda _, name=name: reached.add(name))
            for name, value in trained.items()
        ]
        for _ in range(_SCALER_STEPS):
            self.trainer.update([self._batch(1, 1.0, 2)])
            if self.trainer.optimizer.state:
                break
        for hook in hooks:
            hook.remove()
        unused = sorted(trained.keys() - reached)
        share = sum(trained[name].numel() for name in unused) / sum(value.numel() for value in trained.values())
        if share > _UNUSED or not self.trainer.optimizer.state:
            raise OptionError(f"{share:.0%} of the trained weights get no gradient in a step, the first {unused[:3]}")
        return unused

    def _batch(self, utterances: int, seconds: float, tokens: int) -> Batch:
        """Noise and random tokens; the last utterance is slightly shorter than the others."""
        noise = (0.1 * self._random.standard_normal(max(1, round(seconds * SAMPLE_RATE)))).astype(np.float32)
        clips: list[Samples] = [noise] * utterances
        labels = [self._random.integers(0, self._vocabulary, max(tokens, 1)).tolist() for _ in range(utterances)]
        if utterances > 1:
            clips[-1] = noise[: max(len(noise) // 2, len(noise) - round(_SHORTER * SAMPLE_RATE))]
            labels[-1] = labels[-1][: max(1, tokens - 1)]
        tensors = self._task.inputs.batch(clips, labels)
        if self._task.ctc is not None:
            tensors["characters"] = torch.ones(utterances, max(tokens, 1), dtype=torch.long)
            tensors["samples"] = torch.tensor(list(map(len, clips)))
        return Batch(tensors, ["noise"] * utterances, [seconds] * utterances, utterances * seconds, [])


def main() -> None:
    """Reply until stdin ends; other output goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    leads = os.environ.get("RANK", "0") == "0"

    def reply(**what: Any) -> None:
        if leads:
            answers.write(json.dumps(what) + "\n")
            answers.flush()

    recipe = read_recipe(Path(sys.argv[1]))
    assert isinstance(recipe, SpeechRecipe)
    try:
        probe = Probe(recipe, *sys.argv[2:])
    except LinnetError as error:
        reply(error=str(error))
        return
    reply(held=probe.held(), free=probe.free, unused=probe.unused)
    while (shape := _next(leads)) is not None:
        try:
            reply(moments=probe.moments(shape))
        except OutOfRoomError:
            reply(full=True)
        except LinnetError as error:
            reply(error=str(error))
    probe.trainer.accelerator.end_training()


def _next(leads: bool) -> Shape | None:
    """The next shape to measure, on all processes."""
    line = sys.stdin.readline() if leads else ""
    shape = broadcast_object_list([json.loads(line) if line else None])
    return None if shape[0] is None else (int(shape[0][0]), float(shape[0][1]), int(shape[0][2]))


if __name__ == "__main__":
    main()
