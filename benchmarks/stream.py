"""Live recognition on real speech: policies on the same weights, noise, two hours, and sessions per core.

    linnet data align SPEECH/libri_other/manifest.jsonl --model base --output ALIGNED.jsonl
    python benchmarks/stream.py --part policies --model tiny.en --aligned ALIGNED.jsonl --output ROWS.jsonl
    python benchmarks/stream.py --part noise --model tiny.en --output ROWS.jsonl
    python benchmarks/stream.py --part flat --model digits --set digits --hours 2 --output ROWS.jsonl
    python benchmarks/stream.py --part ladder --model tiny.en --aligned ALIGNED.jsonl --output ROWS.jsonl

Streams are the clips of a speaker joined to `--minutes` with gaps of 0.3 to 1.5 s. Without `--aligned`, `--set` names a
set whose manifest has word times (aligned_lj, aligned_hand); `--set digits` are connected digits of a held-out speaker.
A system is `offline` or POLICY[@STEP[@DELAY]], or `causal@BLOCK[@DELAY[@THRESHOLD]]` with a causal model's folder as
`--causal`. Work is measured as CPU time of one thread, so that other programs on the machine hardly count: a wall
clock of an idle core. Each row is kept as it is made; a second run with the same file goes on, and the table is of all
rows there.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from stream_audio import SpokenStream, digit_streams, made_noise, recorded_noise, repeated, spoken_streams
from stream_tables import NORMALIZERS, Row, print_policies

import linnet
from linnet.audio import SAMPLE_RATE
from linnet.cli.evaluate_stream import LiveModel
from linnet.cli.options import ModelChoice
from linnet.evaluation.log import ScoredRow
from linnet.evaluation.rows import compared
from linnet.evaluation.streams.simulate import play
from linnet.machine import hardware
from linnet.scoring.latency import Pace
from linnet.streaming.options import StreamOptions
from linnet.streaming.pool import PoolFull, SessionPool, measure_capacity
from linnet.text.normalizers import Normalizers

SPEECH = Path(__file__).resolve().parents[2] / "shared" / "data" / "speech"
SYSTEMS = "offline,commit,local-agreement-2@1,local-agreement-2,local-agreement-3,hold-1,emit-all"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("policies", "noise", "flat", "ladder"), required=True)
    parser.add_argument("--model", required=True, help="what linnet.load takes")
    parser.add_argument("--compute-type", default="auto")
    parser.add_argument("--causal", help="name or folder of a causal model, for the systems causal@BLOCK")
    parser.add_argument("--systems", default=SYSTEMS)
    parser.add_argument("--set", default="libri_other")
    parser.add_argument(
        "--aligned", type=Path, help="the set's manifest with word times, as `linnet data align` has it"
    )
    parser.add_argument("--speech", type=Path, default=SPEECH)
    parser.add_argument("--minutes", type=float, default=1.0, help="of each speaker")
    parser.add_argument("--speakers", help="names with commas between; default: all; of digits one, default: theo")
    parser.add_argument("--chunk", type=float, default=0.1, help="seconds of audio that arrive at a time")
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--share", type=float, default=0.5, help="of speech in the hours")
    parser.add_argument("--limit", type=int, help="noise: every so many-th stream only")
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    """Make the rows that are missing, then print the table of all."""
    options = arguments()
    recognizer = linnet.load(options.model, threads=1, compute_type=options.compute_type)
    parts = {"policies": policies, "noise": noise, "flat": flat, "ladder": ladder}
    print(f"machine: {hardware('cpu')}; {recognizer.engine_name}", flush=True)
    parts[options.part](options, recognizer)


def kept_rows(options: argparse.Namespace, part: str) -> list[Row]:
    """The rows of a part in the output file."""
    if not options.output.is_file():
        return []
    rows = [json.loads(line) for line in options.output.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["part"] == part]


def keep(options: argparse.Namespace, row: Row) -> None:
    """Append a row."""
    with options.output.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def stream_options(system: str, language: str | None) -> StreamOptions:
    """The options that POLICY[@STEP[@DELAY]] names."""
    policy, *numbers = system.split("@")
    given = dict(zip(("step", "delay"), map(float, numbers), strict=False))
    return StreamOptions(language=language, policy=policy, **given)  # type: ignore[arg-type]


def language_of(recognizer: Any) -> str | None:
    """English for a model of several languages."""
    return "en" if len(recognizer.languages) > 1 else None


def first_system(options: argparse.Namespace) -> str:
    """The system of parts that have one: the first that is not offline."""
    return next(one for one in options.systems.split(",") if one != "offline")


# --- policies


def policies(options: argparse.Namespace, recognizer: Any) -> None:
    """Every system on every speaker's stream."""
    done = {(row["model"], row["system"], row["set"], row["id"]) for row in kept_rows(options, "policies")}
    for stream in spoken(options):
        for system in options.systems.split(","):
            if (options.model, system, options.set, stream.name) not in done:
                row = scored(options, recognizer, system, stream)
                keep(
                    options,
                    {"part": "policies", "model": options.model, "system": system, "set": options.set, **asdict(row)},
                )
                print(f"{system} {stream.name}: {row.counts.errors}/{row.words}, {row.seconds:.1f} s", flush=True)
    print_policies(kept_rows(options, "policies"))


def spoken(options: argparse.Namespace) -> list[SpokenStream]:
    """The streams of the set."""
    if options.set == "digits":
        recordings = options.speech.parent / "fsdd" / "recordings"
        return list(digit_streams(recordings, options.minutes, options.speakers or "theo"))
    folder = options.speech / options.set
    manifest = options.aligned or folder / "manifest.jsonl"
    found = spoken_streams(manifest, folder, options.minutes)
    return [one for one in found if options.speakers is None or one.speaker in options.speakers.split(",")]


def scored(options: argparse.Namespace, recognizer: Any, system: str, stream: SpokenStream) -> ScoredRow:
    """A stream recognized and compared."""
    row = ScoredRow(0, stream.name, stream.name, stream.text, language="en", speaker=stream.speaker)
    row = replace(row, duration=len(stream.samples) / SAMPLE_RATE)
    normalizers = Normalizers("digits") if options.set == "digits" else NORMALIZERS
    if system == "offline":
        begun = time.process_time()
        text = recognizer.transcribe(stream.samples, language=language_of(recognizer)).text
        return compared(row, "en", normalizers, hypothesis=text, seconds=time.process_time() - begun)
    played = play(
        live_model(options, recognizer, system).open(language_of(recognizer)),
        stream.samples,
        chunk=options.chunk,
        reference=stream.words,
        timer=time.process_time,
    )
    trace = played.trace
    return compared(row, "en", normalizers, hypothesis=played.text, seconds=sum(trace.compute), stream=trace.to_dict())


def live_model(options: argparse.Namespace, recognizer: Any, system: str) -> LiveModel:
    """The model and policy of a system that is not offline."""
    if system.startswith("causal@"):
        return causal(options, recognizer, *map(float, system.split("@")[1:]))
    return LiveModel.of(recognizer, stream_options(system, language_of(recognizer)))


def causal(
    options: argparse.Namespace,
    recognizer: Any,
    block: float,
    delay: float | None = None,
    threshold: float | None = None,
) -> LiveModel:
    """A causal model with blocks of some seconds, at its own pace where none is named."""
    choice = ModelChoice(options.causal, "cpu", "auto", offline=True, threads=1)
    own = StreamOptions(language=language_of(recognizer), delay=delay, threshold=threshold)
    return LiveModel.load(choice, own, block, print)


# --- noise


def noise(options: argparse.Namespace, recognizer: Any) -> None:
    """Streams without a voice: how many have a final word."""
    done = {(row["model"], row["kind"], row["id"]) for row in kept_rows(options, "noise")}
    live = live_model(options, recognizer, first_system(options))
    for kind, name, samples in noises(options):
        if (options.model, kind, name) in done:
            continue
        played = play(live.open(language_of(recognizer)), samples, chunk=options.chunk, timer=time.process_time)
        shown = sum(bool(final or tail) for _, final, tail in played.trace.changes)
        row = {"part": "noise", "model": options.model, "kind": kind, "id": name, "text": played.text, "shown": shown}
        keep(options, {**row, "seconds": sum(played.trace.compute), "duration": len(samples) / SAMPLE_RATE})
    print_noise(kept_rows(options, "noise"))


def noises(options: argparse.Namespace) -> Iterator[tuple[str, str, Any]]:
    """Kind, name and samples of all streams without a voice."""
    step = options.limit or 1
    for number, (name, samples) in enumerate(made_noise()):
        if number % step == 0:
            yield "made", name, samples
    for number, (name, samples) in enumerate(recorded_noise(options.speech)):
        if number % step == 0:
            yield "recorded", name, samples


def print_noise(rows: Sequence[Row]) -> None:
    """A line for each model and kind, and the texts."""
    print("\n| model | kind | streams | with a final word | clean % | with text shown | load |")
    print("|---" * 7 + "|")
    for model, kind in dict.fromkeys((row["model"], row["kind"]) for row in rows):
        own = [row for row in rows if (row["model"], row["kind"]) == (model, kind)]
        wrong, shown = sum(bool(row["text"]) for row in own), sum(bool(row["shown"]) for row in own)
        load = sum(row["seconds"] for row in own) / sum(row["duration"] for row in own)
        clean = 100 - 100 * wrong / len(own)
        print(f"| {model} | {kind} | {len(own)} | {wrong} | {clean:.2f} | {shown} | {load:.3f} |")
    for row in rows:
        if row["text"]:
            print(f"{row['model']}: {row['id']}: {row['text'][:80]}")


# --- hours


def flat(options: argparse.Namespace, recognizer: Any) -> None:
    """Hours of speech faster than they are spoken: the work on a chunk and the memory against the position."""
    stream = spoken(options)[0]
    live = live_model(options, recognizer, first_system(options)).open(language_of(recognizer))
    size = round(options.chunk * SAMPLE_RATE)
    work: list[float] = []
    parts = 12
    total = round(options.hours * 3600 / options.chunk)
    words = 0
    for number, piece in enumerate(repeated(stream, options.hours * 3600, options.share, size), start=1):
        begun = time.process_time()
        words += len(live.push(piece, 0.0).final)
        work.append(time.process_time() - begun)
        if number % (total // parts) == 0:
            own = np.array(work[-(total // parts) :])
            row = {
                "part": "flat",
                "model": options.model,
                "system": first_system(options),
                "hours": round(number * options.chunk / 3600, 3),
                "mean_ms": round(1000 * float(own.mean()), 3),
                "p95_ms": round(1000 * float(np.quantile(own, 0.95)), 3),
                "rss_mb": round(resident() / 1e6, 1),
                "words": words,
            }
            keep(options, row)
            print(json.dumps(row), flush=True)
    pace = Pace.of(work, parts)
    live.finish()
    if pace is not None:
        print(
            f"flatness {pace.flatness:.3f} over {options.hours:g} h; ms p50 {1000 * pace.p50:.2f}, "
            f"p95 {1000 * pace.p95:.2f}; counters {dict(live.counters)}"
        )


def resident() -> int:
    """Bytes of memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


# --- sessions per core


def ladder(options: argparse.Namespace, recognizer: Any) -> None:
    """More and more streams at once on one core, until the lag grows; and who is refused."""
    streams = spoken(options)
    model = LiveModel.of(recognizer, StreamOptions(language=language_of(recognizer))).model
    choice = StreamOptions(language=language_of(recognizer))
    capacity = measure_capacity(model, choice, time.process_time)
    print(f"capacity as measured at the start: {capacity}", flush=True)
    sessions = 1
    while True:
        row = {"part": "ladder", "model": options.model, "sessions": sessions, "capacity": capacity}
        row |= rung(model, choice, streams, sessions, options.chunk)
        keep(options, row)
        print(json.dumps(row), flush=True)
        if row["behind_p95"] > 1.0 or row["ended"]:
            break
        sessions += 1 if sessions < 4 else 2
    pool = SessionPool(model, capacity=capacity)
    for _ in range(capacity):
        pool.admit(choice)
    try:
        pool.admit(choice)
    except PoolFull as error:
        print(f"refused beyond {capacity}: {error}")
    else:
        raise SystemExit(f"a stream beyond {capacity} was not refused")


def rung(model: Any, choice: StreamOptions, streams: Sequence[SpokenStream], sessions: int, chunk: float) -> Row:
    """So many sessions on one core by a simulated clock: each chunk's seconds from its arrival until it was heard.

    Session k has speaker k's stream from another place, so that pauses do not fall together.
    """
    pool = SessionPool(model, capacity=sessions, most_waiting=30.0, clock=time.process_time)
    places = [pool.admit(choice) for _ in range(sessions)]
    size = round(chunk * SAMPLE_RATE)
    shifted = [np.roll(streams[k % len(streams)].samples, -k * 7 * SAMPLE_RATE) for k in range(sessions)]
    length = min(map(len, shifted)) // size
    done, given, ended = 0.0, 0, 0
    behind: list[float] = []
    work = 0.0
    while given < length:
        now = max(done, (given + 1) * chunk)
        arrived = min(length, int(now / chunk + 1e-6))
        for place, samples in zip(places, shifted, strict=True):
            pool.push(place, samples[given * size : arrived * size])
        begun = time.process_time()
        while told := pool.step():
            ended += sum(event.type == "error" for events in told.values() for event in events)
        seconds = time.process_time() - begun
        done, work = now + seconds, work + seconds
        behind += [done - (number + 1) * chunk for number in range(given, arrived)]
        given = arrived
    p50, p95, p99 = np.quantile(behind, (0.5, 0.95, 0.99)).round(3).tolist()
    found = {"seconds": round(length * chunk, 1), "load": round(work / (length * chunk), 3), "ended": ended}
    return found | {"behind_p50": p50, "behind_p95": p95, "behind_p99": p99}


if __name__ == "__main__":
    main()
