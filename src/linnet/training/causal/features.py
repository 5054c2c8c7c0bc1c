"""Features of recordings, as in streaming and as in a whole window of a non-causal model.

Shapes: B recordings, N samples, T mel frames (10 ms), M mel bins.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from linnet.audio.mel import LogMel, log_mel, scale_causal
from linnet.audio.types import Samples
from linnet.models.causal import FRAME_SAMPLES


def frame_count(samples: int, tail: int) -> int:
    """Number of encoder frames of `samples` samples and `tail` frames of silence."""
    return -(-samples // FRAME_SAMPLES) + tail


def padded_frames(frames: Sequence[int], most: int) -> int:
    """Encoder frames to pad a batch to: one more than the longest recording, if the window allows.

    So the last frame of each is followed by silence, as in a stream, and not by the edge of the features.
    """
    return min(max(frames) + 1, most)


def stream_features(recordings: Sequence[Samples], frames: int, *, mels: int, peak: float) -> Tensor:
    """Log-mel [B, T, M] with T = 2 x `frames`, scaled by the running peak, starting at `peak`."""
    waves = _padded(recordings, (frames + 1) * FRAME_SAMPLES)
    scaled, _ = scale_causal(LogMel(mels).finish(waves), peak)
    return torch.from_numpy(np.ascontiguousarray(scaled[:, : 2 * frames], np.float32))


def window_features(recordings: Sequence[Samples], samples: int, *, mels: int) -> Tensor:
    """Log-mel [B, T, M] of windows of `samples` samples, scaled as in Whisper."""
    return torch.from_numpy(np.ascontiguousarray(log_mel(_padded(recordings, samples), mels), np.float32))


def _padded(recordings: Sequence[Samples], samples: int) -> Samples:
    waves = np.zeros((len(recordings), samples), np.float32)
    for row, recording in enumerate(recordings):
        waves[row, : len(recording)] = recording[:samples]
    return waves
