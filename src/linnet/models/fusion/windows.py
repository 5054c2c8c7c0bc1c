"""Split clips into windows for the encoder, and count the resulting frames.

Windows of a long clip overlap by `overlap` on each side of a seam, and frames of the overlap are discarded, so every
frame has context on both sides. Seams lie on frame boundaries, so the kept frames of all windows are as many as those
of the whole clip: `SpeechEncoder.frames(samples)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .encoders import SpeechEncoder
from .errors import ModelError
from .frontends import RATE


@dataclass(frozen=True)
class EncoderWindow:
    """Samples `start` to `stop` of a clip: the first `skip` of its frames are dropped, the next `keep` kept."""

    start: int
    stop: int
    skip: int
    keep: int

    @property
    def offset(self) -> float:
        """The start of the window, in seconds of the clip."""
        return self.start / RATE


@dataclass(frozen=True)
class Windowing:
    """The windows of one encoder; `window` and `overlap` are in samples. Create it with `windowing`."""

    kind: SpeechEncoder
    window: int
    overlap: int

    def frames(self, samples: int) -> int:
        """The number of frames of a clip of `samples`, of any length."""
        return self.kind.frames(max(samples, self.kind.shortest))

    def plan(self, samples: int) -> tuple[EncoderWindow, ...]:
        """The windows of a clip of `samples`; together they keep `frames(samples)` frames."""
        samples = max(samples, self.kind.shortest)
        if samples <= self.window:
            return (EncoderWindow(0, samples, 0, self.kind.frames(samples)),)
        step, body = self.kind.step, self.window - 2 * self.overlap
        windows: list[EncoderWindow] = []
        for seam in range(0, samples, body):
            start, stop = max(0, seam - self.overlap), min(samples, seam + body + self.overlap)
            skip = (seam - start) // step
            keep = body // step if stop < samples else self.kind.frames(stop - start) - skip
            windows.append(EncoderWindow(start, stop, skip, keep))
            if stop == samples:
                break
        return tuple(windows)

    def padded_samples(self, counts: Sequence[int]) -> int:
        """The samples that the encoder computes for clips of these lengths, with overlaps and padding."""
        return self.kind.padded_samples([w.stop - w.start for count in counts for w in self.plan(count)])

    def encode(self, encoder: nn.Module, clips: Sequence[Tensor]) -> list[Tensor]:
        """The frames [T, D] of each clip [N], with windows of all clips batched.

        Raises `ModelError` that names a clip with a wrong number of frames.
        """
        clips = [nn.functional.pad(clip, (0, max(0, self.kind.shortest - len(clip)))) for clip in clips]
        plans = [self.plan(len(clip)) for clip in clips]
        pieces = [clip[w.start : w.stop] for clip, plan in zip(clips, plans, strict=True) for w in plan]
        made = iter(self.kind.encode(encoder, pieces))
        whole = [torch.cat([next(made)[w.skip : w.skip + w.keep] for w in plan]) for plan in plans]
        for index, (clip, frames) in enumerate(zip(clips, whole, strict=True)):
            if len(frames) != self.frames(len(clip)):
                raise ModelError(
                    f"clip {index} of the batch ({len(clip) / RATE:.2f} s): {len(frames)} encoder frames where "
                    f"{self.frames(len(clip))} were expected"
                )
        return whole


def windowing(kind: SpeechEncoder, window_seconds: float, overlap_seconds: float) -> Windowing:
    """Windows of at most `window_seconds` and the encoder's limit, aligned to its frames.

    Raises `ModelError` if the overlap is shorter than a frame or leaves nothing between the seams.
    """
    window = int(window_seconds * RATE) if kind.limit is None else min(int(window_seconds * RATE), kind.limit)
    window, overlap = (length // kind.step * kind.step for length in (window, int(overlap_seconds * RATE)))
    if overlap < kind.shortest or window <= 2 * overlap:
        raise ModelError(
            f"windows of {window_seconds} s with overlaps of {overlap_seconds} s are invalid: an overlap must be at "
            f"least {kind.shortest / RATE:.3f} s, on a grid of {kind.step / RATE:.3f} s, and less than half a window"
        )
    return Windowing(kind, window, overlap)
