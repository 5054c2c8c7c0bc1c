"""The results as a Markdown table and as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from peers.client import Run
from peers.duel import Duel

HEAD = (
    "shape",
    "beside",
    "recording",
    "Linnet",
    "peer",
    "RTFx",
    "its RTFx",
    "ratio",
    "asked",
    "pairs",
    "MB",
    "its MB",
    "tokens",
    "its tokens",
)


def machine() -> dict[str, Any]:
    """What it ran on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
        flags = next(line.split() for line in lines if line.startswith("flags"))
    except (OSError, StopIteration):
        cpu, flags = platform.processor(), []
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
    return {
        "cpu": cpu,
        "features": [flag for flag in wanted if flag in flags],
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "python": platform.python_version(),
        "load": os.getloadavg(),
    }


def rtfx(duel: Duel, runs: Sequence[Run]) -> float:
    """The median of the runs."""
    return statistics.median(duel.seconds / run.seconds for run in runs)


def tokens(run: Run) -> str:
    """`20 x 90`; windows with another number are distinguished."""
    counts = Counter(run.tokens)
    return ", ".join(f"{windows} x {count}" for count, windows in sorted(counts.items(), key=lambda pair: -pair[1]))


def row(duel: Duel) -> tuple[str, ...]:
    """One line of the table."""
    sound = f"{duel.recording}, {duel.seconds / 60:g} min"
    if not duel.their_runs or duel.ours is None or duel.theirs is None:
        reason = f"not run: {duel.reason}"
        return duel.shape, duel.name, sound, "", reason, "", "", "", f"{duel.asked:g}", "", "", "", "", ""
    ours, theirs = duel.our_runs, duel.their_runs
    return (
        duel.shape,
        duel.name,
        sound,
        duel.ours.label,
        duel.theirs.label,
        f"{rtfx(duel, ours):.1f}",
        f"{rtfx(duel, theirs):.1f}",
        f"**{duel.ratio:.2f}**",
        f"{duel.asked:g}",
        " ".join(f"{ratio:.2f}" for ratio in duel.ratios),
        f"{ours[-1].peak_mb:.0f}",
        f"{theirs[-1].peak_mb:.0f}",
        tokens(ours[-1]),
        tokens(theirs[-1]),
    )


def table(duels: Sequence[Duel]) -> str:
    """Markdown."""
    lines = [HEAD, ("---",) * len(HEAD), *map(row, duels)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def to_dict(duel: Duel) -> dict[str, Any]:
    """Everything that was measured."""
    return {**asdict(duel), "ratios": duel.ratios, "ratio": duel.ratio if duel.their_runs else None}


def write(path: Path, results: dict[str, Any], duels: Sequence[Duel]) -> None:
    """One JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**results, "comparisons": [to_dict(duel) for duel in duels]}, indent=1))
