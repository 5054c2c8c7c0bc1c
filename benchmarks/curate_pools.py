"""Pools with known defects: what `linnet curate` has to find, and to choose from.

    python benchmarks/curate_pools.py digits --output build/curate [--pools 5] [--hours 1.5]
    python benchmarks/curate_pools.py real --output build/curate-real [--sets libri_other vctk ...] [--rate 0.07]

`digits` puts strings of 1 to 8 digits together from the training speakers of the Free Spoken Digit Dataset: pool-K is
defective and skewed (digits after Zipf, one speaker with 45 %, defects as below, a fifth near duplicates), clean-K is
clean and balanced. Beside each lie `clean.jsonl`, its rows without a defect, and the tests: lucas to choose settings
on, theo to report, and `known`, held-out takes (the first five of each digit) of the training speakers. `real` copies
sets of transcribed speech with defects in them. Each row's key `defect` names what was done to it, and `copy_of` of
which row it is a copy:

    wrong-text       the transcript of an utterance of another speaker
    swapped-text     that of another utterance of the same speaker
    cut-audio        the last 30 to 60 % of the sound are gone
    cut-text         the last 30 to 60 % of the words are gone
    noise            white or colored noise at -5 to 3 dB
    duplicate        a copy of another row: louder or softer, with a little noise, begun elsewhere
    wrong-language   the sound of another language (where the set has several)
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from linnet.audio import SAMPLE_RATE, effects
from linnet.data import read_manifest
from linnet.data.samples import UtteranceReader

ROOT = Path(__file__).parents[1]
SPEECH = ROOT / "../shared/data/speech"
FSDD = ROOT / "../shared/data/fsdd"
TRAINING = ("george", "jackson", "nicolas", "yweweler")
SHARES = (0.45, 0.3, 0.17, 0.08)
HELD_OUT = 5  # takes of each digit
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DEFECTS = ("wrong-text", "swapped-text", "cut-audio", "cut-text", "noise")
REAL = ("libri_other", "vctk", "en_misc", "accents", "multilingual", "german_emodb")
RATE = 0.07
Samples = NDArray[np.float32]
Rng = np.random.Generator


@dataclass(frozen=True)
class Clip:
    """An utterance in the making."""

    name: str
    samples: Samples
    text: str
    speaker: str
    language: str
    defect: str = ""
    copy_of: str = ""


def write(folder: Path, clips: Sequence[Clip]) -> None:
    """A folder of FLAC files with its manifest, and the manifest of what has no defect."""
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[dict[str, Any]] = []
    for clip in clips:
        soundfile.write(folder / f"{clip.name}.flac", np.clip(clip.samples, -1, 1), SAMPLE_RATE)
        row = {
            "audio": f"{clip.name}.flac",
            "text": clip.text,
            "duration": len(clip.samples) / SAMPLE_RATE,
            "language": clip.language,
            "speaker": clip.speaker,
        }
        marks = {"defect": clip.defect, "copy_of": clip.copy_of}
        lines.append(row | {key: value for key, value in marks.items() if value})
    for name, kept in (("manifest", lines), ("clean", [row for row in lines if "defect" not in row])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))


# --- defects


def spoil(clips: Sequence[Clip], kind: str, chosen: Sequence[int], rng: Rng) -> list[Clip]:
    """The clips with a defect in the chosen ones."""
    made = list(clips)
    for index in chosen:
        clip = clips[index]
        if kind in ("wrong-text", "swapped-text"):
            same = kind == "swapped-text"
            others = [one for one in clips if (one.speaker == clip.speaker) == same and one.text != clip.text]
            others = [one for one in others if one.language == clip.language]
            if not others:
                continue
            nearest = sorted(others, key=lambda one: abs(len(one.text) - len(clip.text)))[: max(5, len(others) // 5)]
            made[index] = replace(clip, text=nearest[int(rng.integers(len(nearest)))].text, defect=kind)
        elif kind == "wrong-language":
            others = [one for one in clips if one.language != clip.language]
            if others:
                sound = others[int(rng.integers(len(others)))].samples
                made[index] = replace(clip, samples=sound, defect=kind)
        else:
            made[index] = _spoiled(clip, kind, rng)
    return made


def _spoiled(clip: Clip, kind: str, rng: Rng) -> Clip:
    kept = 1 - float(rng.uniform(0.3, 0.6))
    if kind == "cut-audio":
        return replace(clip, samples=clip.samples[: round(kept * len(clip.samples))], defect=kind)
    if kind == "cut-text":
        words = clip.text.split()
        if len(words) < 2:
            return clip
        return replace(clip, text=" ".join(words[: max(1, min(len(words) - 1, round(kept * len(words))))]), defect=kind)
    noise = effects.colored(rng, len(clip.samples), float(rng.uniform(0, 1.5)))
    level = float(np.sqrt(np.mean(clip.samples**2)) * 10 ** (-rng.uniform(-5, 3) / 20))
    return replace(clip, samples=(clip.samples + level * noise).astype(np.float32), defect=kind)


def duplicate(clip: Clip, name: str, rng: Rng) -> Clip:
    """A near copy."""
    shifted = np.concatenate([np.zeros(int(rng.uniform(0, 0.1) * SAMPLE_RATE), np.float32), clip.samples])
    level = float(np.sqrt(np.mean(clip.samples**2)))
    noise = rng.standard_normal(len(shifted), dtype=np.float32) * level * 10 ** (-30 / 20)
    samples = (float(rng.uniform(0.6, 1.3)) * shifted + noise).astype(np.float32)
    return replace(clip, name=name, samples=samples, defect="duplicate", copy_of=clip.name)


def with_defects(clips: Sequence[Clip], kinds: Sequence[str], rate: float, duplicates: float, rng: Rng) -> list[Clip]:
    """Each kind in its share of the rows, none twice, and near copies of others added; shuffled."""
    order = rng.permutation(len(clips)).tolist()
    each = round(rate * len(clips))
    made = list(clips)
    for place, kind in enumerate(kinds):
        made = spoil(made, kind, order[place * each : (place + 1) * each], rng)
    clean = [clip for clip in made if not clip.defect]
    sources = rng.integers(0, len(clean), round(duplicates * len(clips))).tolist()
    made += [duplicate(clean[index], f"copy-{number:05d}", rng) for number, index in enumerate(sources)]
    return [made[index] for index in rng.permutation(len(made)).tolist()]


# --- pools


def strings(
    takes: dict[str, list[list[Samples]]], shares: Sequence[float], chances: Sequence[float], hours: float, rng: Rng
) -> list[Clip]:
    """Strings of digits, the speakers with these shares, the digits with these chances."""
    clips: list[Clip] = []
    seconds = 0.0
    names = list(takes)
    while seconds < 3600 * hours:
        speaker = names[int(rng.choice(len(names), p=shares))]
        digits = rng.choice(10, int(rng.integers(1, 9)), p=chances).tolist()
        parts = [np.zeros(int(rng.uniform(0.05, 0.4) * SAMPLE_RATE), np.float32)]
        for digit in digits:
            own = takes[speaker][digit]
            parts += [
                own[int(rng.integers(len(own)))],
                np.zeros(int(rng.uniform(0.03, 0.25) * SAMPLE_RATE), np.float32),
            ]
        samples = 0.4 * np.concatenate(parts)
        samples += rng.standard_normal(len(samples), dtype=np.float32) * float(np.std(samples)) * 10 ** (-40 / 20)
        text = " ".join(WORDS[digit] for digit in digits)
        clips.append(Clip(f"string-{len(clips):05d}", samples.astype(np.float32), text, speaker, "en"))
        seconds += len(samples) / SAMPLE_RATE
    return clips


def digit_pools(output: Path, pools: int, hours: float) -> None:
    """All pools and tests of digits."""
    takes = {name: load_takes(name) for name in (*TRAINING, "lucas", "theo")}
    even = np.full(10, 0.1)
    for name, count in (("lucas", 0.15), ("theo", 0.3)):
        write(output / name, strings({name: takes[name]}, [1.0], even.tolist(), count, np.random.default_rng(7)))
    known = {name: [digit[:HELD_OUT] for digit in takes[name]] for name in TRAINING}
    write(output / "known", strings(known, [0.25] * 4, even.tolist(), 0.3, np.random.default_rng(7)))
    train = {name: [digit[HELD_OUT:] for digit in takes[name]] for name in TRAINING}
    for number in range(pools):
        rng = np.random.default_rng([number, 11])
        zipf = 1 / rng.permutation(np.arange(1, 11))
        shares = rng.permutation(SHARES)
        clips = strings(train, shares.tolist(), (zipf / zipf.sum()).tolist(), hours, rng)
        write(output / f"pool-{number}", with_defects(clips, DEFECTS, 0.05, 0.2, rng))
        write(output / f"clean-{number}", strings(train, [0.25] * 4, even.tolist(), hours, rng))


def load_takes(speaker: str) -> list[list[Samples]]:
    """The recordings of each digit of a speaker, at 16 kHz."""
    found: list[list[Samples]] = []
    for digit in range(10):
        own = []
        for path in sorted((FSDD / "recordings").glob(f"{digit}_{speaker}_*.wav"), key=_take):
            samples, rate = soundfile.read(path, dtype="float32")
            made = soxr.resample(samples, rate, SAMPLE_RATE)
            own.append((made / max(1e-3, float(np.abs(made).max()))).astype(np.float32))
        found.append(own)
    return found


def _take(path: Path) -> int:
    return int(path.stem.rpartition("_")[2])


def real_pools(output: Path, sets: Sequence[str], rate: float, seed: int) -> None:
    """Copies of real sets with defects."""
    for name in sets:
        clips = []
        with UtteranceReader() as reader:
            for number, one in enumerate(read_manifest(SPEECH / name / "manifest.jsonl")):
                if not one.text:
                    continue
                samples = reader.read(one).samples
                clips.append(Clip(f"{number:05d}", samples, one.text, one.speaker or "", one.language or "en"))
        kinds = [*DEFECTS, *(["wrong-language"] if len({clip.language for clip in clips}) > 1 else [])]
        write(output / name, with_defects(clips, kinds, rate, rate, np.random.default_rng([seed, 5])))


def main() -> None:
    """Make what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("digits", "real"))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--pools", type=int, default=6, help="of digits, of each kind")
    parser.add_argument("--hours", type=float, default=1.5, help="of a pool of digits, before duplicates")
    parser.add_argument("--sets", nargs="+", default=REAL)
    parser.add_argument("--rate", type=float, default=RATE, help="share of the rows that each defect is in")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.kind == "digits":
        digit_pools(asked.output, asked.pools, asked.hours)
    else:
        real_pools(asked.output, asked.sets, asked.rate, asked.seed)


if __name__ == "__main__":
    main()
