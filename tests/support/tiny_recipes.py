"""A tiny corpus of tones, one for each word, and recipes that train tiny random models on it in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

from linnet.data import Utterance, write_manifest
from linnet.training.recipe import read_recipe
from linnet.training.speech.recipe import SpeechRecipe
from tests.support.tiny_fusion import save_all, words

WORDS = ("one", "two", "three", "four")
RATE = 16_000


def tone_corpus(folder: Path, count: int = 24, seed: int = 0) -> Path:
    """A manifest of `count` utterances of no to three words, each word 0.2 s of its own tone; silence is empty."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    utterances = []
    for number in range(count):
        said = random.integers(0, len(WORDS), number % 4).tolist()
        time = np.arange(RATE // 5) / RATE
        parts = [0.3 * np.sin(2 * np.pi * 300 * 1.6**word * time) for word in said] or [np.zeros(RATE // 4)]
        sound = np.concatenate(parts) + 0.003 * random.standard_normal(sum(map(len, parts)))
        soundfile.write(folder / f"{number}.wav", sound, RATE)
        text = " ".join(WORDS[word] for word in said)
        utterances.append(Utterance(f"{number}.wav", text, len(sound) / RATE, "en"))
    write_manifest(folder / "train.jsonl", utterances)
    return folder / "train.jsonl"


def save_bases(folder: Path) -> dict[str, Path]:
    """A random HuBERT and a random Llama whose tokenizer writes its words with spaces."""
    bases = save_all(folder, ["hubert", "llama"])
    tokenizer = words(chat=False)
    tokenizer.backend_tokenizer.decoder = None
    tokenizer.save_pretrained(bases["llama"])
    return bases


def fusion_recipe(bases: dict[str, Path], manifest: Path, output: Path, **changes: dict[str, Any]) -> dict[str, Any]:
    """A recipe as plain values; `changes` are merged into its parts."""
    recipe: dict[str, Any] = {
        "task": "speech",
        "model": {
            "encoder": str(bases["hubert"]),
            "language_model": str(bases["llama"]),
            "projector": {"hidden": 16},
        },
        "freeze": {},
        "data": {
            "train": [{"path": str(manifest)}],
            "validation": {"path": str(manifest)},
            "validation_limit": 4,
            "batching": {"budget": 5.0, "groups": 3},
        },
        "optimization": {"steps": 6, "learning_rate": 0.003},
        "run": {
            "output": str(output),
            "device": "cpu",
            "workers": 0,
            "threads": 1,
            "log_every": 1,
            "checkpoint_every": 2,
            "validate_every": 3,
            "max_new_tokens": 6,
        },
    }
    for part, values in changes.items():
        recipe[part] = {**recipe.get(part, {}), **values}
    return recipe


def write_recipe(path: Path, recipe: dict[str, Any]) -> Path:
    """The same as a YAML file."""
    path.write_text(yaml.safe_dump(recipe))
    return path


def speech_recipe(path: Path, content: dict[str, Any]) -> SpeechRecipe:
    """The same as it is read from a file."""
    recipe = read_recipe(write_recipe(path, content))
    assert isinstance(recipe, SpeechRecipe)
    return recipe
