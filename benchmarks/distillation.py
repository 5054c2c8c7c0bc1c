"""A student that `linnet models resize` made, trained on the labels, on its teacher, and on both.

    python benchmarks/distillation.py [--fsdd ../shared/data/fsdd] [--steps 100] [--seeds 2] [--json result.json]

The teacher is the embedded model `digits` (5 + 2 layers), the student has its encoder, which stays frozen, and one
decoder layer (`--encoder-layers` takes fewer, and trains all). Training data are strings of one to five digits of the
training speakers; each way takes the same batches, steps and learning rate. The
error rate and the divergence from the teacher are those of 100 strings of five digits of `lucas`, whom nobody here
trains on (the teacher's checkpoint was chosen on him). Each row of the table is a mean over seeds, with the least and
the most.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import soundfile
import torch

from linnet.data import SourceSpec, Utterance, write_manifest
from linnet.models.resize import resize
from linnet.training.context import RunContext
from linnet.training.loop import run_recipe
from linnet.training.options import Optimization
from linnet.training.speech.model import load_task
from linnet.training.speech.recipe import Batching, Distillation, Losses, SpeechData, SpeechModelChoice, SpeechRecipe
from linnet.training.speech.recipe import SpeechRunSettings as Run
from linnet.training.speech.run import prepare

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where `recipes` is

from recipes.digits.bank import Voices, load_fsdd
from recipes.digits.validate import connected

ROOT = Path(__file__).parents[1]
SPEAKERS = ("george", "jackson", "nicolas", "yweweler")
TEACHER, WHOLE = "digits", 5  # layers of its encoder


def main() -> None:
    """Print the table, and write it as JSON where `--json` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fsdd", type=Path, default=ROOT / "../shared/data/fsdd")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--encoder-layers", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--utterances", type=int, default=600, help="strings to train on")
    parser.add_argument("--temperature", type=float, default=2.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    distill = Distillation(teacher=TEACHER, temperature=options.temperature)
    ways = {
        "labels": Losses(),
        "labels and teacher": Losses(distill=distill),
        "teacher": Losses(text=0.0, distill=distill),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train = corpus(folder / "train", options.fsdd, SPEAKERS, options.utterances, (1, 5))
        held = corpus(folder / "lucas", options.fsdd, ("lucas",), 100, (5, 5))
        made = resize(
            TEACHER, folder / "student", encoder_layers=options.encoder_layers, decoder_layers=1, offline=True
        )
        print(f"parameters: {made.parameters[0]:,} of the teacher, {made.parameters[1]:,} of the student")
        found: dict[str, list[dict[str, float]]] = {}
        recipe = recipe_of(folder / "student", train, held, options.steps)
        if options.encoder_layers == WHOLE:
            recipe = replace(recipe, freeze={"model.decoder": "all"})
        found["untrained"] = [measure(recipe, folder / "student", ways["teacher"])]
        for seed in range(options.seeds):
            for way, losses in ways.items():
                found.setdefault(way, []).append(trained(recipe, way, losses, seed, ways["teacher"]))
    show(found)
    if options.json:
        options.json.write_text(json.dumps({"rows": found, "options": vars(options)}, indent=1, default=str))


def corpus(folder: Path, fsdd: Path, speakers: Sequence[str], count: int, length: tuple[int, int]) -> Path:
    """A manifest of so many strings of digits, the speakers in turn."""
    voices: Voices = {}
    load_fsdd(fsdd, tuple(speakers), voices, even=False)
    rng = np.random.default_rng(7)
    folder.mkdir()
    utterances: list[Utterance] = []
    for voice in voices["en"]["real"]:
        for case in connected(voice, count // len(speakers), length, rng):
            path = folder / f"{len(utterances)}.wav"
            soundfile.write(path, case.samples, 16_000)
            utterances.append(Utterance(path.name, " ".join(case.words), len(case.samples) / 16_000, "en"))
    write_manifest(folder / "manifest.jsonl", utterances)
    return folder / "manifest.jsonl"


def recipe_of(student: Path, train: Path, held: Path, steps: int) -> SpeechRecipe:
    """Batches of ten windows, at one learning rate for all ways."""
    data = SpeechData((SourceSpec(str(train)),), SourceSpec(str(held)), batching=Batching(budget=100.0, groups=5))
    run = Run(precision="no", device="cpu", threads=1, workers=0, validate_every=10**6, max_new_tokens=40)
    optimization = Optimization(steps=steps, learning_rate=5e-4, warmup=0.1)
    return SpeechRecipe(SpeechModelChoice(checkpoint=str(student)), {}, data, Losses(), optimization, run)


def trained(recipe: SpeechRecipe, way: str, losses: Losses, seed: int, lesson: Losses) -> dict[str, float]:
    """Train a student in one way, and measure it."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run = replace(recipe.run, output=folder, seed=seed)
        rows = run_recipe(replace(recipe, run=run, losses=losses), RunContext(score=score))
        wer = [row["wer"] for row in rows if "wer" in row][-1]
        seconds = time.perf_counter() - began
        found = {"wer": wer, **measure(recipe, Path(folder) / "model", lesson), "seconds": seconds}
    print(f"seed {seed}, {way}: {found}", flush=True)
    return found


def measure(recipe: SpeechRecipe, model: Path, lesson: Losses) -> dict[str, float]:
    """The divergence from the teacher on the held-out strings, in nats a token at temperature 1."""
    assert lesson.distill is not None
    plain = replace(lesson, distill=replace(lesson.distill, temperature=1.0, weight=1.0))
    data = replace(recipe.data, train=(recipe.data.validation,), validation=None)  # type: ignore[arg-type]
    choice = SpeechModelChoice(checkpoint=str(model))
    with tempfile.TemporaryDirectory() as folder:
        run = replace(recipe.run, output=folder)
        chosen = replace(recipe, model=choice, data=data, losses=plain, run=run)
        task = load_task(chosen)
        _, batches, _ = prepare(chosen, task)
        total, tokens = 0.0, 0
        loss: Any = task.loss.eval()
        with torch.no_grad():
            for first in range(0, 100, 20):
                batch = batches[range(first, first + 20)]
                total += float(loss(batch.tensors)["distill"])
                tokens += batch.tokens
    return {"divergence": total / tokens}


def score(references: Sequence[str], heard: Sequence[str], _: Sequence[str | None]) -> float:
    """Corpus word error rate of words in lower case."""
    return float(jiwer.process_words(list(references), [text.lower() for text in heard]).wer)


def show(found: dict[str, list[dict[str, float]]]) -> None:
    """The table."""
    print("| learned from | WER, % | divergence, nats a token | minutes |\n|---|---|---|---|")
    for way, rows in found.items():
        cells = [spread([scale * row[key] for row in rows if key in row]) for key, scale in FIGURES.items()]
        print(f"| {way} | {' | '.join(cells)} |")
    print(f"{platform.machine()}, one core, torch {torch.__version__}")


FIGURES = {"wer": 100.0, "divergence": 1.0, "seconds": 1 / 60}


def spread(values: list[float]) -> str:
    """Mean, least and most."""
    if not values:
        return ""
    return f"{statistics.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
