"""How surely `linnet curate` finds each kind of broken recording: the area under the ROC curve of its scores.

    python benchmarks/curate_pools.py digits --output build/curate --pools 1
    python benchmarks/curate_pools.py real --output build/curate-real
    python benchmarks/curate_detection.py digits build/curate/pool-0 --output build/detection
    python benchmarks/curate_detection.py real build/curate-real --output build/detection [--heard corpus.eval.jsonl]
    python benchmarks/curate_detection.py real build/curate-seeds --output build/detection --seeds 5 6 7 8 9
    ... --seeds 5 6 7 8 9 --hear tiny.en

Each set is measured and scored as `linnet curate` does it, without a model. What is judged are its scores and what its
gates hold against their limits, each gate asked by itself, for each defect the one that is made for it:

    wrong-text, swapped-text, wrong-language    match_raw: what is written is not what is heard
    cut-audio, cut-text                         the gates cut-sound and cut-text
    noise                                       snr_db, of the gate noisy
    duplicate                                   the gate near-sound: how like the most alike with the same words

The area is that between the recordings with the defect and those with none; 0.5 is chance. Originals of copies are left
out of the latter for `duplicate`. `real` is all sets of its folder as one corpus. With `--heard`, rows of
`linnet evaluate` on the corpus's manifest.jsonl, wrong texts are also judged by a model's character error rate.
`--hear` judges them by the gain of a model, as `linnet curate hear` finds it, in the recordings of some `--languages`
(English); gains are kept in OUTPUT for all seeds, and `gated` are the shares below the limit of `--heard`.

The real sets are small, and one draw of defects says little. With `--seeds` they are put into the same recordings anew
for each seed (FOLDER/seed-K, made where it is missing; some ten CPU seconds each), and the table has the mean and the
range over seeds, also of the rank correlation of value and length among the usable recordings.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from curate_pools import RATE, REAL, real_pools
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from linnet.cli.curate_hear import load_scorer
from linnet.curation.gates import gates_of
from linnet.curation.heard import Unheard, read_heard
from linnet.curation.hearing import hear_texts
from linnet.curation.job import Corpus, Curated, curate, measure
from linnet.curation.options import CurateOptions
from linnet.curation.select import duplicate_gates, values
from linnet.curation.workers import WorkerOptions
from linnet.data import Utterance, read_manifest
from linnet.files import write_atomic

WORST: dict[str, tuple[str, int]] = {  # the column, and which end of it is the bad one
    "wrong-text": ("match_raw", -1),
    "swapped-text": ("match_raw", -1),
    "wrong-language": ("match_raw", -1),
    "cut-audio": ("cut-sound", 1),
    "cut-text": ("cut-text", 1),
    "noise": ("noisy", -1),
    "duplicate": ("near-sound", 1),
}
TARGETS = {"wrong-text": 0.95, "duplicate": 0.97}  # others 0.9
Numbers = NDArray[np.float64]
Row = dict[str, Any]


def area(bad: Numbers, good: Numbers) -> float:
    """The chance that a bad recording scores above a good one, ties half: the area under the ROC curve."""
    ranks = rankdata(np.concatenate([bad, good]))
    return float((ranks[: len(bad)].sum() - len(bad) * (len(bad) + 1) / 2) / (len(bad) * len(good)))


def column(curated: Curated, name: str, sign: int) -> Numbers:
    """A score or the values of a gate, greater for worse; what was not measured is the best."""
    pool, options = curated.pool, CurateOptions().select
    if name in pool.scores:
        found = pool.scores[name]
    else:
        gates = {one.name: one for one in (*gates_of(options.gates), *duplicate_gates(options.duplicates))}
        found = gates[name].check(pool, np.ones(len(pool), np.bool_)).values
    return np.nan_to_num(sign * np.asarray(found, np.float64), nan=-np.inf)


def judged(curated: Curated, rows: list[Row], heard: dict[str, float]) -> Iterator[Row]:
    """A line for each defect."""
    defects = np.array([row.get("defect", "") for row in rows])
    originals = {row["copy_of"] for row in rows if row.get("copy_of")}
    original = np.array([Path(row["audio"]).stem in originals for row in rows])
    ids = [str(one) for one in curated.pool.ids]
    for defect, (name, sign) in WORST.items():
        bad = defects == defect
        good = (defects == "") & ~(original & (defect == "duplicate"))
        if not bad.any():
            continue
        worse = column(curated, name, sign)
        failed = ~(curated.selection.weights > 0)
        yield {
            "defect": defect,
            "by": name,
            "bad": int(bad.sum()),
            "good": int(good.sum()),
            "area": round(area(worse[bad], worse[good]), 4),
            "target": TARGETS.get(defect, 0.9),
            "gated": round(float(failed[bad].mean()), 4),
            "good_gated": round(float(failed[good].mean()), 4),
        }
        if heard and defect in ("wrong-text", "swapped-text"):
            rates = np.array([heard.get(one, np.nan) for one in ids])
            known = np.isfinite(rates)
            found = area(rates[bad & known], rates[good & known])
            by = {"by": "a model's character errors", "bad": int((bad & known).sum()), "target": 0.99}
            yield {"defect": defect, **by, "good": int((good & known).sum()), "area": round(found, 4)}


def joined(folder: Path, output: Path) -> Path:
    """The manifest of all sets of a folder as one corpus, each row with its set as its source."""
    lines = []
    for path in sorted(folder.glob("*/manifest.jsonl")):
        for row in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            audio = str((path.parent / row["audio"]).absolute())
            named = {"id": f"{path.parent.name}/{row['audio']}", "audio": audio, "source": path.parent.name}
            lines.append(json.dumps(row | named, ensure_ascii=False) + "\n")
    manifest = output / "manifest.jsonl"
    output.mkdir(parents=True, exist_ok=True)
    write_atomic(manifest, "".join(lines))
    return manifest


def run(manifest: Path, output: Path) -> tuple[Curated, Corpus]:
    """As `linnet curate` does it, in one process."""
    rows: list[Utterance] = list(read_manifest(manifest))
    corpus = measure(rows, output / "work", CurateOptions(workers=WorkerOptions(workers=1)))
    return curate(corpus), corpus


def examined(manifest: Path, place: Path, heard: dict[str, float]) -> tuple[list[Row], Corpus]:
    """The lines of one corpus, and that of value and length."""
    curated, corpus = run(manifest, place)
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    usable = curated.selection.weights > 0
    worth, _ = values(curated.pool, CurateOptions().select.value)
    length = {"defect": "value-length", "by": "rank correlation", "good": int(usable.sum()), "target": 0.1}
    length["area"] = round(float(spearmanr(worth[usable], curated.pool.seconds[usable]).statistic), 4)
    return [*judged(curated, rows, heard), length], corpus


TEXTS = ("wrong-text", "swapped-text")


def by_gain(manifest: Path, output: Path, model: str, languages: list[str]) -> Iterator[Row]:
    """A line for each defect of texts, by the gain of a model; rows with altered sound are left out."""
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row.get("defect", "") in ("", *TEXTS) and row["language"] in languages]
    path = output / f"gains-{model.replace('/', '-')}.jsonl"
    name, scorer = load_scorer(model, "cpu", None)
    heard = [Utterance(row["audio"], row["text"], language=row["language"], id=row["id"]) for row in rows]
    hear_texts(heard, path, scorer, name, 8)
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    gains = {(line["id"], line["text"]): line.get("gain", np.nan) for line in lines}
    found = np.array([gains[row["id"], row["text"]] for row in rows])
    defects = np.array([row.get("defect", "") for row in rows])
    known, below = np.isfinite(found), found < Unheard({}).least
    for defect in TEXTS:
        bad, good = (defects == defect) & known, (defects == "") & known
        counts = {"bad": int(bad.sum()), "good": int(good.sum()), "unknown": int((~known).sum()), "target": 0.99}
        shares = {"gated": float(below[bad].mean()), "good_gated": float(below[good].mean())}
        yield {"defect": defect, "by": f"gain of {model}", "area": area(-found[bad], -found[good])} | counts | shares


def over_seeds(folder: Path, output: Path, seeds: list[int], model: str, languages: list[str]) -> list[Row]:
    """The lines of all seeds as their means, with the lowest and the highest area."""
    found: dict[tuple[str, str], list[Row]] = {}
    for seed in seeds:
        pool = folder / f"seed-{seed}"
        if not (pool / "made").exists():
            real_pools(pool, REAL, RATE, seed)
            (pool / "made").touch()
        place = output / f"real-{folder.name}-{seed}"
        manifest = joined(pool, place)
        lines = examined(manifest, place, {})[0] if not model else by_gain(manifest, output, model, languages)
        for line in lines:
            found.setdefault((line["defect"], line["by"]), []).append(line)
    means = []
    for lines in found.values():
        areas = [line["area"] for line in lines]
        shares = [name for name in ("bad", "good", "gated", "good_gated") if name in lines[0]]
        mean = {name: round(float(np.mean([line[name] for line in lines])), 4) for name in (*shares, "area")}
        means.append(lines[0] | mean | {"lowest": min(areas), "highest": max(areas), "seeds": seeds})
    return means


def table(lines: list[Row]) -> str:
    """The lines for reading."""
    head = "defect          area              target  bad    good   gated   good gated  by"
    text = [head]
    for line in lines:
        area = f"{line['area']:.3f}" + (f" {line['lowest']:.3f}-{line['highest']:.3f}" if "lowest" in line else "")
        gated = [f"{line[name]:6.1%}" if name in line else "     -" for name in ("gated", "good_gated")]
        text.append(
            f"{line['defect']:<15} {area:<17} {line['target']:.2f}    {line.get('bad', '-'):<6} {line['good']:<6} "
            f"{gated[0]}  {gated[1]}      {line['by']}"
        )
    return "\n".join(text)


def main() -> None:
    """Measure one corpus and print its table; the lines are added to `areas.jsonl`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("digits", "real"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--heard", type=Path, help="rows of linnet evaluate on OUTPUT/NAME/manifest.jsonl")
    parser.add_argument("--hear", default="", metavar="MODEL", help="with --seeds: judge texts by this model alone")
    parser.add_argument("--languages", nargs="+", default=["en"], help="of --hear")
    parser.add_argument("--seeds", type=int, nargs="+", help="of defects in the real sets, each a corpus")
    asked = parser.parse_args()
    place = asked.output / f"{asked.kind}-{asked.folder.name}"
    if asked.seeds:
        lines = over_seeds(asked.folder, asked.output, asked.seeds, asked.hear, asked.languages)
    else:
        manifest = joined(asked.folder, place) if asked.kind == "real" else asked.folder / "manifest.jsonl"
        lines, corpus = examined(manifest, place, read_heard(asked.heard) if asked.heard else {})
        print(f"{asked.folder}: {corpus.plan.rows} recordings, {corpus.audio.seconds / 3600:.2f} hours")
    print(table(lines))
    with (asked.output / "areas.jsonl").open("a", encoding="utf-8") as log:
        for line in lines:
            log.write(json.dumps({"corpus": place.name, "machine": platform.machine()} | line) + "\n")


if __name__ == "__main__":
    main()
