"""CPU seconds of starting, each its own process, in turn, median of several.

    python benchmarks/startup.py [--runs 7]
    python benchmarks/startup.py --recording clip.wav --peer-model FOLDER    # of tiny.en's weights for CTranslate2

`linnet --help` and `import linnet`; with --recording a whole `linnet transcribe` beside faster-whisper's shortest
script for the same sound, with and without its voice activity, greedy and in int8 both, what is cached being cached.

Asked: `linnet --help` under 0.6 s, `import linnet` under 0.5 s, of a recording of 10 s by tiny.en at most 1.2 times
faster-whisper's user time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

PEER = """
import sys
from faster_whisper import WhisperModel
model = WhisperModel(sys.argv[1], device="cpu", compute_type="int8")
segments, _ = model.transcribe(sys.argv[2], beam_size=1, vad_filter=sys.argv[3] == "vad")
print("".join(segment.text for segment in segments))
"""


def seconds(arguments: list[str]) -> tuple[float, float]:
    """User seconds of one child, and user and system seconds together."""
    silent = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
    child = os.posix_spawn(sys.executable, [sys.executable, *arguments], os.environ, file_actions=silent)
    _, status, usage = os.wait4(child, 0)
    if status != 0:
        raise SystemExit(f"{arguments} ended with status {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime, usage.ru_utime + usage.ru_stime


def commands(options: argparse.Namespace, output: str) -> dict[str, list[str]]:
    """What is started, by name."""
    found = {
        "bare python": ["-c", "pass"],
        "import linnet": ["-c", "import linnet"],
        "linnet --help": ["-m", "linnet", "--help"],
    }
    if options.recording is None:
        return found
    told = ["--model", options.model, "--format", "txt", "--output", output]
    found["linnet transcribe"] = ["-m", "linnet", "transcribe", str(options.recording), *told]
    if options.peer_model is not None:
        for kind in ("vad", "plain"):
            found[f"faster-whisper, {kind}"] = ["-c", PEER, str(options.peer_model), str(options.recording), kind]
    return found


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--recording", type=Path, help="an audio file")
    parser.add_argument("--model", default="tiny.en", help="of Linnet")
    parser.add_argument("--peer-model", type=Path, help="the same weights for CTranslate2")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as output:
        asked = commands(options, output)
        for arguments in asked.values():
            seconds(arguments)  # caches, and files read once
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in asked}
        for _ in range(options.runs):
            for name, arguments in asked.items():
                found[name].append(seconds(arguments))
    for name, pairs in found.items():
        user, both = ([pair[place] for pair in pairs] for place in (0, 1))
        spread = f"{min(user):.2f} to {max(user):.2f}"
        print(f"{name:>22}: {statistics.median(user):.2f} s user ({spread}), {statistics.median(both):.2f} s in all")
    for name, pairs in found.items():
        if name.startswith("faster-whisper"):
            ratios = [own[0] / peer[0] for own, peer in zip(found["linnet transcribe"], pairs, strict=True)]
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            print(f"linnet transcribe / {name}: {statistics.median(ratios):.2f} ({spread})")


if __name__ == "__main__":
    main()
