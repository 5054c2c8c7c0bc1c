"""What happens to a training sound on its way: speed, room, noise, line, level."""

from __future__ import annotations

import numpy as np
from scipy import signal

from linnet.audio import SAMPLE_RATE, Samples
from linnet.training.digits.augment import coloured, mu_law, resample, room, unit


def augmented(samples: Samples, random: np.random.Generator, *, longest: float = np.inf) -> Samples:
    """A sound [N] in another place: N changes by a tenth at most, and stays within `longest` seconds where it was.

    Half of the sounds are up to a tenth faster or slower, three tenths are in a room, half have noise 5 to 30 dB below
    them, one in ten goes through a telephone's 8-bit quantiser; all have another level, -12 to 6 dB.

    >>> len(augmented(np.zeros(16000, np.float32), np.random.default_rng(0), longest=1.0)) <= 16000
    True
    """
    if random.random() < 0.5:
        factor = float(random.uniform(0.9, 1.1))
        if len(samples) / factor <= longest * SAMPLE_RATE:
            samples = resample(samples, factor)
    if random.random() < 0.3:
        samples = signal.fftconvolve(samples, room(random))[: len(samples)].astype(np.float32)
    if random.random() < 0.5:
        level = float(np.sqrt(np.mean(np.square(samples)))) * 10 ** (-random.uniform(5, 30) / 20)
        samples = samples + level * coloured(random, len(samples), float(random.uniform(0, 2)))[: len(samples)]
    if random.random() < 0.1:
        samples = mu_law(unit(samples) * np.float32(0.1), 8)
    return (samples * np.float32(10 ** (random.uniform(-12, 6) / 20))).astype(np.float32)
