"""A fusion model of small random parts learns strings of digits: by its projector alone, then by LoRA on both sides.

    python benchmarks/fusion_digits.py --output build/fusion-digits [--fsdd ../shared/data/fsdd]
                                       [--banks build/digits-speech] [--steps 400 300 300 4900] [--quick]

The encoder is a HuBERT of 4 layers, the language model a Llama of 4 layers whose tokenizer knows the ten digits; both
are random and stay frozen as they are. Everything goes by `linnet train` and `linnet evaluate`, with recipes that this
writes into the folder: run again, it goes on where it was broken off.

1. `projector`: only the projector between them is trained, on strings of 1 to 8 digits.
2. `digits`, `short`, `strings`: low-rank pairs in all linear layers of both sides and a fresh projector are trained,
   first on isolated digits, then on strings of 2 to 4, at last on strings of up to 8; on strings with a CTC head.

Trained on the training speakers and on the synthetic voices of `--banks` (`scripts/make_digits_speech.py`), validated
on `lucas`; `theo`, whom neither has met, is scored at the end, on the strings of 5 of `benchmarks/digits.py` and on
isolated digits.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from linnet.data import Utterance, write_manifest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where `recipes` is

SEED = 2026  # of the test strings: those of benchmarks/digits.py
RATE = 16_000
ROOT = Path(__file__).parents[1]
TRAINING = ("george", "jackson", "nicolas", "yweweler")
DATA = {
    "projector": ("train/manifest.jsonl", 40.0),
    "digits": ("train-alone/manifest.jsonl", 24.0),
    "short": ("train/short.jsonl", 24.0),
    "strings": ("train/manifest.jsonl", 32.0),
}  # what each stage is trained on, and the padded seconds of a batch
BEFORE = {"short": "digits", "strings": "short"}  # whose model a stage goes on with
SCORED = ("projector", "strings")
LONGEST, SHORT = 8, 4  # digits of a training string
MOST_TOKENS = 16  # of an answer
FRONT = {"conv_dim": (128, 512), "conv_kernel": (256, 32), "conv_stride": (32, 20)}  # 25 frames a second
TEXT_RANGE = 0.05  # with the usual 0.02 no logit of a frozen head this narrow can exceed 4
DONE = ".made"
Result = dict[str, Any]


# --- data


def make_corpus(folder: Path, options: argparse.Namespace) -> None:
    """Training digits and strings; strings of 5 and isolated digits of the validation and the test speaker."""
    from recipes.digits.bank import Voices, load_bank, load_fsdd

    voices: Voices = {}
    load_fsdd(options.fsdd, TRAINING, voices)
    for bank in options.banks:
        load_bank(bank, voices)
    write(folder / "train-alone", training_strings(voices, options.strings, options.seed + 1, alone=1.0))
    made = write(folder / "train", training_strings(voices, options.strings, options.seed, alone=0.2))
    short = [utterance for utterance in made if 2 <= len((utterance.text or "").split()) <= SHORT]
    write_manifest(folder / DATA["short"][0], short)
    for speaker in ("lucas", "theo"):
        held: Voices = {}
        load_fsdd(options.fsdd, (speaker,), held, even=False)
        voice = held["en"]["real"][0]
        write(folder / speaker, test_strings(voice, options.test_strings))
        write(folder / f"{speaker}-alone", test_digits(voice, options.takes))


def training_strings(voices: Any, count: int, seed: int, *, alone: float) -> Iterable[tuple[np.ndarray, str]]:
    """Strings of at most `LONGEST` digits, some `alone`, with little silence around; a fifth in rooms and noise."""
    from recipes.digits.compose import Composer, Mix
    from recipes.digits.words import DIGITS

    composer = Composer({"en": voices["en"]}, Mix(english=1.0, empty=0.0, cut=0.0, alone=alone), seed)
    made = number = 0
    while made < count:
        random = np.random.default_rng([seed, number])
        number += 1
        said = composer.compose(random, 6.0, polluted=bool(random.random() < 0.2))
        digits = [DIGITS["en"][word.digit] for word in said.words]
        if 0 < len(digits) <= LONGEST and len(said.samples) < RATE * (0.7 + 0.7 * len(digits)):
            made += 1
            yield said.samples, " ".join(digits)


def test_strings(voice: Any, count: int) -> Iterable[tuple[np.ndarray, str]]:
    """The strings of 5 digits of `benchmarks/digits.py`."""
    from recipes.digits.validate import connected

    for case in connected(voice, count, (5, 5), np.random.default_rng(SEED)):
        yield case.samples, " ".join(case.words)


def test_digits(voice: Any, takes: int) -> Iterable[tuple[np.ndarray, str]]:
    """Recordings of a voice alone: of each digit so many."""
    from recipes.digits.words import DIGITS

    for digit, clips in sorted(voice.digits.items()):
        for clip in clips[:takes]:
            yield clip.samples(), DIGITS["en"][digit]


def write(folder: Path, strings: Iterable[tuple[np.ndarray, str]]) -> list[Utterance]:
    """Sounds as 16-bit WAV, and their manifest, whose rows it returns."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    utterances = []
    for number, (samples, text) in enumerate(strings):
        soundfile.write(folder / f"{number}.wav", np.clip(samples, -1, 1), RATE, subtype="PCM_16")
        utterances.append(Utterance(f"{number}.wav", text, len(samples) / RATE, "en"))
    write_manifest(folder / "manifest.jsonl", utterances)
    return utterances


# --- models


def make_bases(folder: Path, options: argparse.Namespace) -> None:
    """The random HuBERT, and the random Llama with its tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        HubertConfig,
        HubertModel,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
        Wav2Vec2FeatureExtractor,
    )

    from recipes.digits.words import DIGITS

    torch.manual_seed(options.seed)
    width = options.width
    shape = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": 4, "num_attention_heads": 4}
    front = {**FRONT, "feat_extract_norm": "layer", "do_stable_layer_norm": True}
    still = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "feat_proj_dropout": 0.0}
    places = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 16}
    hubert = HubertConfig(**shape, **front, **still, **places)
    encoder = HubertModel(hubert)
    draw_front(encoder)
    encoder.save_pretrained(folder / "encoder")
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(folder / "encoder")
    names = ["<unk>", "<s>", "</s>", "<pad>", "digits", *DIGITS["en"]]
    words = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    tokens = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}
    sizes = {"vocab_size": len(names), "max_position_embeddings": 512, "initializer_range": TEXT_RANGE}
    llama = LlamaConfig(**shape, **tokens, **sizes)
    LlamaForCausalLM(llama).save_pretrained(folder / "language_model")
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder / "language_model")


def draw_front(encoder: Any) -> None:
    """Random convolutions that keep what is said, as trained ones do: white ones spread it over too many features.

    The first holds Hann-windowed cosines of random frequency (100 to 4000 Hz, log-uniform) and phase, the second means
    over time of random mixtures of channels whose weights sum to zero, so that no constant drowns what changes.
    """
    import torch

    first, second = (layer.conv.weight for layer in encoder.feature_extractor.conv_layers)  # [out, in, taps]
    count, _, taps = first.shape
    seconds = (torch.arange(taps) - (taps - 1) / 2) / RATE
    frequency, phase = 100 * 40 ** torch.rand(count, 1), torch.rand(count, 1)
    waves = torch.cos(2 * torch.pi * (frequency * seconds + phase)) * hann(taps)
    mixture = torch.randn(second.shape[:2])
    with torch.no_grad():
        first.copy_((waves / waves.norm(dim=1, keepdim=True))[:, None])
        second.copy_((mixture - mixture.mean(1, keepdim=True))[:, :, None] * hann(second.shape[2]))


def hann(taps: int) -> Any:
    """Hann's window [taps] without the zeros at its ends."""
    import torch

    return torch.hann_window(taps + 2, periodic=False)[1:-1]


# --- recipes, training, scores


def recipe(folder: Path, options: argparse.Namespace, stage: str) -> Result:
    """What `linnet train` is given for a stage."""
    manifest, budget = DATA[stage]
    steps = options.steps[list(DATA).index(stage)]
    held = "lucas-alone" if stage == "digits" else "lucas"
    model: Result = {
        "encoder": str(folder / "encoder"),
        "language_model": str(folder / "language_model"),
        "projector": {"hidden": 2 * options.width},
        "instruction": "digits",
    }
    if stage in BEFORE:
        model = {"checkpoint": str(folder / "runs" / BEFORE[stage] / "model")}
    pairs = dict.fromkeys(("encoder", "language_model"), f"lora(r={options.rank})")
    chances = {"speed": 0.5, "reverb": 0.1, "noise": 0.3, "telephone": 0.0, "codec": 0.0, "level": 1.0, "masks": 0.0}
    return {
        "task": "speech",
        "model": model,
        "freeze": {} if stage == "projector" else pairs,
        "data": {
            "train": [{"path": str(folder / manifest)}],
            "validation": {"path": str(folder / held / "manifest.jsonl")},
            "augment": chances,
            "batching": {"budget": budget, "groups": 10},
        },
        "losses": {"ctc": {"weight": options.ctc}} if stage in BEFORE and options.ctc else {},
        "optimization": {"steps": steps, "learning_rate": options.rate, "warmup": 0.03, "average": 0.998},
        "run": {
            "output": str(folder / "runs" / stage),
            "seed": options.seed,
            "device": "cpu",
            "precision": "bf16",
            "threads": options.threads,
            "workers": 1,
            "log_every": max(1, steps // 40),
            "checkpoint_every": max(1, steps // 10),
            "validate_every": max(1, steps // 5),
            "validation_batch": 50,
            "max_new_tokens": MOST_TOKENS,
            "normalizer": "basic",
        },
    }


def train(folder: Path, options: argparse.Namespace, stage: str) -> Result:
    """Train a stage to its end: its model's folder, parameters of each part, minutes."""
    import yaml

    from linnet.training.freeze import counts
    from linnet.training.recipe import read_recipe
    from linnet.training.speech.model import outline

    path = folder / f"{stage}.yaml"
    path.write_text(yaml.safe_dump(recipe(folder, options, stage), sort_keys=False), encoding="utf-8")
    task: Any = outline(read_recipe(path))  # type: ignore[arg-type]
    parts = counts(task.model, task.policy)
    model = linnet("train", str(path)).strip()
    log = [json.loads(line) for line in (folder / "runs" / stage / "log.jsonl").read_text().splitlines()]
    return {
        "model": model,
        "trained": {part: count.trained for part, count in parts.items()},
        "frozen": {part: count.frozen for part, count in parts.items()},
        "minutes": log[-1]["seconds_per_step"] * log[-1]["steps"] / 60,
    }


def evaluate(model: str, manifest: Path) -> Result:
    """What `linnet evaluate` says of a model on a set."""
    given = ("--model", model, "--normalizer", "basic", "--max-new-tokens", str(MOST_TOKENS), "--json")
    found: Result = json.loads(linnet("evaluate", str(manifest), *given))
    return found


def linnet(*arguments: str) -> str:
    """What the command prints."""
    made = subprocess.run([sys.executable, "-m", "linnet", *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return made.stdout


def main() -> None:
    """Make what is not there, train both stages, score them."""
    options = arguments()
    folder: Path = options.output.resolve()
    if not (folder / DONE).is_file():
        make_corpus(folder, options)
        make_bases(folder, options)
        (folder / DONE).touch()
    stages = {stage: train(folder, options, stage) for stage in DATA}
    for speaker in options.speakers:
        for name in (speaker, f"{speaker}-alone"):
            for stage in SCORED:
                made = stages[stage]
                made[name] = evaluate(made["model"], folder / name / "manifest.jsonl")
                print(f"{stage}, {name}: {100 * made[name]['wer']:.2f} %", flush=True)
    print(json.dumps({"options": vars(options), "stages": stages}, default=str, indent=2))


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fsdd", type=Path, default=ROOT / "../shared/data/fsdd")
    parser.add_argument("--banks", type=Path, nargs="*", default=[], help="of scripts/make_digits_speech.py")
    parser.add_argument("--output", type=Path, default=ROOT / "build/fusion-digits")
    parser.add_argument("--strings", type=int, default=10_000, help="of training")
    parser.add_argument("--test-strings", type=int, default=200)
    parser.add_argument("--takes", type=int, default=50, help="of each digit alone, of 50")
    parser.add_argument("--width", type=int, default=192, help="of both models")
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--steps", type=int, nargs=4, default=[400, 300, 300, 4900], help="of each stage")
    parser.add_argument("--ctc", type=float, default=0.1, help="weight of a CTC head's loss on strings; 0: no head")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--speakers", nargs="*", choices=("lucas", "theo"), default=["lucas", "theo"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="everything tiny: does it run?")
    options = parser.parse_args()
    if options.quick:
        tiny = {"strings": 40, "test_strings": 4, "takes": 1, "width": 32, "rank": 4, "steps": [4, 4, 4, 4]}
        vars(options).update(tiny)
    return options


if __name__ == "__main__":
    main()
