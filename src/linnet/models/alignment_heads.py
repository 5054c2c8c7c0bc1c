"""The alignment heads of a Whisper-family decoder: heads that attend to the word being decoded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from linnet.errors import ModelError, OutputError
from linnet.files import whole_file
from linnet.models.cache import cache_folder
from linnet.models.checkpoint import fingerprint
from linnet.models.json_files import PAIRS, load_json

FILE = "alignment_heads.json"

Source = Literal["calibrated", "model", "assumed"]
Head = tuple[int, int]  # decoder layer, head


# Seconds by which heads attend too late. OpenAI lists specific heads for each checkpoint, so they identify which
# it is, fine-tuned or not. Measured on the clips `lj_dev` of benchmarks/real_word_times.py.
MEASURED_LAGS: dict[tuple[Head, ...], float] = {
    ((1, 0), (2, 0), (2, 5), (3, 0), (3, 1), (3, 2), (3, 3), (3, 4)): 0.12,  # tiny.en
    ((3, 1), (4, 2), (4, 3), (4, 7), (5, 1), (5, 2), (5, 4), (5, 6)): -0.02,  # base
}


@dataclass(frozen=True)
class AlignmentHeads:
    """(decoder layer, head) pairs and their origin.

    `calibrated`: found by `linnet models align-heads`; `model`: listed in generation_config.json; `assumed`: all heads
    of the upper half of the layers, as OpenAI's Whisper assumes for a model without a list.

    `lag`: seconds by which these heads attend after the onset of the decoded word: that of the calibration, else
    `alignment_lag` of generation_config.json, else the value measured for exactly these heads (tiny.en attends to the
    end of a word), else 0.
    """

    pairs: tuple[Head, ...]
    source: Source
    lag: float = 0.0

    @property
    def notice(self) -> str | None:
        """A notice for users of word times, if any."""
        if self.source != "assumed":
            return None
        return (
            "the model does not list its alignment heads: those of all upper layers are used, which is less "
            "exact; `linnet models align-heads` finds better ones"
        )


def find_alignment_heads(folder: Path, generation: Mapping[str, Any], *, layers: int, heads: int) -> AlignmentHeads:
    """The alignment heads of the model in this folder.

    A calibration takes precedence, then `alignment_heads` of its generation config, then the upper half of the layers.
    Pairs that the decoder lacks, as in a reduced checkpoint, are dropped. Raises `ModelError` for an invalid
    calibration or lag.
    """
    for path in (folder / FILE, *_cached(folder)):
        if path.is_file():
            said = _read(path)
            if found := _within(said["alignment_heads"], layers, heads):
                lag = _lag(said, found, path.name) if "alignment_lag" in said else _lag(generation, found)
                return AlignmentHeads(found, "calibrated", lag)
    if found := _within(generation.get("alignment_heads") or (), layers, heads):
        return AlignmentHeads(found, "model", _lag(generation, found))
    upper = tuple((layer, head) for layer in range(layers // 2, layers) for head in range(heads))
    return AlignmentHeads(upper, "assumed", _lag(generation, upper))


def _lag(generation: Mapping[str, Any], pairs: tuple[Head, ...], file: str = "generation_config.json") -> float:
    lag = generation.get("alignment_lag", MEASURED_LAGS.get(tuple(sorted(pairs)), 0.0))
    if isinstance(lag, bool) or not isinstance(lag, int | float) or not -1.0 <= lag <= 1.0:
        raise ModelError(f"alignment_lag in {file} must be -1 to 1 second, got {lag!r}")
    return float(lag)


def save_alignment_heads(
    folder: Path, scores: Mapping[Head, float], *, chosen: Sequence[Head], lag: float, shared: bool
) -> Path:
    """Write a calibration to a model's folder, or to Linnet's cache if the folder is `shared` (in the Hub's cache, or
    embedded); returns the file.

    Raises `OutputError`.
    """
    path = cache_folder() / "alignment_heads" / f"{fingerprint(folder)}.json" if shared else folder / FILE
    rows = [{"layer": layer, "head": head, "score": round(score, 4)} for (layer, head), score in scores.items()]
    data = {"alignment_heads": [list(head) for head in chosen], "alignment_lag": lag, "scores": rows}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write((json.dumps(data, indent=1) + "\n").encode())
    except OSError as error:
        raise OutputError(f"{path}: cannot write the alignment heads: {error.strerror or error}") from error
    return path


def _cached(folder: Path) -> tuple[Path, ...]:
    shelf = cache_folder() / "alignment_heads"
    return (shelf / f"{fingerprint(folder)}.json",) if shelf.is_dir() else ()


def _read(path: Path) -> dict[str, Any]:
    said = load_json(path)
    found = said.get("alignment_heads") if isinstance(said, dict) else None
    if found is None or not PAIRS.allows(found):
        raise ModelError(f"{path} holds no alignment heads: remove it, or run `linnet models align-heads` again")
    return dict(said)


def _within(found: Sequence[Any], layers: int, heads: int) -> tuple[Head, ...]:
    return tuple(dict.fromkeys((a, b) for a, b in found if 0 <= a < layers and 0 <= b < heads))
