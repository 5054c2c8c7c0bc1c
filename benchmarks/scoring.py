"""Scores: how fast a million rows are scored, and how often the intervals hold the truth.

    python benchmarks/scoring.py speed [--rows 1000000] [--workers 2]
    python benchmarks/scoring.py coverage [--corpora 1000]

speed: rows are read from a JSONL file, normalized, aligned by words and by characters and added up. Asked: a million
rows in under 60 s and 2 GB on 2 cores. The rows are made up: 10 words on average, of a Zipf vocabulary with
punctuation, contractions and numbers, one word in ten wrong. CPU seconds are those of all processes: on a machine that
does nothing else, seconds are about that many divided by the processes.

coverage: a thousand made-up corpora of each kind, whose speakers differ in their error rates; how many of the 95 %
intervals hold the rate that they were drawn with. Asked: 93 to 97 of 100.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from linnet.scoring.bootstrap import bootstrap_interval, bootstrap_ratio
from linnet.scoring.clusters import ResamplingClusters
from linnet.scoring.corpus import Pair, Scorer
from linnet.text.normalizers import Normalizers

FREQUENT = "the of and to a in is you that it he was for on are as with his they I at be this have from".split()  # noqa: SIM905
SPECIAL = "one two twenty-one first 1,250 5% $20 it's don't we've he's Mr. Dr. uh colour café".split()  # noqa: SIM905
SYLLABLES = [a + b for a in "bdfgklmnprstvw" for b in ("a", "e", "i", "o", "u", "an", "er", "in", "ol")]
SPEAKERS = (4, 8, 15, 20, 40, 100)
Random = np.random.Generator


def vocabulary(size: int, rng: random.Random) -> tuple[list[str], list[float]]:
    """Words and how often they come: Zipf's law, every 30th word from `SPECIAL` on."""
    rare = ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 4))) for _ in range(size)]
    words = FREQUENT + [SPECIAL[n // 30 % len(SPECIAL)] if n % 30 == 0 else word for n, word in enumerate(rare)]
    total, cumulative = 0.0, []
    for rank in range(1, len(words) + 1):
        total += 1 / (rank + 2.7)
        cumulative.append(total)
    return words, cumulative


def make_rows(path: Path, count: int) -> None:
    """Write made-up rows."""
    rng = random.Random(0)
    words, cumulative = vocabulary(30_000, rng)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            said = rng.choices(words, cum_weights=cumulative, k=rng.randint(3, 17))
            heard = list(said)
            for place in range(len(said)):
                if rng.random() < 0.1:
                    heard[place] = rng.choice(["", rng.choice(words), f"{heard[place]} {rng.choice(FREQUENT)}"])
            reference = " ".join(said).capitalize() + rng.choice([".", ".", "?", ", yes."])
            file.write(json.dumps([reference, " ".join(heard)]) + "\n")


def read_rows(path: Path, language: str) -> Iterator[Pair]:
    """Rows as they are needed."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            reference, hypothesis = json.loads(line)
            yield Pair(reference, hypothesis, language)


def cpu_seconds() -> float:
    """Of this process and all that have ended."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def speed(rows: int, workers: int) -> None:
    """Print seconds and memory for each protocol and normalizer."""
    cores = len(os.sched_getaffinity(0))
    print(f"{rows} rows, {workers} processes, {cores} cores")
    print(f"{'protocol':<10}{'normalizer':<12}{'seconds':>8}{'CPU s':>8}{'rows/s':>10}{'WER':>8}{'CER':>8}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        make_rows(path, rows)
        for protocol, normalizer, language in (
            ("plain", "english", "en"),
            ("plain", "unicode", "de"),
            ("open-asr", "english", "en"),
        ):
            begun, used = time.perf_counter(), cpu_seconds()
            score = Scorer(protocol, Normalizers(normalizer), workers).score(read_rows(path, language)).score
            taken, used = time.perf_counter() - begun, cpu_seconds() - used
            rates = f"{score.wer or 0:>8.2%}{score.cer or 0:>8.2%}"
            print(f"{protocol:<10}{normalizer:<12}{taken:>8.1f}{used:>8.1f}{rows / taken:>10.0f}{rates}", flush=True)
    own, child = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(
        f"peak memory: {own:.0f} MB here, {child:.0f} MB in the largest process, {own + workers * child:.0f} MB at most"
    )


RATES: dict[str, Callable[[Random, int], np.ndarray]] = {  # how speakers' error rates are spread
    "little": lambda rng, n: rng.beta(10, 90, n),
    "much": lambda rng, n: rng.beta(2, 18, n),
    "skewed": lambda rng, n: rng.beta(1, 4, n),
    "rare errors": lambda rng, n: rng.beta(1, 49, n),
    "heavy tail": lambda rng, n: np.minimum(0.9, 0.08 * np.exp(0.7 * rng.standard_normal(n))),
}


def corpus(rng: Random, rates: np.ndarray) -> tuple[np.ndarray, np.ndarray, ResamplingClusters]:
    """Errors and words of each utterance: 5 to 39 utterances of a speaker, 3 to 14 words in each."""
    utterances = rng.integers(5, 40, len(rates))
    speaker = np.repeat(np.arange(len(rates)), utterances)
    words = rng.integers(3, 15, len(speaker))
    return rng.binomial(words, rates[speaker]), words, ResamplingClusters("speakers", speaker, len(rates))


def percentiles(errors: np.ndarray, words: np.ndarray, blocks: ResamplingClusters, seed: int) -> tuple[float, float]:
    """The interval that is often taken, for comparison: 2.5 and 97.5 % of the drawn rates."""
    tops, bottoms = blocks.sums(errors), blocks.sums(words)
    drawn = np.random.default_rng(seed).integers(0, blocks.count, size=(1000, blocks.count))
    low, high = np.quantile(tops[drawn].sum(axis=1) / bottoms[drawn].sum(axis=1), [0.025, 0.975])
    return float(low), float(high)


def coverage(corpora: int) -> None:
    """Print how often intervals of a rate and of a difference hold the truth."""
    print("95 % intervals that hold the truth, of 100: of a rate; of a paired difference; plain percentiles of a rate;")
    print(f"resampling utterances instead of speakers ({corpora} corpora each)")
    print(f"{'speakers':<10}{'rates differ':<14}{'rate':>8}{'pair':>8}{'percentile':>12}{'utterances':>12}")
    for speakers in SPEAKERS:
        for kind, draw in RATES.items():
            held = simulate(corpora, speakers, draw)
            shares = [f"{100 * held[name] / corpora:.1f}" for name in ("rate", "pair", "percentile", "utterances")]
            cells = f"{shares[0]:>8}{shares[1]:>8}{shares[2]:>12}{shares[3]:>12}"
            print(f"{speakers:<10}{kind:<14}{cells}", flush=True)


def simulate(corpora: int, speakers: int, draw: Callable[[Random, int], np.ndarray]) -> dict[str, int]:
    """How many intervals hold the truth, by kind of interval."""
    truth = float(draw(np.random.default_rng(1), 2_000_000).mean())
    rng = np.random.default_rng(speakers)
    held = {"rate": 0, "pair": 0, "percentile": 0, "utterances": 0}
    for seed in range(corpora):
        rates = draw(rng, speakers)
        errors, words, blocks = corpus(rng, rates)
        other = rng.binomial(words, np.clip(draw(rng, speakers), 0, 1)[blocks.index])
        low, high = percentiles(errors, words, blocks, seed)
        held["percentile"] += low <= truth <= high
        for name, chosen, resamples in (("rate", blocks, 1000), ("utterances", None, 200)):
            interval = bootstrap_interval(errors, words, blocks=chosen, resamples=resamples, seed=seed)
            held[name] += interval is not None and interval.low <= truth <= interval.high
        pair = bootstrap_ratio(errors - other, words, blocks=blocks, resamples=1000, seed=seed)
        held["pair"] += pair is not None and pair.interval.low <= 0 <= pair.interval.high
    return held


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "coverage"])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--corpora", type=int, default=1000)
    options = parser.parse_args()
    if options.what == "speed":
        speed(options.rows, options.workers)
    else:
        coverage(options.corpora)


if __name__ == "__main__":
    main()
