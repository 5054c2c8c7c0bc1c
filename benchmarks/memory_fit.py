"""The memory of training steps predicted from eight measured shapes, against what other shapes take.

    python benchmarks/memory_fit.py [--models projector lora whisper ...] [--held-out 14] [--json result.json]

Models of random parts: fusion models of a HuBERT and a Llama of 4 layers each (projector alone trained; low-rank pairs
on both sides; everything) and a Whisper of 4 + 2 layers trained whole, each with and without gradient checkpointing,
one under bfloat16. Each is measured as `linnet train fit-memory` does it: in its own process, a step on one
utterance and one on several at each of eight shapes. Held out are random batch sizes, seconds and tokens; the error is
what the fit says over what the allocator counts, less one. The column of a single formula is the same fit to the peaks
of whole steps, without telling their moments apart. `--rss` also compares the count with a process's resident memory.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from training_speed import FREEZE, make_bases, resident

from linnet.data.batching import Shape, fit_bins, fit_cost
from linnet.training.estimate.fit_memory import fit_steps, probe_shapes

DIGITS = Path(__file__).parents[1] / "src/linnet/models/embedded/digits"
BUDGET = 4_000_000_000
MODELS = {
    f"{part}{' checkpointed' * checkpointing}{' bf16' * (precision == 'bf16')}": (part, checkpointing, precision)
    for part in ("projector", "lora", "all", "whisper")
    for checkpointing in (False, True)
    for precision in (("no", "bf16") if part == "lora" else ("no",))
}


def make_whisper(folder: Path, width: int) -> None:
    """A Whisper of 4 + 2 layers with the embedded model's tokenizer."""
    import torch
    from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

    torch.manual_seed(0)
    shutil.copytree(DIGITS, folder)
    config = WhisperConfig.from_pretrained(DIGITS)
    config.update({"d_model": width, "encoder_layers": 4, "decoder_layers": 2})
    config.update({"encoder_attention_heads": 4, "decoder_attention_heads": 4})
    config.update({"encoder_ffn_dim": 4 * width, "decoder_ffn_dim": 4 * width})
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig.from_pretrained(DIGITS)
    model.save_pretrained(folder)


def recipe(folder: Path, part: str, checkpointing: bool, precision: str, width: int) -> Any:
    """The recipe of one of the models."""
    from linnet.settings import build
    from linnet.training.speech.recipe import SpeechRecipe

    fusion = {"encoder": str(folder / "encoder"), "language_model": str(folder / "language_model")}
    whisper = {"checkpoint": str(folder / "whisper"), "language": "en"}
    content = {
        "model": whisper if part == "whisper" else {**fusion, "projector": {"hidden": 2 * width}},
        "freeze": FREEZE.get(part, {}),
        "optimization": {"gradient_checkpointing": checkpointing},
        "run": {"device": "cpu", "threads": 1, "precision": precision, "output": str(folder / "run")},
    }
    return build(SpeechRecipe, content, "benchmark")


def corpus(part: str) -> tuple[Any, float, int]:
    """Bins of speech-like lengths, and the most seconds and tokens."""
    random = np.random.default_rng(0)
    longest, most = (30.0, 100) if part == "whisper" else (20.0, 200)
    durations = np.clip(random.lognormal(1.6, 0.7, 5000), 1.0, longest).astype(np.float32)
    tokens = np.clip(durations * random.lognormal(1.2, 0.4, 5000), 1, most).astype(np.int32)
    return fit_bins(durations, tokens), float(durations.max()), int(tokens.max())


def held_out(count: int, longest: float, most: int, fit: Any) -> list[Shape]:
    """Random shapes that take from a twentieth of what the largest probe took to one and a half times that."""
    random = np.random.default_rng(1)
    largest = max(fit.measured) - fit.held
    shapes = []
    for _ in range(count):
        seconds, tokens = round(random.uniform(1.0, longest), 2), int(random.integers(2, most))
        size = int(fit.cost.most(seconds, tokens, fit.held + largest * random.uniform(0.05, 1.5)))
        shapes.append((max(1, size), seconds, tokens))
    return shapes


def measure(folder: Path, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Fit one model and try the fit."""
    from linnet.training.estimate.probing import Probing
    from linnet.training.speech.model import outline

    part, checkpointing, precision = MODELS[name]
    asked = recipe(folder, part, checkpointing, precision, options.width)
    task = outline(asked)
    bins, longest, most = corpus(part)
    with Probing(asked, 1, say) as probing:
        fit = fit_steps(probing, probe_shapes(bins, task.inputs), BUDGET, say)
        shapes = held_out(options.held_out, longest, most, fit)
        measured = [max((probing.moments(shape) or {}).values()) for shape in shapes]
    errors = fit.cost.errors(shapes, measured)
    single = fit_cost(fit.shapes, fit.measured, known=fit.held).errors(shapes, measured)
    return {
        "model": name,
        "worst": float(np.abs(errors).max()),
        "mean": float(np.abs(errors).mean()),
        "single": float(np.abs(single).max()),
        "moments": len(fit.cost.moments),
        "held": fit.held,
        "least": min(measured),
        "most": max(measured),
        "rows": [[*shape, count, float(error)] for shape, count, error in zip(shapes, measured, errors, strict=True)],
    }


def say(text: str) -> None:
    """On stderr, as it comes."""
    print(text, file=sys.stderr, flush=True)


def compare_resident(folder: Path, options: argparse.Namespace) -> list[str]:
    """The allocator's count beside the resident memory that a step adds, each in a fresh process."""
    lines = []
    for name in options.models:
        command = [sys.executable, __file__, "--resident", name, "--folder", str(folder), "--width", str(options.width)]
        # what is freed goes back to the system at once, so that the peak is that of what is in use
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        lines.append(f"{name}: {done.stdout.strip()}")
    return lines


def show_resident(folder: Path, name: str, width: int) -> None:
    """In its own process: a step's count, and the growth of VmHWM over what was resident before it."""
    from linnet.training.estimate.probe import Probe

    part, checkpointing, precision = MODELS[name]
    probe = Probe(recipe(folder, part, checkpointing, precision, width))
    shape = (8, 15.0, 80)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # VmHWM begins anew
    before = resident("VmRSS")
    counted = max(probe.moments(shape).values()) - probe.held()
    print(f"counted {counted / 1e6:.0f} MB, resident {resident('VmHWM') - before:.0f} MB over what was there")


def table(results: Sequence[dict[str, Any]]) -> str:
    """A line for each model."""
    cells = ["model", "weights and optimizer", "held-out steps", "worst error", "mean error", "a single formula"]
    lines = [f"| {' | '.join(cells)} |", "|---" * len(cells) + "|"]
    for row in results:
        span = f"{row['least'] / 1e6:.0f} to {row['most'] / 1e6:.0f} MB"
        errors = f"{row['worst']:.1%} | {row['mean']:.1%} | {row['single']:.0%}"
        lines.append(f"| {row['model']} | {row['held'] / 1e6:.0f} MB | {span} | {errors} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--held-out", type=int, default=14)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--vocabulary", type=int, default=8000, help="words of the language model")
    parser.add_argument("--rss", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--resident", choices=MODELS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.resident:
        show_resident(options.folder, options.resident, options.width)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_bases(folder, options.width, options.vocabulary)
        make_whisper(folder / "whisper", options.width)
        results = [measure(folder, model, options) for model in options.models]
        print(table(results))
        if options.rss:
            print(*compare_resident(folder, options), sep="\n")
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
