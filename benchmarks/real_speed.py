"""Linnet beside faster-whisper on real weights and real speech, warm, in turn, with the word error rates of both.

    python benchmarks/real_speed.py --model ~/weights/base --peer-model ~/weights/ct2/base --kind recording
    python benchmarks/real_speed.py --model ~/weights/base --peer-model ~/weights/ct2/base --kind clips

`recording`: transcribed clips of --sets joined with pauses to about --minutes, heard as one. `clips`: clips of 5 to
15 s, each call alone, one after the other, as a server would get them. `many`: the same clips in one call, which Linnet
hears in common batches and faster-whisper one after the other (it knows no other way). Each side runs in a process of
its own with its model loaded and one call made before; then they take turns, A B A B. The ratio is of the medians over
the rounds. Both run with their defaults (voice activity, temperature fallback, timestamps as each one does) but for the
language, which is given, and beams, which are --beams for both. --peers names settings of the peer, `int8:16` for a
compute type and the batch (1: its sequential way), of which the fastest on a part of the sound stands for it; one alone
is taken as it is. Everything happens on --threads cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from peers.client import Launch, Worker
from peers.environments import interpreter
from peers.joined import Sound, clips, recording
from peers.report import machine

ROOT = Path(__file__).resolve().parent.parent
SCREENED = 75.0  # seconds of sound on which the peer's settings are tried


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a Transformers folder")
    parser.add_argument("--peer-model", type=Path, required=True, help="the same weights for CTranslate2")
    parser.add_argument("--peer-python", type=Path, help="by default of the environment that peers.py --set-up made")
    parser.add_argument("--kind", choices=("recording", "clips", "many"), default="recording")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--sets", default="libri_other,vctk,en_misc")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "speech")
    parser.add_argument("--compute-type", default="auto", help="of Linnet")
    parser.add_argument("--batch", type=int, default=8, help="of Linnet")
    parser.add_argument("--peers", default="int8:8", help="int8:8,int8:16,float32:8,int8:1")
    parser.add_argument("--beams", type=int, default=1)
    parser.add_argument("--peer-beams", type=int, help="where they differ")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "peers")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def launch(options: argparse.Namespace, peer: str | None) -> Launch:
    """A process of Linnet, or of a setting of the peer."""
    environment = {"OMP_NUM_THREADS": str(options.threads), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    settings: dict[str, Any] = {"threads": options.threads, "beams": options.beams}
    log = options.folder / "logs" / ("linnet.log" if peer is None else "faster-whisper.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    if peer is None:
        settings |= {"model": str(options.model), "compute_type": options.compute_type, "batch": options.batch}
        return Launch(Path(sys.executable), "linnet_text", settings, environment, log)
    compute_type, _, batch = peer.partition(":")
    settings |= {"model": str(options.peer_model), "compute_type": compute_type, "batch": int(batch)}
    settings["beams"] = options.peer_beams or options.beams
    python = options.peer_python or interpreter(options.folder / "env", "faster-whisper")
    return Launch(python, "faster_whisper_text", settings, environment, log)


def calls(sound: Sound, kind: str) -> list[list[tuple[int, int]]]:
    """What each call gets."""
    return [list(sound.stretches)] if kind == "many" else [[stretch] for stretch in sound.stretches]


def fastest(options: argparse.Namespace, sound: Sound) -> tuple[str, dict[str, float]]:
    """The peer's setting that is fastest on the first part of the sound, and the seconds of each."""
    found: dict[str, float] = {}
    for peer in options.peers.split(","):
        if "," not in options.peers:
            return peer, {}
        with Worker(launch(options, peer)) as worker:
            worker.call(sound.path, [[(0, 30 * 16_000)]])
            seconds, _ = worker.call(sound.path, [[(0, round(SCREENED * 16_000))]])
        found[peer] = seconds[0]
    return min(found, key=found.__getitem__), found


def error_rate(sound: Sound, texts: list[str]) -> dict[str, Any]:
    """By Whisper's English normalizer."""
    from linnet.scoring.corpus import Pair, Scorer
    from linnet.text.normalizers import Normalizers

    pairs = [Pair(said, heard, "en") for said, heard in zip(sound.texts, texts, strict=True)]
    words = Scorer(normalizers=Normalizers("english")).score(pairs).score.words
    names = ("words", "substitutions", "deletions", "insertions", "rate")
    return {name: getattr(words, name) for name in names}


def duel(options: argparse.Namespace, sound: Sound, peer: str) -> dict[str, Any]:
    """Both sides in turn: seconds of each round, the error rates, the ratio."""
    taken: dict[str, list[float]] = {"linnet": [], "peer": []}
    each: dict[str, list[list[float]]] = {"linnet": [], "peer": []}
    texts: dict[str, list[str]] = {}
    with ExitStack() as stack:
        sides = {
            name: stack.enter_context(Worker(launch(options, of))) for name, of in (("linnet", None), ("peer", peer))
        }
        for worker in sides.values():  # warm: one call of whatever kind is timed
            worker.call(sound.path, [calls(sound, options.kind)[0][:1]])
        for _ in range(options.rounds):
            for name, worker in sides.items():
                seconds, texts[name] = worker.call(sound.path, calls(sound, options.kind))
                each[name].append(seconds)
                taken[name].append(sum(seconds))
        versions = {name: worker.versions for name, worker in sides.items()}
    medians = {name: statistics.median(rounds) for name, rounds in taken.items()}
    latency = {name: statistics.median(one for calls in rounds for one in calls) for name, rounds in each.items()}
    return {
        "setting": peer,
        "ratio": medians["peer"] / medians["linnet"],
        "seconds": taken,
        "rtfx": {name: sound.seconds / value for name, value in medians.items()},
        "median_call": latency,
        "errors": {name: error_rate(sound, heard) for name, heard in texts.items()},
        "versions": versions,
    }


def main() -> None:
    """Make the sound, find the peer's best setting, run, print."""
    options = arguments()
    make = recording if options.kind == "recording" else clips
    sound = make(options.folder / "joined", options.data, options.sets.split(","), options.minutes, options.seed)
    peer, screened = fastest(options, sound)
    found = duel(options, sound, peer)
    result = {
        "command": sys.argv[1:],
        "machine": machine(),
        "sound_seconds": sound.seconds,
        "screened": screened,
        **found,
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    print(json.dumps(result, indent=1))
    for name, words in found["errors"].items():
        rounds = " ".join(f"{seconds:.2f}" for seconds in found["seconds"][name])
        counted = f"{words['substitutions']} + {words['deletions']} + {words['insertions']} of {words['words']}"
        print(
            f"{name}: {rounds} s, {found['rtfx'][name]:.1f} x, a call {found['median_call'][name]:.3f} s, "
            f"WER {100 * words['rate']:.2f} % ({counted})"
        )
    print(f"{options.kind}, {sound.seconds:.0f} s, {options.model.name}, {peer}: {found['ratio']:.2f} times")


if __name__ == "__main__":
    main()
