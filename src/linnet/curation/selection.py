"""The result of a selection: whether each recording is kept, why, and its weight for a sampler.

Shapes: N recordings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linnet.curation.budget import HOUR
from linnet.curation.coverage import ONE, CoverageGreedy
from linnet.curation.gating import Gated
from linnet.curation.parquet import parquet
from linnet.curation.pool import STRATA, Flags, Integers, Labels, Numbers, Pool
from linnet.errors import OptionError
from linnet.files import whole_file, write_atomic

FATES = (
    "floor",
    "coverage",
    "rescue",
    "score",
    "budget",
    "cap-text",
    "cap-speaker",
    "cap-domain",
    "cap-source",
    "cap-language",
    "threshold",
)
FLOOR, COVERAGE, RESCUE, SCORE, BUDGET = range(5)
CAP = {name.removeprefix("cap-"): at for at, name in enumerate(FATES) if name.startswith("cap-")}
THRESHOLD = FATES.index("threshold")
_GATE = "gate_"
_MOST_NAMED = 20

REASONS = {
    "floor": "kept: its group had less than its floor",
    "coverage": "kept: it had most of what was missing, per second",
    "rescue": "kept: by the hash of its id, whatever it scores",
    "score": "kept: by its score",
    "budget": "not kept: others add more per second, and the hours are spent",
    "cap-text": "not kept: enough recordings of its text are kept",
    "cap-speaker": "not kept: its speaker has as many hours as one may have",
    "cap-domain": "not kept: its domain has as many hours as one may have",
    "cap-source": "not kept: its source has as many hours as one may have",
    "cap-language": "not kept: its language has as many hours as one may have",
    "threshold": "not kept: its score is not above the threshold",
}


@dataclass
class Notices:
    """Collects sentences for the user; all are counted, the first ones kept."""

    said: list[str] = field(default_factory=list)
    count: int = 0

    def say(self, sentence: str) -> None:
        """Add one."""
        self.count += 1
        if len(self.said) < _MOST_NAMED:
            self.said.append(sentence)

    def lines(self) -> list[str]:
        """The lines to show."""
        more = self.count - len(self.said)
        return [*self.said, f"and {more} more"] if more else list(self.said)


@dataclass(frozen=True, eq=False)
class Selection:
    """The fate of each recording, in the order of the manifest.

    `fates` [N] are names: why it is kept (`floor`, `coverage`, `rescue`, `score`) or not (`budget`, `threshold`, a cap,
    or the name of the first failed gate). `ranks` int64 [N] count the kept ones in the order of selection, -1 for
    others. `priorities` [N] are gains per cost when they were taken, and for others at the end. `weights` float32 [N]
    are for a sampler over all recordings: 1 for a kept one, 0 for an unusable one, else the gain per second relative to
    the last one taken. `values` [N] are the values that failed a gate, `others` [N] the duplicated recordings. `checks`
    holds all values compared with the gates' limits.
    """

    ids: NDArray[Any]
    seconds: Numbers
    kept: Flags
    fates: Labels
    reasons: NDArray[Any]
    ranks: Integers
    priorities: Numbers
    weights: NDArray[np.float32]
    values: Numbers
    others: Integers
    labels: Mapping[str, Labels]
    checks: Mapping[str, NDArray[Any]]
    notices: tuple[str, ...] = ()
    budget: float = 0.0  # seconds

    @classmethod
    def of(
        cls,
        pool: Pool,
        gated: Gated,
        fates: NDArray[np.int16],
        greedy: CoverageGreedy,
        notices: Notices,
        budget: float,
    ) -> Selection:
        """From a pool whose usable recordings have an index in `FATES` [N]."""
        ranks = np.full(len(pool), -1, np.int64)
        ranks[greedy.picks.rows] = np.arange(len(greedy.picks.rows))
        priorities = greedy.priorities / ONE
        priorities[greedy.picks.rows] = np.array(greedy.picks.priorities) / ONE
        gates = [gate.name for gate in gated.gates]
        names = (*FATES, *gates)
        codes = np.where(gated.first >= 0, gated.first + len(FATES), fates).astype(np.int32)
        return cls(
            ids=pool.ids,
            seconds=pool.seconds,
            kept=greedy.taken.copy(),
            fates=Labels(codes, names),
            reasons=_reasons(pool, gated, codes, names),
            ranks=ranks,
            priorities=priorities,
            weights=_weights(gated.usable, fates, greedy, priorities),
            values=_failing(gated, [one.values for one in gated.verdicts], np.nan),
            others=_failing(gated, [one.others for one in gated.verdicts], -1).astype(np.int64),
            labels={kind: pool.strata(kind) for kind in STRATA},
            checks={name: one.values for name, one in zip(gates, gated.verdicts, strict=True)},
            notices=tuple(notices.lines()),
            budget=budget,
        )

    def noting(self, sentences: Sequence[str]) -> Selection:
        """The same with further notices, which come first."""
        return replace(self, notices=(*sentences, *self.notices))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def hours(self) -> float:
        """The kept hours."""
        return float(self.seconds[self.kept].sum()) / HOUR

    @property
    def order(self) -> Integers:
        """The kept rows in the order of selection."""
        rows = np.flatnonzero(self.ranks >= 0)
        return rows[np.argsort(self.ranks[rows], kind="stable")]

    def by_fate(self) -> dict[str, tuple[int, float]]:
        """Recordings and hours of each fate that occurs: usable ones first, then in the order of the gates."""
        hours = self.fates.sums(self.seconds) / HOUR
        counts = self.fates.sums(np.ones(len(self)))
        return {name: (int(counts[at]), float(hours[at])) for at, name in enumerate(self.fates.names) if counts[at]}

    def by_stratum(self, kind: str) -> dict[str, tuple[float, float, float]]:
        """Total, usable and kept hours of each group of a kind; unnamed ones under an empty name."""
        labels = self.labels[kind]
        usable = self.weights > 0
        columns = [self.seconds, np.where(usable, self.seconds, 0.0), np.where(self.kept, self.seconds, 0.0)]
        table = {
            name: (float(a), float(b), float(c))
            for name, a, b, c in zip(labels.names, *(labels.sums(one) / HOUR for one in columns), strict=True)
        }
        nameless = labels.codes < 0
        if nameless.any():
            table[""] = tuple(float(one[nameless].sum()) / HOUR for one in columns)  # type: ignore[assignment]
        return table

    def starved(self, kind: str, share: float) -> dict[str, float]:
        """Groups that keep less than `share` of an even part, with the kept share of it."""
        overall = self.hours * HOUR / max(float(self.seconds.sum()), 1e-9)
        found = {}
        for name, (whole, _, kept) in self.by_stratum(kind).items():
            alike = kept / (whole * overall) if whole * overall > 0 else 1.0
            if alike < share:
                found[name] = alike
        return found

    def summary(self) -> dict[str, Any]:
        """Plain values for a report."""
        return {
            "recordings": len(self),
            "kept": int(self.kept.sum()),
            "hours": float(self.seconds.sum()) / HOUR,
            "kept_hours": self.hours,
            "budget_hours": self.budget / HOUR,
            "fates": {name: {"recordings": rows, "hours": hours} for name, (rows, hours) in self.by_fate().items()},
            "notices": list(self.notices),
        }

    def write(self, folder: Path) -> None:
        """Write `selection.parquet` and `selection.json`, each atomically. Raises `OSError`."""
        pq = parquet()
        import pyarrow as pa

        columns: dict[str, Any] = {
            "row": np.arange(len(self)),
            "id": pa.array(self.ids.tolist(), pa.string()),
            "seconds": self.seconds,
            "kept": self.kept,
            "fate": _dictionary(self.fates),
            "reason": pa.array(self.reasons.tolist(), pa.string()).dictionary_encode(),
            "rank": self.ranks,
            "priority": self.priorities,
            "weight": self.weights,
            "value": self.values,
            "other": self.others,
            **{kind: _dictionary(labels) for kind, labels in self.labels.items()},
            **{_GATE + name: np.asarray(found, np.float32) for name, found in self.checks.items()},
        }
        with whole_file(folder / "selection.parquet") as file:
            pq.write_table(pa.table(columns), file, compression="zstd")
        write_atomic(folder / "selection.json", json.dumps(self.summary(), indent=1, ensure_ascii=False))


def read_selection(folder: Path) -> Selection:
    """Read the selection in a folder. Raises `OptionError`."""
    pq = parquet()
    path = folder / "selection.parquet"
    if not path.is_file():
        raise OptionError(f"{folder}: no selection.parquet; choose first: linnet curate MANIFEST")
    try:
        table = pq.read_table(path)
        summary = json.loads((folder / "selection.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise OptionError(f"{folder}: the selection cannot be read ({error}); choose again") from error

    def objects(name: str) -> NDArray[Any]:
        held = np.empty(table.num_rows, object)
        held[:] = table.column(name).to_pylist()
        return held

    def numbers(name: str) -> NDArray[Any]:
        return np.asarray(table.column(name).to_numpy())

    return Selection(
        ids=objects("id"),
        seconds=numbers("seconds"),
        kept=numbers("kept"),
        fates=_labels(table.column("fate")),
        reasons=objects("reason"),
        ranks=numbers("rank"),
        priorities=numbers("priority"),
        weights=numbers("weight"),
        values=numbers("value"),
        others=numbers("other"),
        labels={kind: _labels(table.column(kind)) for kind in STRATA},
        checks={n.removeprefix(_GATE): numbers(n) for n in table.column_names if n.startswith(_GATE)},
        notices=tuple(summary["notices"]),
        budget=summary["budget_hours"] * HOUR,
    )


def _reasons(pool: Pool, gated: Gated, codes: NDArray[np.int32], names: tuple[str, ...]) -> NDArray[Any]:
    reasons = np.array([REASONS.get(name) for name in names], object)[codes]
    for row in np.flatnonzero(codes >= len(FATES)).tolist():
        reasons[row] = f"not usable: {gated.reason_at(row, codes[row] - len(FATES))}"
        if pool.errors[row] is not None:
            reasons[row] = f"not usable: {pool.errors[row]}"
    return reasons


def _failing(gated: Gated, columns: list[NDArray[Any] | None], nothing: float) -> NDArray[Any]:
    """The value of the first failed gate of each recording [N]."""
    found = np.full(len(gated.usable), nothing)
    for at, column in enumerate(columns):
        here = gated.first == at
        if column is not None:
            found[here] = column[here]
    return found


def _weights(
    usable: Flags, fates: NDArray[np.int16], greedy: CoverageGreedy, priorities: Numbers
) -> NDArray[np.float32]:
    by_value = [row for row in greedy.picks.rows if fates[row] in (COVERAGE, SCORE)]
    last = priorities[by_value[-1]] if by_value else float(priorities.max(initial=0.0))
    shares = np.clip(priorities / last, 0.0, 1.0) if last > 0 else np.ones(len(usable))
    return np.where(greedy.taken, 1.0, np.where(usable, shares, 0.0)).astype(np.float32)


def _dictionary(labels: Labels) -> Any:
    import pyarrow as pa

    codes = pa.array(labels.codes, mask=labels.codes < 0)
    return pa.DictionaryArray.from_arrays(codes, pa.array(list(labels.names), pa.string()))


def _labels(column: Any) -> Labels:
    column = column.combine_chunks()
    codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return Labels(np.asarray(codes, np.int32), tuple(column.dictionary.to_pylist()))
