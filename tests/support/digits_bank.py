"""A tiny bank of made-up speech: every digit of every language a tone of its own, two voices each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from recipes.digits.words import DIGITS
from tests.support.places import RECIPES

TASK = RECIPES / "digits" / "recipe.py:DigitsRecipe"


def make_bank(folder: Path) -> Path:
    """A bank folder such as scripts/make_digits_speech.py writes: 10 digits and one string per voice."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    position = 0
    with (folder / "clips.i16").open("wb") as sound, (folder / "clips.jsonl").open("w", encoding="utf-8") as index:
        for number, (language, words) in enumerate(DIGITS.items()):
            for voice in ("low", "high"):
                said = [[digit] for digit in range(10)] + [[3, 1, 4]]
                for digits in said:
                    parts = [_tone(digit + 10 * number, voice, rng) for digit in digits]
                    ends = np.cumsum([len(part) for part in parts])
                    starts = [0, *ends[:-1]]
                    row = {
                        "start": position,
                        "samples": int(ends[-1]),
                        "language": language,
                        "words": [words[digit] for digit in digits],
                        "bounds": [(int(a), int(b)) for a, b in zip(starts, ends, strict=True)],
                        "voice": voice,
                        "engine": "espeak",
                    }
                    index.write(json.dumps(row) + "\n")
                    sound.write(np.concatenate(parts).astype("<i2").tobytes())
                    position += int(ends[-1])
    return folder


def _tone(number: int, voice: str, rng: np.random.Generator) -> np.ndarray:
    time = np.arange(int(rng.uniform(0.2, 0.4) * 16_000)) / 16_000
    pitch = (200 + 60 * number) * (1.0 if voice == "low" else 1.3)
    return 12_000 * np.sin(2 * np.pi * pitch * time)


def tiny_recipe(bank: Path, output: Path, steps: int = 6) -> str:
    """A recipe that trains in seconds."""
    return f"""
task: {TASK}
model: {{width: 16, encoder_heads: 2, decoder_heads: 2, feed_forward: 32, encoder_layers: 1, decoder_layers: 1}}
data: {{banks: ["{bank}"], windows: [1.5, 2.0], shares: [0.5, 0.5], full_from: 2.0, batch_seconds: 6.0}}
optimization: {{steps: {steps}, average: 0.999}}
run: {{output: "{output}", device: cpu, precision: "no", workers: 0, checkpoint_every: 2, log_every: 1}}
"""
