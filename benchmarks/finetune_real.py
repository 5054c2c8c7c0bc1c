"""A real Whisper is fine-tuned on degraded strings of digits: does it learn them, and what does it forget?

    python benchmarks/finetune_real.py --checkpoint WHISPER [--general ../shared/data/speech/libri_other]
                                       [--replay ../shared/data/speech/libri_speakers_notext] [--output build/finetune]

Everything goes by `linnet train` and `linnet evaluate`, with recipes/finetune.yaml in two variants (`full`: all
weights; `lora`: pairs of rank 16), whose paths and sizes are replaced. Each learns from strings of the four training
speakers of the Free Spoken Digit Dataset in rooms and noise, beside speech without texts that the checkpoint itself has
transcribed (`transcribe_with`). `lucas` validates; `theo`, whom the model has never met, and the general set are scored
before and after. References are written as the model writes digits: `3 1 4`.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

from linnet.data import Utterance, write_manifest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where `recipes` is

RATE = 16_000
ROOT = Path(__file__).parents[1]
SPEECH = ROOT / "../shared/data/speech"
TRAINING = ("george", "jackson", "nicolas", "yweweler")
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
VARIANTS: dict[str, dict[str, Any]] = {
    "full": {"freeze": {}, "rate": 2e-5},
    "lora": {"freeze": dict.fromkeys(("model.encoder", "model.decoder"), "lora(r=16)"), "rate": 3e-4},
}
Result = dict[str, Any]


def make_strings(folder: Path, fsdd: Path, speakers: tuple[str, ...], count: int, seed: int) -> None:
    """Strings of 3 to 8 digits by these speakers in turn, at other speeds, in rooms and noise at 5 to 20 dB.

    Those of an earlier run are kept.
    """
    if (folder / "manifest.jsonl").is_file():
        return
    from recipes.digits.bank import Voices, load_fsdd
    from recipes.digits.validate import connected, degraded

    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for speaker in speakers:
        found: Voices = {}
        load_fsdd(fsdd, (speaker,), found, even=False)
        cases = degraded(connected(found["en"]["real"][0], count // len(speakers), (3, 8), random), random)
        for number, case in enumerate(cases):
            name = f"{speaker}-{number}.flac"
            soundfile.write(folder / name, np.clip(case.samples, -1, 1), RATE)
            text = " ".join(str(NUMBERS.index(word)) for word in case.words)
            rows.append(Utterance(name, text, len(case.samples) / RATE, "en", speaker=speaker))
    write_manifest(folder / "manifest.jsonl", rows)


def write_recipe(folder: Path, options: argparse.Namespace, variant: str) -> Path:
    """recipes/finetune.yaml with this checkpoint, this data and the sizes that were asked for."""
    recipe = yaml.safe_load((ROOT / "recipes/finetune.yaml").read_text(encoding="utf-8"))
    chosen = VARIANTS[variant]
    checkpoint = str(options.checkpoint.resolve())
    recipe["model"] = {"checkpoint": checkpoint, "language": "en"}
    recipe["freeze"] = chosen["freeze"]
    train = [{"path": str(folder / "train/manifest.jsonl")}]
    if options.replay:
        train.append({"path": str(options.replay / "manifest.jsonl"), "transcribe_with": checkpoint})
    recipe["data"] |= {"train": train, "validation": {"path": str(folder / "dev/manifest.jsonl")}}
    recipe["data"]["batching"] = {"budget": options.budget}
    recipe["optimization"] |= {"steps": options.steps, "learning_rate": chosen["rate"]}
    recipe["optimization"].pop("epochs", None)
    recipe["run"] |= {
        "output": str(folder / "runs" / variant),
        "precision": options.precision,
        "threads": options.threads,
        "workers": 0,
        "log_every": 5,
        "validate_every": max(1, options.steps // 2),
        "max_new_tokens": 40,
        "normalizer": "basic",
    }
    path = folder / f"{variant}.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return path


def evaluate(model: str, manifest: Path, output: Path, normalizer: str, options: argparse.Namespace) -> Result:
    """What `linnet evaluate` says of a model on a set; its hypotheses go to `output`."""
    sizes = ("--threads", str(options.threads or 2), "--compute-type", options.compute_type)
    given = ("--model", model, "--normalizer", normalizer, "--output", str(output), *sizes, "--json")
    found: Result = json.loads(linnet("evaluate", str(manifest), *given))
    return found


def digit_errors(references: Path, hypotheses: Path) -> float:
    """The error rate where each digit is a word, however it was spelled: 3 1 4, 314, three one four."""
    from linnet.data import read_manifest

    texts = {row.id: row.text or "" for row in read_manifest(references)}
    heard = [json.loads(line) for line in hypotheses.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in heard if row.get("id") in texts]
    import jiwer

    return float(jiwer.wer([digits(texts[row["id"]]) for row in rows], [digits(row["hypothesis"]) for row in rows]))


def digits(text: str) -> str:
    """A text whose digits are words of one digit each.

    >>> digits("Three, 14 for")
    '3 1 4 for'
    """
    words = re.sub("|".join(NUMBERS), lambda found: str(NUMBERS.index(found[0])), text.lower())
    return " ".join(re.findall(r"\d|[a-z']+", words))


def linnet(*arguments: str) -> str:
    """What the command prints."""
    made = subprocess.run([sys.executable, "-m", "linnet", *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return made.stdout


def score(model: str, name: str, folder: Path, options: argparse.Namespace) -> Result:
    """The figures of a model on the held-out speaker and on the general set."""
    test, general = folder / "test/manifest.jsonl", options.general / "manifest.jsonl"
    own = evaluate(model, test, folder / f"{name}-test.jsonl", "basic", options)
    other = evaluate(model, general, folder / f"{name}-general.jsonl", "english", options)
    rate = digit_errors(test, folder / f"{name}-test.jsonl")
    print(f"{name}: digits {rate:.2%}, as written {own['wer']:.2%}; general {other['wer']:.2%}", flush=True)
    return {"digits": rate, "domain": own, "general": other}


def main() -> None:
    """Make the strings, train the variants, score them."""
    options = arguments()
    folder: Path = options.output.resolve()
    for name, speakers, count, seed in (
        ("train", TRAINING, options.strings, 0),
        ("dev", ("lucas",), 40, 1),
        ("test", ("theo",), options.test_strings, 2),
    ):
        make_strings(folder / name, options.fsdd, speakers, count, seed)
    found = {"before": score(str(options.checkpoint), "before", folder, options)}
    for variant in options.variants:
        linnet("train", str(write_recipe(folder, options, variant)))
        found[variant] = score(str(folder / "runs" / variant / "model"), variant, folder, options)
    print(json.dumps({"options": vars(options), "found": found}, default=str, indent=2))


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of a Whisper")
    parser.add_argument("--fsdd", type=Path, default=ROOT / "../shared/data/fsdd")
    parser.add_argument("--general", type=Path, default=SPEECH / "libri_other")
    parser.add_argument("--replay", type=Path, default=SPEECH / "libri_speakers_notext", help="speech without texts")
    parser.add_argument("--output", type=Path, default=ROOT / "build/finetune")
    parser.add_argument("--variants", nargs="*", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--strings", type=int, default=240, help="of training")
    parser.add_argument("--test-strings", type=int, default=100)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--budget", type=float, default=240.0, help="padded seconds of a batch: 8 windows of 30 s")
    parser.add_argument("--precision", default="no")
    parser.add_argument("--compute-type", default="int8", help="of `linnet evaluate`")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
