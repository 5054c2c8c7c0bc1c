"""Accuracy of the embedded model `digits`: error rates per kind of speech, hallucinated words, languages, times.

    python benchmarks/digits.py [--model src/linnet/models/embedded/digits] [--fsdd ../shared/data/fsdd]
                                [--held-out build/digits-heldout] [--output digits.json]

Greedy decoding by transformers' own `generate`; words in lower case, compared one by one (jiwer, corpus WER); seeds
fixed. `theo` is a real speaker that neither training nor validation has met, `lucas` the validation speaker. The
held-out bank holds espeak-ng voices kept from training: `scripts/make_digits_speech.py BANK --engines espeak
--held-out --seed 9`; without it those rows are left out.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import torch
import transformers

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where `recipes` is

from recipes.digits.bank import Voice, Voices, load_bank, load_fsdd
from recipes.digits.validate import (
    Case,
    connected,
    degraded,
    nothing,
    timed_phrases,
    transcripts,
)
from recipes.digits.words import DIGITS

SEED = 2026
ROOT = Path(__file__).parents[1]


def main() -> None:
    """Print the table, and write it as JSON where `--output` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "src/linnet/models/embedded/digits")
    parser.add_argument("--fsdd", type=Path, default=ROOT / "../shared/data/fsdd")
    parser.add_argument("--held-out", type=Path, default=ROOT / "build/digits-heldout")
    parser.add_argument("--speakers", default="theo,lucas")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    model = transformers.WhisperForConditionalGeneration.from_pretrained(options.model).eval()
    began = time.perf_counter()
    rows: dict[str, dict[str, Any]] = {}
    voices: Voices = {}
    load_fsdd(options.fsdd, tuple(options.speakers.split(",")), voices, even=False)
    for voice in voices["en"]["real"]:
        real_rows(model, voice, rows)
    rows["silence, white noise, music-like noise (60 clips)"] = hallucinated(model)
    if (options.held_out / "clips.jsonl").is_file():
        held_out_rows(model, options.held_out, rows)
    show(rows)
    about = {
        "seed": SEED,
        "seconds": round(time.perf_counter() - began, 1),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    print(json.dumps(about))
    if options.output:
        options.output.write_text(json.dumps({"rows": rows, **about}, indent=1))


def real_rows(model: Any, voice: Voice, rows: dict[str, dict[str, Any]]) -> None:
    """Every row of one real speaker."""
    name = voice.name
    strings = connected(voice, 200, (5, 5), np.random.default_rng(SEED))
    rows[f"{name}: 200 sequences of 5 connected digits"] = score(model, strings, detect=True)
    rows[f"{name}: the same in white noise at -60 dB full scale"] = score(model, hissing(strings))
    rows[f"{name}: isolated digits (500)"] = score(model, isolated(voice))
    long = connected(voice, 60, (10, 12), np.random.default_rng(SEED + 1))
    rows[f"{name}: 60 sequences of 10 to 12 connected digits"] = score(model, long)
    rough = degraded(strings, np.random.default_rng(SEED + 2))
    rows[f"{name}: sequences of 5, speed-perturbed, reverberant and noisy"] = score(model, rough)
    rows[f"{name}: phrase times of the sequences of 5"] = times(model, strings)


def isolated(voice: Voice) -> list[Case]:
    """Every clip of a voice as it is."""
    found = sorted(voice.digits.items())
    return [Case(clip.samples(), (DIGITS["en"][digit],)) for digit, clips in found for clip in clips]


def hissing(cases: list[Case]) -> list[Case]:
    """The same under white noise of one level, which is 13 dB below the quietest training speaker."""
    rng = np.random.default_rng(SEED + 3)
    noise = (1e-3 * rng.standard_normal(len(case.samples), dtype=np.float32) for case in cases)
    return [replace(case, samples=case.samples + hiss) for case, hiss in zip(cases, noise, strict=True)]


def score(model: Any, cases: list[Case], *, detect: bool = False) -> dict[str, Any]:
    """Corpus WER in percent, with what it is made of; with `detect` the share of languages found right."""
    heard = transcripts(model, cases)
    result = jiwer.process_words([" ".join(case.words) for case in cases], [" ".join(words) for _, words in heard])
    row: dict[str, Any] = {
        "wer": round(100 * result.wer, 2),
        "words": result.hits + result.substitutions + result.deletions,
        "substitutions": result.substitutions,
        "deletions": result.deletions,
        "insertions": result.insertions,
    }
    if detect:
        found = transcripts(model, cases, detect=True)
        right = sum(language == case.language for (language, _), case in zip(found, cases, strict=True))
        row["language"] = round(100 * right / len(cases), 1)
    return row


def times(model: Any, cases: list[Case]) -> dict[str, Any]:
    """Median and 95th percentile of the errors of the first start and the last end, in milliseconds."""
    found = timed_phrases(model, cases)
    errors = []
    for case, phrases in zip(cases, found, strict=True):
        if phrases:
            errors += [abs(phrases[0][0] - case.phrases[0][0]), abs(phrases[-1][1] - case.phrases[-1][1])]
    error = 1000 * np.array(errors or [np.nan])
    return {
        "median_ms": round(float(np.median(error))),
        "p95_ms": round(float(np.percentile(error, 95))),
        "missing": sum(not phrases for phrases in found),
    }


def hallucinated(model: Any) -> dict[str, Any]:
    """Clips of nothing that get a word all the same."""
    heard = transcripts(model, nothing(np.random.default_rng(SEED)))
    return {"clips_with_words": sum(bool(words) for _, words in heard), "clips": len(heard)}


def held_out_rows(model: Any, folder: Path, rows: dict[str, dict[str, Any]]) -> None:
    """5 connected digits in every language from synthetic voices kept from training."""
    voices: Voices = {}
    load_bank(folder, voices)
    for language, engines in sorted(voices.items()):
        cases = []
        for index, voice in enumerate(engines["espeak"]):
            cases += connected(voice, 3, (5, 5), np.random.default_rng([SEED, index]), language)
        rows[f"{language}: 5 connected digits, held-out synthetic voices ({len(cases)})"] = score(
            model, cases, detect=True
        )


def show(rows: dict[str, dict[str, Any]]) -> None:
    """A Markdown table."""
    print("| what | figures |\n|---|---|")
    for name, row in rows.items():
        print(f"| {name} | {', '.join(f'{key} {value}' for key, value in row.items())} |")


if __name__ == "__main__":
    main()
