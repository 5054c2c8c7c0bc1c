"""Sentences spoken by free synthetic voices, as a manifest to train on.

    python benchmarks/tiny_audio_speech.py TEXT... --output build/spoken [--count 4000] [--piper FOLDER] [--voices ...]

Each text file has a sentence a line. Voices: espeak-ng (the extra `synth`, in its own process) in several
accents and timbres, flite where it is installed, and a Piper voice where its folder is given (`*.onnx` and
`*.onnx.json`; needs onnxruntime; its phonemes come from espeak-ng). Each clip is played up to `--revoice` octaves
faster or slower, its pitch and vocal tract with it, so that a few voices become many speakers. Nothing of
this is shipped.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from linnet.data import Utterance, write_manifest

RATE = 16_000
ROOT = Path(__file__).parents[1]
ACCENTS = ("en-us", "en", "en-gb-x-rp", "en-gb-scotland", "en-us-nyc")
TIMBRES = ("m1", "m3", "m5", "m7", "f1", "f3", "f5", "adam", "anika", "Andrea", "Mike", "linda", "Alex", "benjamin")
FLITE = {"slt": 170, "rms": 95, "awb": 125, "kal16": 100}  # voice: its pitch in Hz
MARKS = re.compile(r"([^.,;:?!]+)([.,;:?!]?)")
Say = Callable[[str, np.random.Generator], tuple[np.ndarray, int]]  # a text to samples and their rate


class Espeak:
    """The worker process that speaks with espeak-ng."""

    def __init__(self) -> None:
        command = [sys.executable, str(ROOT / "scripts/espeak_worker.py")]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def _ask(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        header = json.loads(self._process.stdout.readline())
        if "error" in header:
            raise SystemExit(f"espeak-ng: {header['error']}")
        return header, self._process.stdout.read(2 * header["samples"])

    def say(self, text: str, random: np.random.Generator) -> tuple[np.ndarray, int]:
        """A text by a random accent and timbre."""
        numbers = {
            "rate": int(random.integers(130, 190)),
            "pitch": int(random.integers(25, 75)),
            "range": int(random.integers(30, 70)),
            "gap": 0,
        }
        header, pcm = self._ask(
            {"voice": f"{random.choice(ACCENTS)}+{random.choice(TIMBRES)}", "text": text, **numbers}
        )
        return np.frombuffer(pcm, np.int16) / np.float32(2**15), header["rate"]

    def phonemes(self, text: str, voice: str) -> str:
        """The IPA of a text with its marks, decomposed as Piper's voices take it."""
        spoken = []
        for clause, mark in MARKS.findall(text):
            header, _ = self._ask({"voice": voice, "phonemes": clause})
            spoken.append(" ".join(header["phonemes"]) + mark)
        return unicodedata.normalize("NFD", " ".join(spoken))


class Piper:
    """A Piper voice (VITS as ONNX), on one thread."""

    def __init__(self, folder: Path, espeak: Espeak) -> None:
        import onnxruntime

        model = next(folder.glob("*.onnx"))
        config = json.loads(model.with_suffix(".onnx.json").read_text(encoding="utf-8"))
        self._ids, self._rate = config["phoneme_id_map"], config["audio"]["sample_rate"]
        self._voice, self._scales, self._espeak = config["espeak"]["voice"], config["inference"], espeak
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def say(self, text: str, random: np.random.Generator) -> tuple[np.ndarray, int]:
        """A text at a random pace."""
        known = [self._ids[mark] for mark in self._espeak.phonemes(text, self._voice) if mark in self._ids]
        ids = [*self._ids["^"], *self._ids["_"]]
        for some in known:
            ids += [*some, *self._ids["_"]]
        ids += self._ids["$"]
        pace = self._scales["length_scale"] * random.uniform(0.85, 1.2)
        given = {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array([self._scales["noise_scale"], pace, self._scales["noise_w"]], np.float32),
        }
        return self._session.run(None, given)[0].reshape(-1), self._rate


def flite(text: str, random: np.random.Generator) -> tuple[np.ndarray, int]:
    """A text by one of flite's voices at a random pace and pitch."""
    voice = str(random.choice(list(FLITE)))
    settings = {
        "duration_stretch": random.uniform(0.85, 1.25),
        "int_f0_target_mean": FLITE[voice] * random.uniform(0.85, 1.25),
    }
    given = [part for key, value in settings.items() for part in ("--setf", f"{key}={value:.3f}")]
    with tempfile.NamedTemporaryFile(suffix=".wav") as wav:
        subprocess.run(["flite", "-voice", voice, *given, "-t", text, "-o", wav.name], check=True, capture_output=True)
        samples, rate = soundfile.read(wav.name, dtype="float32")
    return samples, rate


def finish(samples: np.ndarray, rate: int, speed: float) -> np.ndarray:
    """At 16 kHz, played at another speed, without the silence around it but for 0.1 s, at a peak of 0.5."""
    samples = soxr.resample(samples.astype(np.float32), rate * speed, RATE)
    loud = np.flatnonzero(np.abs(samples) > 0.01 * max(1e-4, float(np.abs(samples).max())))
    first, last = (loud[0], loud[-1]) if len(loud) else (0, 0)
    spoken = np.pad(samples[first : last + 1], RATE // 10)
    return spoken * (0.5 / max(1e-4, float(np.abs(spoken).max())))


def main() -> None:
    """Speak sentences, voice after voice in turn, and write their manifest."""
    options = arguments()
    random = np.random.default_rng(options.seed)
    lines = [line.strip() for path in options.texts for line in path.read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if line]
    chosen = [lines[index] for index in random.permutation(len(lines))[: options.count]]
    espeak = Espeak()
    voices: dict[str, Say] = {"espeak": espeak.say}
    voices |= {"flite": flite} if shutil.which("flite") else {}
    voices |= {"piper": Piper(options.piper, espeak).say} if options.piper else {}
    names = [name for name in options.voices if name in voices]
    print(f"{len(chosen)} sentences by {', '.join(names)}", file=sys.stderr)
    options.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, text in enumerate(chosen):
        name = names[number % len(names)]
        speed = 2 ** random.uniform(-options.revoice, options.revoice)
        samples = finish(*voices[name](text, random), speed)
        soundfile.write(options.output / f"{number}.flac", samples, RATE)
        rows.append(Utterance(f"{number}.flac", text, len(samples) / RATE, "en", speaker=name))
    write_manifest(options.output / "manifest.jsonl", rows)


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path, nargs="+", help="files with a sentence a line")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--piper", type=Path, help="folder of a Piper voice")
    parser.add_argument("--voices", nargs="*", default=["piper", "flite", "espeak"], help="in turn; one may come twice")
    parser.add_argument("--revoice", type=float, default=0.25, help="most, in octaves")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
