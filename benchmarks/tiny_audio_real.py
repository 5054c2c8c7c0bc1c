"""Tiny Audio with real parts on a CPU: Whisper base hears, SmolLM2-135M-Instruct writes; what does an hour come to?

    linnet models pull base && linnet models pull smollm2-135m-instruct
    python benchmarks/tiny_audio_real.py TEXT... --encoder base --language-model smollm2-135m-instruct
                                         [--piper FOLDER] [--real FOLDER] [--test FOLDER] [--output build/tiny]

Everything goes by `linnet train` and `linnet evaluate`, with recipes/tiny-audio-small.yaml and
recipes/tiny-audio-small-lora.yaml, whose paths and sizes are replaced. `frozen` is the second recipe with the language
model
as it is. Trained on sentences of the text files (one a line) spoken by `benchmarks/tiny_audio_speech.py`, with `--real`
also on speech that the encoder's own Whisper transcribes; the last `--dev` sentences validate. The test set is never
trained on: each of its texts that shares six words in a row with a training text is reported. Run again, it goes on
where it was broken off.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from linnet.data import read_manifest, write_manifest

ROOT = Path(__file__).parents[1]
SPEECH = ROOT / "../shared/data/speech"
SHARED = 6  # words in a row that make a text suspicious
Result = dict[str, Any]


def prepare(folder: Path, options: argparse.Namespace) -> None:
    """Speak the sentences, and divide them into those for training and the last ones for validation."""
    spoken = folder / "spoken" / "manifest.jsonl"
    if not spoken.is_file():
        command = [sys.executable, str(ROOT / "benchmarks/tiny_audio_speech.py"), *map(str, options.texts)]
        command += ["--output", str(spoken.parent), "--count", str(options.sentences + options.dev)]
        command += ["--piper", str(options.piper)] if options.piper else []
        subprocess.run(command, check=True)
    rows = list(read_manifest(spoken))
    write_manifest(folder / "train.jsonl", rows[: -options.dev])
    write_manifest(folder / "dev.jsonl", rows[-options.dev :])


def recipes(folder: Path, options: argparse.Namespace) -> dict[str, Result]:
    """The recipes of the stages with this data, these models and sizes."""
    stages: dict[str, Result] = {}
    for stage, name, epochs in (
        ("projector", "tiny-audio-small", options.epochs[0]),
        ("frozen", "tiny-audio-small-lora", options.epochs[1]),
        ("lora", "tiny-audio-small-lora", options.epochs[2]),
    ):
        if not epochs:
            continue
        recipe = yaml.safe_load((ROOT / f"recipes/{name}.yaml").read_text(encoding="utf-8"))
        if stage == "projector":
            recipe["model"] |= {"encoder": options.encoder, "language_model": options.language_model}
        else:
            recipe["model"]["checkpoint"] = str(folder / "runs" / list(stages)[-1] / "model")
        if stage == "frozen":
            recipe["freeze"]["language_model"] = "frozen"
        train: list[Result] = [{"path": str(folder / "train.jsonl")}]
        if options.real:
            train.append({"path": str(options.real / "manifest.jsonl"), "transcribe_with": options.encoder})
        recipe["data"] |= {"train": train, "cache_features": {"folder": str(folder / "features")}}
        if "validation" in recipe["data"]:
            recipe["data"]["validation"] = {"path": str(folder / "dev.jsonl")}
        recipe["optimization"]["epochs"] = epochs
        recipe["run"] |= {"output": str(folder / "runs" / stage), "threads": options.threads}
        stages[stage] = recipe
    return stages


def evaluate(model: str, manifest: Path, output: Path, options: argparse.Namespace) -> Result:
    """What `linnet evaluate` says of a model on a set; its hypotheses go to `output`."""
    given = ("--model", model, "--normalizer", "english", "--max-new-tokens", "80", "--output", str(output))
    threads = ("--threads", str(options.threads)) if options.threads else ()
    found: Result = json.loads(linnet("evaluate", str(manifest), *given, *threads, "--json"))
    return found


def overlap(train: Path, test: Path) -> list[str]:
    """The ids of test rows with a text that shares `SHARED` words in a row with a training text."""
    known = {run for row in read_manifest(train) for run in runs(row.text or "")}
    return [row.id for row in read_manifest(test) if known & runs(row.text or "")]


def runs(text: str) -> set[str]:
    """All stretches of `SHARED` words of a text.

    >>> sorted(runs("Now, one two three four five six."))
    ['now one two three four five', 'one two three four five six']
    """
    words = "".join(letter for letter in text.lower() if letter.isalnum() or letter in " '").split()
    return {" ".join(words[start : start + SHARED]) for start in range(len(words) - SHARED + 1)}


def linnet(*arguments: str) -> str:
    """What the command prints."""
    made = subprocess.run([sys.executable, "-m", "linnet", *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return made.stdout


def curve(folder: Path) -> list[Result]:
    """The rows of a run's log, with what a curve needs."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    keys = ("step", "epoch", "loss", "loss_text", "loss_alignment", "wer")
    return [{key: row[key] for key in keys if key in row} for row in rows]


def main() -> None:
    """Speak, train stage after stage, score."""
    options = arguments()
    folder: Path = options.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "train.jsonl").is_file():
        prepare(folder, options)
    test = options.test / "manifest.jsonl"
    found: dict[str, Any] = {"shared with training": overlap(folder / "train.jsonl", test)}
    for stage, recipe in recipes(folder, options).items():
        path = folder / f"{stage}.yaml"
        path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
        model = linnet("train", str(path)).strip()
        run = folder / "runs" / stage
        hours = json.loads((run / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
        found[stage] = {"minutes": hours["seconds_per_step"] * hours["steps"] / 60, "curve": curve(run)}
        if stage != "projector":
            found[stage]["test"] = evaluate(model, test, folder / f"{stage}-test.jsonl", options)
            print(f"{stage}: {found[stage]['test']['wer']:.2%}", flush=True)
    print(json.dumps({"options": vars(options), "found": found}, default=str, indent=2))


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path, nargs="+", help="files with a sentence a line")
    parser.add_argument("--encoder", default="base", help="a Whisper: name or folder")
    parser.add_argument("--language-model", default="smollm2-135m-instruct", help="name or folder")
    parser.add_argument("--piper", type=Path, help="folder of a Piper voice")
    parser.add_argument("--real", type=Path, help="folder of a set of speech without texts")
    parser.add_argument("--test", type=Path, default=SPEECH / "libri_other")
    parser.add_argument("--output", type=Path, default=ROOT / "build/tiny-audio")
    parser.add_argument("--sentences", type=int, default=4000, help="of training")
    parser.add_argument("--dev", type=int, default=50, help="sentences of validation")
    parser.add_argument("--epochs", type=float, nargs=3, default=[12.0, 1.0, 4.0], help="of each stage; 0: none")
    parser.add_argument("--threads", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
