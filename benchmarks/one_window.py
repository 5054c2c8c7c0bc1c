"""One 30 s window of real speech, Linnet beside OpenVINO GenAI, on the same real weights.

    python benchmarks/one_window.py --model FOLDER --genai FOLDER --python INTERPRETER --audio speech.wav

`--model` is a Transformers folder, `--genai` what `optimum-cli export openvino --weight-format int8` made of it,
`--python` the interpreter of an environment with openvino-genai (`benchmarks/peers.py --set-up` makes one). Both are
warm, in their own processes, and run in turn; the ratio is the median of GenAI's time / the median of Linnet's. Both
decode greedily, in English, without timestamps. The tokens that each wrote are printed, since they differ a little
where the numbers are of 8 bits.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from peers.client import Launch, Run, Worker

from linnet.audio.source import open_audio
from linnet.audio.types import SAMPLE_RATE

SECONDS = 30


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--genai", type=Path, required=True)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--audio", type=Path, required=True, help="its first 30 s are the window, or it is filled up")
    parser.add_argument("--compute-type", default="int8", help="of Linnet")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        window = _window(options.audio, folder / "window.npy")
        ours = _launch(Path(sys.executable), "linnet_engine", _linnet_settings(options), folder)
        genai = {"model": str(options.genai), "threads": options.threads, "beams": 1}
        theirs = _launch(options.python, "openvino_genai", genai, folder)
        with Worker(ours) as first, Worker(theirs) as second:
            runs = _in_turn((first, second), window, options.rounds)
            print(first.versions, second.versions, sep="\n")
    _report(runs, options)


def _window(audio: Path, target: Path) -> Path:
    samples = open_audio(audio).read(0, SECONDS * SAMPLE_RATE)
    whole = np.zeros(SECONDS * SAMPLE_RATE, np.float32)
    whole[: len(samples)] = samples
    np.save(target, whole)
    return target


def _linnet_settings(options: argparse.Namespace) -> dict[str, object]:
    return {
        "model": str(options.model),
        "engine": "openvino",
        "compute_type": options.compute_type,
        "threads": options.threads,
        "batch": 1,
        "beams": 1,
    }


def _launch(python: Path, system: str, settings: dict[str, object], folder: Path) -> Launch:
    environment = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    return Launch(python, system, settings, environment, folder / f"{system}.log")


def _in_turn(workers: tuple[Worker, Worker], window: Path, rounds: int) -> list[list[Run]]:
    for worker in workers:
        worker.transcribe(window, SECONDS)  # the first run is slower on both sides
    return [[worker.transcribe(window, SECONDS) for worker in workers] for _ in range(rounds)]


def _report(runs: list[list[Run]], options: argparse.Namespace) -> None:
    ours, theirs = zip(*runs, strict=True)
    seconds = [statistics.median(run.seconds for run in side) for side in (ours, theirs)]
    pairs = sorted(their.seconds / our.seconds for our, their in runs)
    print(f"| {options.model.name}, one window | ms, median | tokens |\n|---|---|---|")
    print(f"| Linnet, {options.compute_type} | {1000 * seconds[0]:.0f} | {sum(ours[0].tokens)} |")
    print(f"| OpenVINO GenAI, {options.genai.name} | {1000 * seconds[1]:.0f} | {sum(theirs[0].tokens)} |")
    print(f"ratio of the medians {seconds[1] / seconds[0]:.2f}; of the pairs {pairs[0]:.2f} to {pairs[-1]:.2f}")


if __name__ == "__main__":
    main()
