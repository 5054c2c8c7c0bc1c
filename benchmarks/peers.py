"""Linnet beside faster-whisper, OpenVINO GenAI, Transformers' pipeline and openai-whisper on this machine's CPU.

    python benchmarks/peers.py --set-up           # once: a virtual environment for each peer, under build/peers
    python benchmarks/peers.py                    # about 20 minutes on two cores
    python benchmarks/peers.py --quick            # tiny, two minutes of sound: to try it out

All run the same random weights of the Whisper shapes (see `peers/checkpoints.py`), which write exactly 90 tokens for
each 30 s window and then end, so that all do the same work; the tokens that each one wrote are in the table. Voice
activity, temperature fallback and timestamps are off. Of several settings of a runtime the fastest on the first minutes
of the real recording is taken. Then both sides run in turn, A B A B, each in its own process with its model loaded
and warm, on samples in memory; the ratio is the median over the pairs of (time of the peer / time of Linnet). Peak
memory is that of the whole process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from peers import environments, report, starts
from peers.checkpoints import SHAPES, make_checkpoint
from peers.client import PeerError, convert
from peers.duel import Arena, Converter, Duel, Place
from peers.plan import Comparison, comparisons, linnet
from peers.recordings import make_recordings

ROOT = Path(__file__).resolve().parent.parent
ENCODER = Path(__file__).with_name("peers") / "encoder.py"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set-up", action="store_true", help="make the peers' environments and end")
    parser.add_argument("--prepare", action="store_true", help="make and convert the checkpoints and end")
    parser.add_argument("--quick", action="store_true", help="tiny, 2 minutes, one pair")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "peers")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="clips and tokenizer")
    parser.add_argument("--shapes", default="small,tiny")
    parser.add_argument("--budget", type=float, default=60.0, help="minutes after which no comparison is begun")
    parser.add_argument("--only", default="", help="comparisons whose name has this in it")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--beam-minutes", type=float, default=4.0, help="of the comparisons with beams")
    parser.add_argument("--slow-minutes", type=float, default=2.0, help="of the comparisons with slow peers")
    parser.add_argument("--screen-minutes", type=float, default=4.0, help="for finding each side's best setting")
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--compute-type", default="auto")
    parser.add_argument("--json", type=Path, help="by default FOLDER/results.json")
    options = parser.parse_args()
    options.begun = time.monotonic()
    if unknown := set(options.shapes.split(",")) - set(SHAPES):
        parser.error(f"unknown shapes {', '.join(sorted(unknown))}: use {', '.join(SHAPES)}")
    if options.quick:
        options.shapes, options.pairs = "tiny", 1
        options.minutes = options.beam_minutes = options.slow_minutes = options.screen_minutes = 2.0
    return options


def say(text: str) -> None:
    """Where we are."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def set_up(folder: Path) -> None:
    """All environments; one that cannot be made does not keep the others."""
    for peer in environments.REQUIREMENTS:
        say(f"setting up {peer}")
        if reason := environments.set_up(folder, peer):
            say(f"{peer}: {reason}")


def first_conversion(place: Place, checkpoint: Path, options: argparse.Namespace) -> float:
    """Seconds of a process that loads a model which was never converted. Raises `PeerError`."""
    candidate = linnet(options.engine, options.compute_type, 1, 1)
    settings = {"checkpoint": str(checkpoint), "output": "", **(candidate.convert or {})}
    launch = place.launch(candidate, settings)
    launch.environment["LINNET_CACHE"] = str(place.folder / "first-use" / f"{checkpoint.name}-{time.time_ns()}")
    return float(convert(launch)["process_seconds"])


def encoder(place: Place, checkpoint: Path, options: argparse.Namespace) -> dict[str, Any]:
    """See `peers/encoder.py`."""
    launch = place.launch(linnet(options.engine, options.compute_type, 1, 1), {})
    command = [sys.executable, str(ENCODER), str(checkpoint), options.compute_type, str(options.threads)]
    done = subprocess.run(command, capture_output=True, text=True, env=launch.whole_environment(), check=False)
    if done.returncode != 0:
        raise PeerError(done.stderr.strip().splitlines()[-1])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def extras(place: Place, checkpoint: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What is measured of Linnet alone; a measurement that fails tells why."""
    parts = {
        "encoder": lambda: encoder(place, checkpoint, options),
        "first_conversion_seconds": lambda: first_conversion(place, checkpoint, options),
    }
    found: dict[str, Any] = {}
    for name, part in parts.items():
        say(f"{checkpoint.name}: {name}")
        try:
            found[name] = part()
        except PeerError as error:
            found[name] = f"not measured: {error}"
    return found


def compare(arena: Arena, plan: list[Comparison], options: argparse.Namespace) -> list[Duel]:
    """All comparisons of one shape, each on its recordings."""
    minutes = {
        "whole": options.minutes,
        "beam": min(options.beam_minutes, options.minutes),
        "slow": min(options.slow_minutes, options.minutes),
        "window": 0.5,
    }
    duels = []
    for comparison in plan:
        if time.monotonic() - options.begun > 60 * options.budget:
            say(f"{arena.name}: {comparison.name}: left out, the time is up")
            continue
        pairs = 5 * options.pairs if comparison.length == "window" else options.pairs
        for recording in comparison.recordings:
            say(f"{arena.name}: {comparison.name}, {recording}")
            duel = arena.duel(
                comparison, recording, 60 * minutes[comparison.length], 60 * options.screen_minutes, pairs
            )
            duels.append(duel)
            say(" | ".join(report.row(duel)))
    return duels


def main() -> None:
    """Set up, or prepare, or run all and print the table."""
    options = arguments()
    place = Place(options.folder, options.threads, options.folder / "env")
    if options.set_up:
        return set_up(place.environments)
    converter = Converter(place)
    recordings = make_recordings(options.folder / "recordings", options.data, options.minutes)
    plan = [one for one in comparisons(options.engine, options.compute_type) if options.only in one.name]
    results: dict[str, Any] = {"command": sys.argv[1:], "machine": report.machine(), "shapes": {}}
    duels: list[Duel] = []
    if not options.only and not options.prepare:
        say("digits: starts of the command line")
        results["digits_starts"] = starts.measure(options.folder, options.threads)
    for shape in options.shapes.split(","):
        say(f"{shape}: checkpoint")
        checkpoint = make_checkpoint(options.folder / "checkpoints" / shape, shape, options.data / "whisper-tokenizer")
        arena = Arena(place, converter, checkpoint, recordings)
        if options.prepare:
            arena.prepare(plan)
            continue
        if not options.only:
            results["shapes"][shape] = extras(place, checkpoint, options)
        duels += compare(arena, plan, options)
        results["conversions"] = converter.seconds
        report.write(options.json or options.folder / "results.json", results, duels)
    if not options.prepare:
        print(json.dumps(results, indent=1))
        print(report.table(duels))
    return None


if __name__ == "__main__":
    main()
