"""The time that `linnet train --dry-run` tells beside the time that the steps then take.

    python benchmarks/duration.py [--widths 32 128 384] [--steps 6] [--threads 1]

Fusion models of random parts as in `training_speed.py`, at several widths, frozen, with adapters and trained whole,
with and without gradient checkpointing. Steps are timed without reading, saving or validating, which the estimate
leaves out, in seconds of CPU of this process, so that other work on the machine counts little. `reached` is the share
of the measured rate of products that the steps reached; the estimate takes 40 %. Asked: the estimate is right within a
factor of two.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from training_speed import FREEZE, make_bases, make_corpus, recipe


def measure(folder: Path, options: Any, steps: int, checkpointing: bool) -> tuple[float, float]:
    """The share of the machine's rate that `steps` steps reach, and the told seconds over the measured ones."""
    from linnet.training.estimate.duration import SHARE, measure_rate
    from linnet.training.estimate.flops import StepFlops
    from linnet.training.loop import _groups
    from linnet.training.speech.model import load_task
    from linnet.training.speech.run import prepare

    made = recipe(folder, options)
    made = replace(made, optimization=replace(made.optimization, gradient_checkpointing=checkpointing))
    task = load_task(made)
    trainer, data, _ = prepare(made, task)
    flops = StepFlops(task.model)
    rate = measure_rate(trainer.accelerator.device, made.run.precision)
    spent = operations = 0.0
    for number, window in enumerate(itertools.islice(_groups(trainer, data), steps + 1)):
        start = time.process_time()
        trainer.update(window)
        if number:  # the first step makes what later ones use again
            spent += time.process_time() - start
            operations += sum(
                flops.batch(len(batch.seconds), max(batch.seconds), batch.tensors["labels"].shape[1])
                for batch in window
            )
    return operations / spent / rate, operations / (SHARE * rate) / spent


def main() -> None:
    """Print a row for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 128, 384])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--budget", type=float, default=100.0)
    asked = parser.parse_args()
    print(f"{'width':>6} {'trained':<12}{'checkpointing':<15}{'reached':>8}{'told / measured':>17}")
    for width in asked.widths:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            make_bases(folder, width)
            make_corpus(folder, 100)
            for part, checkpointing in itertools.product(FREEZE, (False, True)):
                given = {"part": part, "width": width, "threads": asked.threads, "budget": asked.budget, "groups": 8}
                reached, ratio = measure(folder, SimpleNamespace(**given), asked.steps, checkpointing)
                print(f"{width:>6} {part:<12}{checkpointing!s:<15}{reached:>8.0%}{ratio:>17.2f}", flush=True)


if __name__ == "__main__":
    main()
