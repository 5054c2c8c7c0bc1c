"""What bins save on a synthetic corpus, and how long planning takes for a very large one.

    python benchmarks/batching.py [--utterances 200000] [--rate-spread 0.25] [--planned 10000000] [--picture out.svg]

The corpus: 35 % of the durations log-normal around 5 s, 35 % around 4 s but wide, 20 % like read speech up to 17 s,
10 % around 18 s, none over 40 s; tokens per second log-normal around 3.3. The budget of a batch of n:
n x (longest seconds + 0.08 x most tokens) <= 600. Asked: two-dimensional bins give at least 5 times the mean batch of
random batches of a fixed size, with padding under 6 % of the audio and 26 % of the text; an epoch of 10 million
utterances is planned in under 60 s and 2 GB.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from linnet.data.batching import Batches, Lengths, bench, bin_utterances, load_lengths, pack_utterances, select
from linnet.data.batching.bench import BUDGET, PADDED_SECONDS, measure_waste
from linnet.pages.pictures import save_figure


def corpus(count: int, rate_spread: float, seed: int = 0) -> Lengths:
    """Synthetic lengths of `count` utterances."""
    random = np.random.default_rng(seed)
    kind = random.choice(4, count, p=[0.35, 0.35, 0.2, 0.1])
    durations = np.choose(
        kind,
        [
            random.lognormal(np.log(5), 0.5, count),
            random.lognormal(np.log(4), 0.9, count),
            np.minimum(17, random.gamma(9, 1.6, count)),
            random.lognormal(np.log(18), 0.45, count),
        ],
    )
    durations = np.clip(durations, 0.5, 40)
    tokens = np.maximum(1, np.round(durations * random.lognormal(np.log(3.3), rate_spread, count)))
    return Lengths(durations, tokens)


def compare(lengths: Lengths, picture: Path | None) -> None:
    """Print the ways of batching side by side."""
    for world in (1, 8, 64):
        report = bench(lengths, world=world)
        if world == 1:
            print(*report.selection.lines(), sep="\n")
        print(f"\n{len(lengths)} utterances, {lengths.hours:.0f} hours, {world} processes")
        for cells in report.table():
            print(f"{cells[0]:<36}" + "".join(f"{cell:>17}" for cell in cells[1:]))
        random, _, _, two, _ = report.rows
        print(f"two-dimensional bins: {two.batch / random.batch:.2f} times the mean batch of random ones (asked: 5)")
        if world == 1 and picture:
            save_figure(report.picture(), picture)
    finer = bin_utterances(lengths, PADDED_SECONDS, BUDGET, rows=select(lengths).rows, splits=4)
    waste = measure_waste("30 x 4", Batches(finer).plan, lengths, PADDED_SECONDS, BUDGET)
    print(f"\nfour token bins for each duration: mean batch {waste.batch:.1f}, {waste.text_padding:.1%} text padding")
    packs = pack_utterances(lengths, PADDED_SECONDS, BUDGET, rows=select(lengths).rows)
    waste = measure_waste("packed", Batches(packs).plan, lengths, PADDED_SECONDS, BUDGET)
    print(f"packed, before an encoder that pads to the longest: {waste.audio_padding:.1%} audio padding")


def plan_once(path: Path) -> None:
    """In its own process: plan an epoch from a table of lengths, and print what each part takes."""
    marks = [time.perf_counter()]

    def lap(what: str) -> None:
        marks.append(time.perf_counter())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"  {what:<44} {marks[-1] - marks[-2]:7.2f} s   peak so far {peak:5.2f} GB")

    lengths = load_lengths(path)
    lap("load and check the table")
    rows = select(lengths).rows
    lap("select by tokens per second")
    binning = bin_utterances(lengths, PADDED_SECONDS, BUDGET, rows=rows)
    lap("fit and fill the bins")
    batches = Batches(binning, world=8)
    lap("plan an epoch for 8 processes")
    print(f"  {'in all':<44} {marks[-1] - marks[0]:7.2f} s (asked: 60 s, 2 GB)")
    state = batches.state(batches.steps // 2)
    lap("state for a checkpoint")
    Batches(binning, world=8).restore(state)
    lap("start again and resume in mid-epoch")
    batches.change(batches.steps // 2, world=7)
    lap("plan the unread half for 7 processes")
    dealt = sum(1 for _ in batches.of_rank(0))
    lap(f"deal {dealt} batches to a rank")


def main() -> None:
    """Compare, then plan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=200_000)
    parser.add_argument("--rate-spread", type=float, default=0.25, help="of the logarithm of tokens per second")
    parser.add_argument("--planned", type=int, default=10_000_000)
    parser.add_argument("--picture", type=Path, help="an SVG file to draw the comparison in")
    parser.add_argument("--table", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.table:
        plan_once(options.table)
        return
    compare(corpus(options.utterances, options.rate_spread), options.picture)
    if options.planned:
        print(f"\nplanning {options.planned} utterances")
        sys.stdout.flush()
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder) / "lengths.npz"
            corpus(options.planned, options.rate_spread).save(table)
            child = os.posix_spawn(sys.executable, [sys.executable, __file__, "--table", str(table)], os.environ)
            _, status = os.waitpid(child, 0)
        if status:
            raise SystemExit(f"planning ended with status {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main()
