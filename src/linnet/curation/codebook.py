"""The codebook: k-means units of MFCC frames, learned once from a sample and frozen, so that sounds can be counted.

Shapes: n speech frames of one recording, P training frames, C coefficients, K units, R runs of one unit.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from linnet.curation.mfcc import COEFFICIENTS, Floats
from linnet.errors import ModelError
from linnet.files import cannot_write, whole_file

_LOUDNESS = 0  # the coefficient that depends on gain
_TRUST = 100.0  # weight of the typical mean, in frames (2 s)
_ROUNDS = 25
_BLOCK = 2048  # points per comparison
_LONGEST = 65_535  # frames of a run that fit into 16 bits
_FORMAT = "linnet-codebook-1"


@dataclass(frozen=True)
class CodebookOptions:
    """Options of learning a codebook: `units`, MFCC `coefficients`, number of recordings (`rows`) and total
    `frames`."""

    units: int = 256
    coefficients: int = COEFFICIENTS
    rows: int = 1024
    frames: int = 65_536
    seed: int = 0


@dataclass(frozen=True, eq=False)
class RecordingFrames:
    """Training data from a recording: the mean of its speech frames [C], their number, and some of them [., C]."""

    mean: Floats
    count: int
    frames: Floats

    @classmethod
    def of(cls, features: Floats, most: int) -> Self:
        """Take at most `most` evenly spaced speech frames of a recording [n, C]."""
        places = np.linspace(0, len(features) - 1, min(most, len(features))).round().astype(np.int64)
        mean = features.mean(axis=0, dtype=np.float64) if len(features) else np.zeros(features.shape[1])
        return cls(mean.astype(np.float32), len(features), features[places])


@dataclass(frozen=True, eq=False)
class Codebook:
    """Units by the nearest of `centroids` [K, C], after subtracting a recording's mean from its frames.

    `typical` [C] is the mean of all recordings, mixed in for short recordings, whose own mean reflects only a few
    sounds. `scale` [C] divides each coefficient.
    """

    centroids: Floats
    typical: Floats
    scale: Floats

    def __len__(self) -> int:
        return len(self.centroids)

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits of a hash of the content: codebooks with equal digests yield equal units."""
        found = blake2b(_FORMAT.encode(), digest_size=8)
        for array in self._arrays().values():
            found.update(repr(array.shape).encode())
            found.update(np.ascontiguousarray(array, "<f4").tobytes())
        return found.hexdigest()

    @property
    def coefficients(self) -> int:
        """C."""
        return int(self.centroids.shape[1])

    def encode(self, features: Floats) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
        """The units of a recording's speech frames [n, C], one per run [R], and the number of frames of each run.

        Runs longer than 65,535 frames are split.
        """
        if not len(features):
            return np.zeros(0, np.uint16), np.zeros(0, np.uint16)
        mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
        frames = normalize(features, mean, len(features), self.typical) / self.scale
        return collapse(nearest(frames, self.centroids))

    def _arrays(self) -> dict[str, Floats]:
        return {"centroids": self.centroids, "typical": self.typical, "scale": self.scale}

    def save(self, path: Path, **note: Any) -> None:
        """Write the codebook atomically, with a note of plain values. Raises `OutputError`."""
        from safetensors.numpy import save

        metadata = {"format": _FORMAT, "digest": self.digest, "note": json.dumps(note)}
        try:
            with whole_file(path) as file:
                file.write(save(self._arrays(), metadata))
        except OSError as error:
            raise cannot_write(path, error) from error

    @classmethod
    def load(cls, path: Path) -> tuple[Self, dict[str, Any]]:
        """Load the output of `save` and its note. Raises `ModelError` for a missing or invalid file."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != _FORMAT:
                    raise ModelError(f"{path}: is not a codebook of this version; remove it to learn it again")
                made = cls(*(file.get_tensor(name) for name in ("centroids", "typical", "scale")))
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path}: cannot be read as a codebook ({error}); remove it to learn it again") from error
        if made.digest != metadata["digest"]:
            raise ModelError(f"{path}: is damaged (its content does not fit its hash); remove it to learn it again")
        return made, json.loads(metadata["note"])


def learn(recordings: Sequence[RecordingFrames], options: CodebookOptions | None = None) -> Codebook:
    """Learn a codebook from recordings: k-means (Lloyd, initialized by k-means++) over their frames.

    The same recordings in the same order with the same seed yield the same codebook. With fewer different frames than
    units, each is a unit; without any speech, there is one unit.
    """
    options = options or CodebookOptions()
    heard = [one for one in recordings if one.count]
    if not heard:
        zero = np.zeros(options.coefficients, np.float32)
        return Codebook(zero[None], zero, zero + 1)
    typical: Floats = np.stack([one.mean for one in heard]).mean(axis=0, dtype=np.float64).astype(np.float32)
    points = np.concatenate([normalize(one.frames, one.mean, one.count, typical) for one in heard])
    scale = np.maximum(points.std(axis=0, dtype=np.float64), 1e-3).astype(np.float32)
    return Codebook(k_means(points / scale, options.units, options.seed), typical, scale)


def normalize(frames: Floats, mean: Floats, count: int, typical: Floats) -> Floats:
    """Subtract from frames [., C] of a recording its mean [C] over `count` frames, mixed with `typical` [C].

    The typical mean has the weight of two seconds: the mean of a long recording reflects speaker and channel, that of a
    short one its words. Gain is removed completely.
    """
    share = np.full(len(mean), count / (count + _TRUST), np.float32)
    share[_LOUDNESS] = 1.0
    return frames - (share * mean + (1 - share) * typical)


def collapse(units: NDArray[np.uint16]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """One unit per run of equal units [n], [R], and the lengths of the runs [R].

    >>> [part.tolist() for part in collapse(np.array([7, 7, 2, 7], np.uint16))]
    [[7, 2, 7], [2, 1, 1]]
    """
    starts = np.flatnonzero(np.diff(units.astype(np.int32), prepend=-1))
    lengths = np.diff(starts, append=len(units))
    if lengths.max(initial=0) > _LONGEST:
        pieces = -(-lengths // _LONGEST)
        rest = lengths - (pieces - 1) * _LONGEST
        starts = np.repeat(starts, pieces)
        lengths = np.full(len(starts), _LONGEST)
        lengths[np.cumsum(pieces) - 1] = rest
    return units[starts], lengths.astype(np.uint16)


def nearest(points: Floats, centroids: Floats) -> NDArray[np.uint16]:
    """The nearest centroid [K, C] of each point [P, C]; the first one for ties."""
    half = np.square(centroids).sum(axis=1) / 2
    found = np.empty(len(points), np.uint16)
    for at in range(0, len(points), _BLOCK):
        found[at : at + _BLOCK] = np.argmax(points[at : at + _BLOCK] @ centroids.T - half, axis=1)
    return found


def k_means(points: Floats, units: int, seed: int, rounds: int = _ROUNDS) -> Floats:
    """At most `units` centroids [K, C] of points [P, C], by Lloyd's algorithm with k-means++ initialization."""
    centroids = _plus_plus(points, units, np.random.Generator(np.random.PCG64(seed)))
    owners = nearest(points, centroids)
    for _ in range(rounds):
        counts = np.bincount(owners, minlength=len(centroids))
        sums = np.stack([np.bincount(owners, column, len(centroids)) for column in points.T.astype(np.float64)], axis=1)
        filled = counts > 0  # an empty one is unchanged
        centroids = centroids.copy()
        centroids[filled] = (sums[filled] / counts[filled, None]).astype(np.float32)
        moved = nearest(points, centroids)
        if np.array_equal(moved, owners):
            break
        owners = moved
    return centroids


def _plus_plus(points: Floats, units: int, generator: np.random.Generator) -> Floats:
    """Distant points, sampled by their squared distance (Arthur and Vassilvitskii 2007)."""
    chosen = [int(generator.integers(len(points)))]
    distances = np.square(points - points[chosen[0]]).sum(axis=1, dtype=np.float64)
    while len(chosen) < units and distances.max() > 0.0:
        reached = np.cumsum(distances)
        place = int(np.searchsorted(reached, generator.random() * reached[-1], "right"))
        chosen.append(min(place, len(points) - 1))
        distances = np.minimum(distances, np.square(points - points[chosen[-1]]).sum(axis=1, dtype=np.float64))
    return points[chosen]
