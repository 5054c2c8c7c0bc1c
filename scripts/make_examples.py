"""Make examples/*.flac: synthetic speech for the demo, the documentation and the tests.

    python scripts/make_examples.py examples [digits|speech]

digits: espeak-ng (the extra `synth`) speaks digit strings in five languages with voices that the embedded model was not
trained on; each is mixed with a little noise. `digits-long.flac` holds several strings with pauses, longer than one
window; `digits-long.jsonl` says for each string when its sound starts and ends, in seconds.

speech: flite (the Debian package `flite`, on PATH) speaks English sentences of ours with the CMU Arctic voices awb, rms
and slt. `speech.jsonl` holds their texts. They are rounded coarsely, which makes the files small.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import soxr

RATE = 16_000
SPOKEN = {
    "digits-en": ("en-us+m4", ["three one four one five nine"]),
    "digits-de": ("de+f2", ["zwei sieben eins acht"]),
    "digits-fr": ("fr+m4", ["trois zéro sept quatre"]),
    "digits-es": ("es+f2", ["uno seis ocho cero"]),
    "digits-it": ("it+m4", ["nove due cinque tre"]),
    "digits-long": (
        "en-gb-x-rp+f2",
        ["four one five", "two six five three five", "eight nine seven nine", "three two seven", "eight four six two",
         "six four one three", "eight three two seven nine", "five zero two", "eight eight four one",
         "nine seven one"],
    ),
}  # fmt: skip
LEVEL = 0.5  # peak of the sentences, of 1
STEP = 64 / 32768  # they are rounded to it: a noise 45 dB below speech, and files of half the size
STRETCH = {"awb": 1.05, "rms": 1.05, "slt": 1.1}
SENTENCES = {
    "speech-thomas": [
        ("rms", "Good morning. This is Thomas, from the bird station near Oslo."),
        ("awb", "Last night we counted forty two finches in the garden, and two of them sang until half past nine."),
    ],
    "speech-meeting": [
        ("slt", "The meeting on Friday starts at ten o'clock. Please bring the report and a pen."),
    ],
    "speech-long": [
        ("rms", "Every morning at six, a small brown bird sings in our garden."),
        ("awb", "It lives in open country, and eats the seeds of flax and thistle."),
        ("slt", "In spring, both parents build the nest, and the mother lays five eggs."),
        ("rms", "This program listens to a recording, and writes down what was said."),
        ("awb", "It runs on an ordinary computer, without a graphics card and without the internet."),
        ("slt", "A meeting of one hour is written down in a few minutes."),
        ("rms", "Ask it for the time of every word, or for subtitles."),
        ("awb", "When nobody speaks, it should write nothing at all."),
        ("slt", "My sister Anna has tried it with a song from nineteen eighty four."),
    ],
}


def speak(voice: str, text: str) -> np.ndarray:
    """Samples [N] at 16 kHz from espeak-ng, in a process of its own."""
    request = {"voice": voice, "rate": 135, "pitch": 45, "range": 40, "gap": 2, "text": text}
    worker = Path(__file__).with_name("espeak_worker.py")
    done = subprocess.run(
        [sys.executable, str(worker)], input=json.dumps(request).encode(), capture_output=True, check=True
    )
    line, pcm = done.stdout.split(b"\n", 1)
    header = json.loads(line)
    if "error" in header:
        raise SystemExit(f"espeak-ng: {header['error']}")
    samples = np.frombuffer(pcm, np.int16).astype(np.float32) / 32768.0
    return np.asarray(soxr.resample(samples, header["rate"], RATE), np.float32)


def write_digits(folder: Path) -> None:
    """Digit strings in five languages."""
    rng = np.random.default_rng(0)
    for name, (voice, phrases) in SPOKEN.items():
        parts, rows = [np.zeros(RATE // 3, np.float32)], []
        for phrase in phrases:
            sound = speak(voice, phrase)
            begun = sum(map(len, parts))
            heard = np.flatnonzero(np.abs(sound) > 0.02 * np.abs(sound).max())
            start, end = ((begun + heard[i]) / RATE for i in (0, -1))
            rows.append({"start": round(start, 2), "end": round(end, 2), "text": phrase})
            parts += [sound, np.zeros(int(rng.uniform(0.7, 1.6) * RATE), np.float32)]
        samples = 0.5 * np.concatenate(parts) / max(float(np.abs(np.concatenate(parts)).max()), 1e-6)
        samples += 1e-3 * rng.standard_normal(len(samples)).astype(np.float32)
        soundfile.write(folder / f"{name}.flac", samples, RATE, subtype="PCM_16")
        if len(phrases) > 1:
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
        print(f"{name}: {len(samples) / RATE:.1f} s: {', '.join(phrases)}")


def speak_by_flite(voice: str, text: str) -> np.ndarray:
    """Samples [N] at 16 kHz from flite, peak 1, a little slower than its default."""
    if shutil.which("flite") is None:
        raise SystemExit("flite is not on PATH: install the package flite of your system")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        stretch = ["--setf", f"duration_stretch={STRETCH[voice]}"]
        subprocess.run(["flite", "-voice", voice, *stretch, "-t", text, "-o", str(path)], check=True)
        samples, rate = soundfile.read(path, dtype="float32")
    samples = np.asarray(soxr.resample(samples, rate, RATE), np.float32)
    return samples / float(np.abs(samples).max())


def write_speech(folder: Path) -> None:
    """English sentences, and a manifest of what is said."""
    rng, rows = np.random.default_rng(0), []
    for name, sentences in SENTENCES.items():
        parts = [np.zeros(RATE // 4, np.float32)]
        for voice, text in sentences:
            parts += [LEVEL * speak_by_flite(voice, text), np.zeros(int(rng.uniform(0.4, 1.0) * RATE), np.float32)]
        samples = STEP * np.round(np.concatenate(parts) / STEP)
        soundfile.write(folder / f"{name}.flac", samples, RATE, subtype="PCM_16", compression_level=1.0)
        row = {"audio": f"{name}.flac", "text": " ".join(text for _, text in sentences), "language": "en"}
        rows.append(json.dumps(row) + "\n")
        print(f"{name}: {len(samples) / RATE:.1f} s")
    (folder / "speech.jsonl").write_text("".join(rows), encoding="utf-8")


def main() -> None:
    """Write the examples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("which", nargs="?", choices=("digits", "speech"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    if arguments.which != "speech":
        write_digits(arguments.output)
    if arguments.which != "digits":
        write_speech(arguments.output)


if __name__ == "__main__":
    main()
