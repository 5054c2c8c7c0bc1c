"""Build the tensors of a causal batch from recordings.

Shapes: B recordings, K points of each, R = B K decoder rows at most, T mel frames, M mel bins, P encoder frames,
L label positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from linnet.models.causal import FRAME_SECONDS
from linnet.training.batch import IGNORED
from linnet.training.causal.features import frame_count, padded_frames, stream_features, window_features
from linnet.training.causal.options import CausalOptions
from linnet.training.causal.points import Rng, random_blocks, random_points, recording_ends
from linnet.training.causal.targets import CausalExample, count_ended, decoder_row
from linnet.training.speech.inputs import padded

Row = tuple[list[int], list[int]]


@dataclass(frozen=True)
class Shape:
    """Model dimensions that batches need: mel bins, samples of the window, decoder positions, end token."""

    mels: int
    window: int
    places: int
    end: int

    @property
    def frames(self) -> int:
        """Encoder frames of the window."""
        return frame_count(self.window, 0)


def causal_tensors(
    examples: Sequence[CausalExample], options: CausalOptions, shape: Shape, rng: Rng, *, windows: bool = False
) -> dict[str, Tensor]:
    """Build features [B, T, M], ends [B, P], inputs and labels [R, L], and each row's recording and frame limit [R].

    Each recording has its own random blocks. Its rows are its points, which all lie on block ends, so that the rows of
    one encoder pass equal those of passes truncated there. For a teacher there are the encoder `frames` of each
    recording [B], and with `windows` the features of whole windows.
    """
    frames = [min(frame_count(len(one.samples), options.tail_pad), shape.frames) for one in examples]
    longest = padded_frames(frames, shape.frames)
    ends: list[np.ndarray] = []
    rows: list[Row] = []
    places: list[tuple[int, int]] = []
    for number, (one, count) in enumerate(zip(examples, frames, strict=True)):
        own = recording_ends(count, random_blocks(rng, count, options), longest)
        ends.append(own)
        late = np.asarray(one.ends) + options.margin + rng.uniform(-options.jitter, options.jitter, len(one.ends))
        for point in random_points(rng, own[:count], options.points):
            row = decoder_row(one.prefix, one.tokens[: count_ended(late, point * FRAME_SECONDS)], shape.end)
            if len(row[0]) <= shape.places:
                rows.append(row)
                places.append((number, point))
    features = stream_features([one.samples for one in examples], longest, mels=shape.mels, peak=options.speech_peak)
    tensors = {"features": features, "ends": torch.as_tensor(np.stack(ends)), "frames": torch.tensor(frames)}
    if windows:
        tensors["windows"] = window_features([one.samples for one in examples], shape.window, mels=shape.mels)
    return {**_rows(rows, places), **tensors}


def window_tensors(examples: Sequence[CausalExample], shape: Shape) -> dict[str, Tensor]:
    """Build the same for whole windows: full attention, and one row with all words per recording."""
    rows: list[Row] = []
    places: list[tuple[int, int]] = []
    for number, one in enumerate(examples):
        row = decoder_row(one.prefix, one.tokens, shape.end)
        if len(row[0]) <= shape.places:
            rows.append(row)
            places.append((number, shape.frames))
    features = window_features([one.samples for one in examples], shape.window, mels=shape.mels)
    ends = torch.full((len(examples), shape.frames), shape.frames)
    frames = torch.tensor([min(frame_count(len(one.samples), 0), shape.frames) for one in examples])
    return {**_rows(rows, places), "features": features, "ends": ends, "frames": frames}


def _rows(rows: Sequence[Row], places: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
    return {
        "inputs": padded([given for given, _ in rows], 0),
        "labels": padded([labels for _, labels in rows], IGNORED),
        "recordings": torch.tensor([number for number, _ in places]),
        "limits": torch.tensor([limit for _, limit in places]),
    }
