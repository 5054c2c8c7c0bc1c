"""Mutated sound files through the command line: each a row, no traceback, no hang.

    python benchmarks/fuzz_files.py --count 10000 --work build/fuzz

A second of speech is written in every format that libsndfile and PyAV write here (over 30); copies with bytes flipped,
zeroed, cut out, doubled or cut off go through `linnet transcribe --model digits`, some hundreds at a time. Of each file
there must be a line that says what became of it, at most 10 s after the line before, and the command must end by itself
with status 0 or 1 and no traceback. Files that break this are kept in `--work`; the exit status is then 1.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

import av
import numpy as np
import soundfile

from linnet.audio import Samples, load

SAMPLE_RATE = 16_000
PATIENCE = 10.0  # seconds for one file
START = 60.0  # seconds until the first line comes
ROOT = Path(__file__).resolve().parents[1]

_BY_SOUNDFILE = {  # suffix: format, subtype
    "wav": ("WAV", "PCM_16"),
    "f32.wav": ("WAV", "FLOAT"),
    "ulaw.wav": ("WAV", "ULAW"),
    "adpcm.wav": ("WAV", "IMA_ADPCM"),
    "wavex.wav": ("WAVEX", "PCM_24"),
    "rf64": ("RF64", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "aiff": ("AIFF", "PCM_16"),
    "aifc": ("AIFF", "ULAW"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "alac.caf": ("CAF", "ALAC_16"),
    "sph": ("NIST", "PCM_16"),
    "voc": ("VOC", "PCM_16"),
    "paf": ("PAF", "PCM_16"),
    "svx": ("SVX", "PCM_16"),
    "sf": ("IRCAM", "PCM_16"),
    "mat": ("MAT5", "PCM_16"),
    "pvf": ("PVF", "PCM_16"),
    "htk": ("HTK", "PCM_16"),
    "avr": ("AVR", "PCM_16"),
}
_BY_PYAV = {  # suffix: container, codec
    "mp4": ("mp4", "aac"),
    "m4a": ("ipod", "aac"),
    "mov": ("mov", "pcm_s16le"),
    "3gp": ("3gp", "aac"),
    "aac": ("adts", "aac"),
    "ts": ("mpegts", "mp2"),
    "mts": ("mpegts", "aac"),
    "mpg": ("mpeg", "mp2"),
    "mkv": ("matroska", "libopus"),
    "mka": ("matroska", "flac"),
    "webm": ("webm", "libopus"),
    "avi": ("avi", "libmp3lame"),
    "flv": ("flv", "aac"),
    "wma": ("asf", "wmav2"),
    "ac3": ("ac3", "ac3"),
    "eac3": ("eac3", "eac3"),
    "mp2": ("mp2", "mp2"),
    "tta": ("tta", "tta"),
    "wv": ("wv", "wavpack"),
    "oga": ("oga", "flac"),
}


@dataclass
class Tally:
    """What became of the files, and what must not have."""

    statuses: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    faults: list[str] = field(default_factory=list)


def originals(folder: Path, samples: Samples) -> list[Path]:
    """The sound in every format that can be written here."""
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    for suffix, (kind, subtype) in _BY_SOUNDFILE.items():
        path = folder / f"sound.{suffix}"
        try:
            soundfile.write(path, samples, SAMPLE_RATE, format=kind, subtype=subtype)
            made.append(path)
        except (soundfile.SoundFileError, ValueError, TypeError) as error:
            print(f"{suffix}: not written here ({error})", file=sys.stderr)
    for suffix, (kind, codec) in _BY_PYAV.items():
        path = folder / f"sound.{suffix}"
        try:
            write_container(path, samples, kind, codec)
            made.append(path)
        except (av.error.FFmpegError, ValueError) as error:
            path.unlink(missing_ok=True)
            print(f"{suffix}: not written here ({error})", file=sys.stderr)
    return made


def write_container(path: Path, samples: Samples, kind: str, codec: str) -> None:
    """One sound by PyAV, at 48 kHz."""
    rate = 48_000
    wide = np.repeat((samples * 32767).astype(np.int16), rate // SAMPLE_RATE)
    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        context = stream.codec_context
        resampler = av.AudioResampler(context.format or "s16", "mono", rate, context.frame_size or 1024)
        frame = av.AudioFrame.from_ndarray(wide[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))


def flip(data: bytearray, chance: random.Random) -> bytearray:
    """Some bytes become others, mostly near the start."""
    for _ in range(chance.choice((1, 3, 10, 100))):
        limit = len(data) if chance.random() < 0.4 else min(len(data), 200)
        data[chance.randrange(limit)] = chance.randrange(256)
    return data


def extreme(data: bytearray, chance: random.Random) -> bytearray:
    """A field of the header becomes very large, zero or negative."""
    at = chance.randrange(min(len(data), 400))
    data[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"))
    return data


def cut_off(data: bytearray, chance: random.Random) -> bytearray:
    """The end is missing."""
    return data[: chance.randrange(len(data))]


def cut_out(data: bytearray, chance: random.Random) -> bytearray:
    """A stretch is missing."""
    at = chance.randrange(len(data))
    del data[at : at + chance.randrange(1, 1 + len(data) // 4)]
    return data


def zero(data: bytearray, chance: random.Random) -> bytearray:
    """A stretch is zero."""
    at, count = chance.randrange(len(data)), chance.randrange(1, 1 + len(data) // 3)
    data[at : at + count] = bytes(len(data[at : at + count]))
    return data


def double(data: bytearray, chance: random.Random) -> bytearray:
    """A stretch comes twice."""
    at = chance.randrange(len(data))
    part = data[at : at + chance.randrange(1, 1 + len(data) // 3)]
    return data[:at] + part + data[at:]


def junk(data: bytearray, chance: random.Random) -> bytearray:
    """Something else stands before it, or in it."""
    at = chance.choice((0, chance.randrange(len(data))))
    return data[:at] + chance.randbytes(chance.randrange(1, 300)) + data[at:]


MUTATIONS: tuple[Callable[[bytearray, random.Random], bytearray], ...] = (
    *(flip, flip, extreme, extreme, cut_off, cut_out, zero, double, junk),
)


def mutants(sounds: list[Path], count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Names and contents; the same for the same seed. A file is mutated once or twice."""
    chance = random.Random(seed)
    contents = {path: path.read_bytes() for path in sounds}
    for number in range(count):
        path = sounds[number % len(sounds)]
        data = bytearray(contents[path])
        for mutation in chance.sample(MUTATIONS, chance.choice((1, 1, 2))):
            data = mutation(data, chance) or bytearray(b"\0")
        yield f"{number:05d}-{path.name}", bytes(data)


def run(paths: list[Path], work: Path, tally: Tally) -> None:
    """One command over these files, watched line by line."""
    command = [sys.executable, "-m", "linnet", "transcribe", *map(str, paths), "--model", "digits"]
    process = subprocess.Popen(
        [*command, "--progress", "json", "--output", str(work / "out"), "--batch-size", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    lines: Queue[str | None] = Queue()
    reader = Thread(target=_read, args=(process, lines), daemon=True)
    reader.start()
    waiting, told = {str(path) for path in paths}, START
    begun = time.monotonic()
    other: list[str] = []
    while True:
        try:
            line = lines.get(timeout=max(told - (time.monotonic() - begun), 0.01))
        except Empty:
            tally.faults.append(
                f"no line for {told:g} s; of {len(waiting)} files nothing was said, such as {min(waiting)}"
            )
            process.kill()
            break
        if line is None:
            break
        data = _event(line)
        if data is None:
            other.append(line.rstrip())
        elif data["event"] in ("begin", "finished"):
            if data["event"] == "finished":
                waiting.discard(data["file"])
                tally.statuses[data["status"]] += 1
                tally.slowest = max(tally.slowest, time.monotonic() - begun)
            begun, told = time.monotonic(), PATIENCE
    status = process.wait()
    if status not in (0, 1) or waiting:
        tally.faults.append(f"status {status}, nothing said of {sorted(waiting)[:3]}: {' / '.join(other[-3:])}")
    elif any("Traceback" in line for line in other):
        tally.faults.append("a traceback: " + " / ".join(other[-3:]))
    elif other:
        tally.statuses["lines that are no JSON"] += len(other)


def _read(process: subprocess.Popen[str], lines: Queue[str | None]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        lines.put(line)
    lines.put(None)


def _event(line: str) -> dict[str, str] | None:
    try:
        data = json.loads(line)
    except ValueError:
        return None
    return data if isinstance(data, dict) and "event" in data else None


def main() -> int:
    """Make, run, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=400, help="files of one command")
    parser.add_argument("--work", type=Path, default=Path("build/fuzz"))
    given = parser.parse_args()
    samples = load(ROOT / "examples" / "digits-en.flac").samples[:SAMPLE_RATE]
    sounds = originals(given.work / "originals", samples)
    tally = Tally()
    run(sounds, given.work, tally)
    if tally.statuses != {"done": len(sounds)}:
        print(f"of {len(sounds)} files that are whole: {dict(tally.statuses)}", file=sys.stderr)
    tally.statuses.clear()
    folder = given.work / "mutants"
    group: list[Path] = []
    for number, (name, data) in enumerate(mutants(sounds, given.count, given.seed), start=1):
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
        group.append(folder / name)
        if len(group) == given.at_once or number == given.count:
            before = len(tally.faults)
            run(group, given.work, tally)
            print(
                f"{number}: {dict(tally.statuses)}, slowest {tally.slowest:.1f} s", *tally.faults[before:], flush=True
            )
            if len(tally.faults) > before:
                folder.rename(given.work / f"faults-{number}")
            else:
                shutil.rmtree(folder)
            group = []
            shutil.rmtree(given.work / "out", ignore_errors=True)
    print(f"{given.count} files of {len(sounds)} formats: {len(tally.faults)} faults, slowest {tally.slowest:.1f} s")
    return 1 if tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())
