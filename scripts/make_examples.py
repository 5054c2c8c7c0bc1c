"""Make examples/*.flac: synthetic speech for the demo, the documentation and the tests.

    python scripts/make_examples.py examples

espeak-ng (the extra `synth`) speaks digit strings in five languages with voices that the embedded model was not trained
on; each is mixed with a little noise. `digits-long.flac` holds several strings with pauses, longer than one window;
`digits-long.jsonl` says for each string when its sound starts and ends, in seconds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
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


def main() -> None:
    """Write the examples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
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


if __name__ == "__main__":
    main()
