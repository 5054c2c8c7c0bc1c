"""Sound and background, frame by frame: made sounds of known edges."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from linnet.alignment.activity import presence
from linnet.audio.types import SAMPLE_RATE


@pytest.mark.parametrize("noise", [0.0, 1e-4, 1e-2])
def test_presence_finds_the_edges_of_sound_in_any_background(noise: float) -> None:
    rng = np.random.default_rng(0)
    samples = (noise * rng.standard_normal(2 * SAMPLE_RATE)).astype(np.float32)
    time = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    samples[SAMPLE_RATE // 2 : SAMPLE_RATE] += (0.2 * np.sin(2 * np.pi * 300 * time)).astype(np.float32)
    found = presence(samples)
    runs = [list(run) for loud, run in itertools.groupby(range(200), lambda frame: found.score[frame] > 0) if loud]
    heard = max(runs, key=len)  # a frame of noise may stand out too
    assert found.score.shape == found.level.shape == (200,)
    assert abs(heard[0] - 50) <= 2
    assert abs(heard[-1] - 99) <= 2
    assert (found.score[53:97] == 1.0).all()
    outside = np.concatenate([found.score[:45], found.score[105:]])
    assert (outside < 0).mean() > 0.8


def test_presence_of_nothing_and_of_digital_silence() -> None:
    assert presence(np.zeros(0, np.float32)).score.shape == (0,)
    assert presence(np.zeros(161, np.float32)).score.tolist() == pytest.approx([-2 / 3, -2 / 3])
