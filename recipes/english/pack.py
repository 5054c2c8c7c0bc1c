"""From a Whisper model and its statistics to a packed folder of a given size."""

# V vocabulary, D width

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from linnet.models.packed import FILE, Packed, write_packed

from .rounding import Matrix, expected_bits, round_matrix
from .statistics import HEAD, Statistics

POSITIONS = "model.encoder.embed_positions.weight"
PLAIN = ("config.json", "generation_config.json", "preprocessor_config.json", "tokenizer_config.json")
_NEAR = 0.01  # of the size: what a packed file may stay below it
_TRIES = 12
_FARTHEST = 60.0  # doublings of a step of 1, up or down
_TEXT_TOKENS = 50257  # of Whisper's English vocabulary: 1,607 special tokens and times follow


@dataclass(frozen=True)
class Settings:
    """How far statistics are trusted. `damping` of H and `floor` of f are shares of their means.

    `prior` is the weight, beside the calibration's own counts, of a token's rank in the vocabulary, whose order is that
    of frequency in general text (Zipf); `temper` is the power of a token's probability by which it counts, so that rare
    words keep bits too.
    """

    damping: float = 0.02
    floor: float = 0.1
    prior: float = 0.33
    temper: float = 0.5


def matrices(weights: Mapping[str, Tensor], statistics: Statistics, settings: Settings) -> dict[str, Matrix]:
    """All weights that are rounded, with what their errors cost; all numbers in float64."""
    found = {}
    for name, moments in statistics.layers.items():
        inputs, outputs = moments.inputs / moments.rows, moments.outputs / statistics.windows
        found[name] = Matrix(weights[name].double(), inputs, outputs).damped(settings.damping, settings.floor)
    found[HEAD] = _table(weights[HEAD].double(), statistics, settings)
    return found


def pack(
    weights: Mapping[str, Tensor], rounded: Mapping[str, Matrix], step: float, files: Mapping[str, bytes]
) -> Packed:
    """The packed model for one `step`: what is not rounded as float16, the encoder's positions computed."""
    codes = {name: round_matrix(matrix, step) for name, matrix in rounded.items()}
    rest = {
        name: tensor.to(torch.float16).numpy()
        for name, tensor in weights.items()
        if name not in codes and name not in (POSITIONS, "proj_out.weight")
    }
    positions, width = weights[POSITIONS].shape
    return Packed(codes, rest, {POSITIONS: (int(positions), int(width))}, files)


def pack_to_size(
    weights: Mapping[str, Tensor], rounded: Mapping[str, Matrix], size: int, files: Mapping[str, bytes]
) -> tuple[Packed, float]:
    """The packed model of at most `size` bytes, and near it, and its step.

    A step half as large takes a bit more for each weight, so few tries lead there. Raises `ValueError` where they do
    not.
    """
    numbers = sum(matrix.weight.numel() for matrix in rounded.values())
    bits = sum(expected_bits(matrix, 1.0) for matrix in rounded.values())
    target, slope = size * (1 - _NEAR / 2), -numbers / 8  # bytes for each doubling of the step
    place, last = (bits - 8 * target) / numbers, None
    for _ in range(_TRIES):
        made = pack(weights, rounded, 2.0**place, files)
        found = packed_size(made)
        if abs(found - target) <= size * _NEAR / 2:
            return made, 2.0**place
        if last is not None and place != last[0]:
            slope = min((found - last[1]) / (place - last[0]), -numbers / 80)
        last = (place, found)
        place = min(max(place + (target - found) / slope, -_FARTHEST), _FARTHEST)
    raise ValueError(f"no step packs this model into {size:,} bytes and no fewer than {size * (1 - _NEAR):,.0f}")


def write_folder(packed: Packed, source: Path, folder: Path, card: str) -> None:
    """A packed model folder with the settings of its source and a card."""
    folder.mkdir(parents=True)
    write_packed(folder / FILE, packed)
    for name in PLAIN:
        shutil.copyfile(source / name, folder / name)
    shutil.copyfile(Path(__file__).with_name("LICENSE.whisper"), folder / "LICENSE")
    (folder / "README.md").write_text(card, encoding="utf-8")


def compact_tokenizer(source: Path) -> dict[str, bytes]:
    """tokenizer.json without its indentation."""
    plain = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    return {"tokenizer.json": json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()}


def _table(weight: Tensor, statistics: Statistics, settings: Settings) -> Matrix:
    """The token table: its errors count where tokens go in and where the next one is chosen."""
    felt = statistics.heard.sum() / statistics.used.sum()
    inputs = (felt * statistics.hidden + statistics.embedding) / statistics.tokens
    share = (1 - settings.prior) / 2
    seen = share * (_shares(statistics.used) + _shares(statistics.heard))
    chances = seen + settings.prior * _shares(_zipf(len(weight)))
    counts = chances**settings.temper
    counts *= chances.square().sum() / (counts * chances).sum()  # as much, over what is said, as the chances themselves
    return Matrix(weight, inputs, counts * statistics.used.sum() / statistics.windows).damped(settings.damping, 0.0)


def _zipf(size: int) -> Tensor:
    """How often tokens come by their rank in the vocabulary; special tokens and times as words of a middling rank."""
    ranks = torch.arange(size, dtype=torch.float64)
    ranks[_TEXT_TOKENS:] = 2_000.0
    return 1 / (ranks + 100)


def _shares(counts: Tensor) -> Tensor:
    shares: Tensor = counts / counts.sum()
    return shares


def packed_size(packed: Packed) -> int:
    """Bytes of the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        write_packed(path, packed)
        return path.stat().st_size
