"""Fine-tuning a Whisper on short clips: each in its own window, and several joined into one.

    python benchmarks/training_join.py --checkpoint WHISPER [--utterances 192] [--windows 2] [--output build/join]

Strings of 3 to 8 digits of about 2 to 5 s (see benchmarks/finetune_real.py) are learned by two copies of the checkpoint
in one process, in turns: the copy that has read fewer utterances takes the next step. Both go once through the same
utterances, in as many steps and at the same learning rate: a step of one copy reads `--windows` windows of joined
clips, of the other as many clips as those hold on average, each in its own window. What is timed is reading a batch and
the step on it. `theo`, whom neither has met, is then scored with `linnet evaluate`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from finetune_real import ROOT, TRAINING, digit_errors, evaluate, make_strings

from linnet.data import read_manifest
from linnet.training.batch import Batch
from linnet.training.recipe import read_recipe
from linnet.training.speech.model import load_task
from linnet.training.speech.recipe import SpeechRecipe
from linnet.training.speech.run import prepare
from linnet.training.trainer import Trainer

SPAN = 30.0
Result = dict[str, Any]


@dataclass
class Learner:
    """A copy of the model on its way: its trainer, its batches, and what it has read in which time."""

    trainer: Trainer
    batches: Iterator[Batch]
    utterances: int = 0
    spent: list[float] = field(default_factory=list)
    padding: list[float] = field(default_factory=list)

    def step(self) -> None:
        """Read a batch and learn from it."""
        start = time.perf_counter()
        batch = next(self.batches)
        self.trainer.update([batch])
        self.spent.append(time.perf_counter() - start)
        self.utterances += len(batch.ids)
        self.padding.append(1 - sum(batch.seconds) / batch.padded)

    def result(self) -> Result:
        """Its figures."""
        rate = self.utterances / sum(self.spent)
        padding = sum(self.padding) / len(self.padding)
        return {"utterances_per_second": rate, "audio_padding": padding, "steps": len(self.spent)}


def learner(folder: Path, options: argparse.Namespace, name: str, windows: int, **data: Any) -> Learner:
    """A fresh copy, all of whose weights learn from batches of so many windows."""
    recipe = {
        "task": "speech",
        "model": {"checkpoint": str(options.checkpoint.resolve()), "language": "en"},
        "data": {
            "train": [{"path": str(folder / "train/manifest.jsonl")}],
            "batching": {"budget": windows * SPAN, "per_token": 0.0},
            **data,
        },
        "optimization": {
            "epochs": 1.0,
            "learning_rate": options.rate,
            "warmup": 0.1,
            "weight_decay": 0.01,
        },
        "run": {"output": str(folder / "runs" / name), "threads": options.threads, "workers": 0},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    made = read_recipe(path)
    assert isinstance(made, SpeechRecipe)
    trainer, data, _ = prepare(made, load_task(made))
    return Learner(trainer, (data[rows] for rows in trainer.batches.of_rank(0)))


def score(model: str, name: str, folder: Path, options: argparse.Namespace) -> Result:
    """The error rate of the held-out speaker, each digit a word, and its number of words."""
    heard = folder / f"{name}-test.jsonl"
    heard.unlink(missing_ok=True)
    found = evaluate(model, folder / "test/manifest.jsonl", heard, "basic", options)
    return {"wer": digit_errors(folder / "test/manifest.jsonl", heard), "as_written": found["wer"]}


def main() -> None:
    """Make the strings, let both learn in turns, score them."""
    options = arguments()
    folder: Path = options.output.resolve()
    sets = (("train", TRAINING, options.utterances, 0), ("test", ("theo",), options.test_strings, 2))
    for name, speakers, count, seed in sets:
        make_strings(folder / name, options.fsdd, speakers, count, seed)
    lengths = [row.duration or 0.0 for row in read_manifest(folder / "train/manifest.jsonl")]
    joined = learner(folder, options, "joined", options.windows, join={"times": options.times, "alone": options.alone})
    padded = learner(folder, options, "padded", -(-len(lengths) // joined.trainer.steps))
    both = {"padded": padded, "joined": joined}
    while (behind := min(both.values(), key=lambda each: each.utterances)).utterances < len(lengths):
        behind.step()
    found: Result = {"clips": {"mean_seconds": sum(lengths) / len(lengths), "from": min(lengths), "to": max(lengths)}}
    found["before"] = score(str(options.checkpoint), "before", folder, options)
    for name, each in both.items():
        each.trainer.export("model")
        found[name] = {**each.result(), **score(str(folder / "runs" / name / "model"), name, folder, options)}
    rates = [found[name]["utterances_per_second"] for name in ("padded", "joined")]
    found["times_as_fast"] = rates[1] / rates[0]
    print(json.dumps({"options": vars(options), "found": found}, default=str, indent=2))


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of a Whisper")
    parser.add_argument("--fsdd", type=Path, default=ROOT / "../shared/data/fsdd")
    parser.add_argument("--output", type=Path, default=ROOT / "build/join")
    parser.add_argument("--utterances", type=int, default=192, help="that each copy learns from")
    parser.add_argument("--windows", type=int, default=2, help="of joined clips in a step")
    parser.add_argument("--test-strings", type=int, default=60)
    parser.add_argument("--times", type=float, default=0.5, help="share of the joined windows with times")
    parser.add_argument("--alone", type=float, default=0.05, help="share of the clips with a window for themselves")
    parser.add_argument("--rate", type=float, default=2e-5)
    parser.add_argument("--compute-type", default="int8", help="of `linnet evaluate`")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
