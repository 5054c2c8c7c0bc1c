"""Augmentation of training recordings: speed, reverberation, noise, telephone, codec, level, masks.

Each is a function of a recording [N] at 16 kHz and its own random generator, so that their chances are independent.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache

import numpy as np
import soundfile
from scipy import signal

from linnet.audio import SAMPLE_RATE, Samples
from linnet.audio.effects import colored, mu_law, resample, room_response, unit
from linnet.training.speech.recipe import AugmentOptions

Rng = np.random.Generator
_CODECS = (  # container, codec, sampling rate in kHz, range of libsndfile's compression level
    ("WAV", "GSM610", 8, None),  # 13 kbit/s
    ("OGG", "OPUS", 16, (0.88, 0.98)),  # about 40 to 12 kbit/s
    ("MP3", "MPEG_LAYER_III", 16, (0.5, 0.8)),  # about 35 to 22 kbit/s
)
_BANDS, _HIGHEST, _WIDEST, _LONGEST, _SHARE = 80, 8000.0, 27, 1.0, 0.1  # SpecAugment: mel bins, Hz, F, T in s, p
_WINDOW, _HOP = 400, 160
SLOWEST = 0.9


def augmented(samples: Samples, options: AugmentOptions, key: Sequence[int], *, longest: float = np.inf) -> Samples:
    """An augmented recording [N]; N changes by at most 10 % and stays within `longest` seconds.

    The result depends on the integers `key` alone, such as seed, epoch and row.

    >>> len(augmented(np.zeros(16000, np.float32), AugmentOptions(), (0, 0, 7), longest=1.0)) <= 16000
    True
    """
    for number, (name, chance) in enumerate(asdict(options).items()):
        random = np.random.default_rng([*key, number])
        if random.random() < chance:
            changed = EFFECTS[name](samples, random)
            if len(changed) <= max(len(samples), longest * SAMPLE_RATE):
                samples = changed
    return samples.astype(np.float32, copy=False)


def speed(samples: Samples, random: Rng) -> Samples:
    """Up to 10 % faster or slower, with pitch."""
    return resample(samples, float(random.uniform(SLOWEST, 1.1)))


def reverberant(samples: Samples, random: Rng) -> Samples:
    """With synthetic reverberation."""
    changed: Samples = signal.fftconvolve(samples, room_response(random))[: len(samples)].astype(np.float32)
    return changed


def noisy(samples: Samples, random: Rng) -> Samples:
    """With noise between white and brown, at 5 to 30 dB SNR."""
    level = np.float32(np.sqrt(np.mean(np.square(samples)))) * np.float32(10 ** (-random.uniform(5, 30) / 20))
    return samples + level * colored(random, len(samples), float(random.uniform(0, 2)))[: len(samples)]


def telephone(samples: Samples, random: Rng) -> Samples:
    """Through the 8-bit quantizer of a telephone line, at the level of quiet speech."""
    del random
    return mu_law(unit(samples) * np.float32(0.1), 8)


def coded(samples: Samples, random: Rng) -> Samples:
    """Through a lossy codec: GSM (telephone band), Opus or MP3, as far as libsndfile supports them."""
    if not codecs() or len(samples) < _WINDOW:
        return samples
    form, kind, rate, levels = codecs()[int(random.integers(len(codecs())))]
    scale = max(float(np.abs(samples).max()), 1e-6) / 0.9  # codecs clip at 1
    given = signal.resample_poly(samples / scale, rate, SAMPLE_RATE // 1000)
    options = {} if levels is None else {"compression_level": float(random.uniform(*levels))}
    file = io.BytesIO()
    soundfile.write(file, given, rate * 1000, format=form, subtype=kind, **options)
    file.seek(0)
    back = soundfile.read(file, dtype="float32")[0][: len(given)]  # codecs pad the last block
    changed = signal.resample_poly(back, SAMPLE_RATE // 1000, rate)[: len(samples)] * scale
    return np.pad(changed, (0, len(samples) - len(changed))).astype(np.float32)


@cache
def codecs() -> tuple[tuple[str, str, int, tuple[float, float] | None], ...]:
    """The codecs that libsndfile can write: container, name, kHz, range of compression levels."""
    return tuple(codec for codec in _CODECS if codec[1] in soundfile.available_subtypes(codec[0]))


def louder(samples: Samples, random: Rng) -> Samples:
    """At another level, -12 to 6 dB."""
    return samples * np.float32(10 ** (random.uniform(-12, 6) / 20))


def masked(samples: Samples, random: Rng) -> Samples:
    """SpecAugment (Park et al. 2019, https://arxiv.org/abs/1904.08779) on the waveform, for any front end.

    Silences two bands of up to 27 of 80 mel bins, and two spans of up to 1 s and 10 % of the recording.
    """
    if len(samples) < 2 * _WINDOW:
        return samples
    transform = signal.ShortTimeFFT(signal.windows.hann(_WINDOW, sym=False), _HOP, SAMPLE_RATE)
    spectrum = transform.stft(samples)  # [frequencies, frames]
    for low, high in bands(random):
        spectrum[(transform.f >= low) & (transform.f < high)] = 0
    times = transform.t(len(samples))
    for start, end in stretches(random, len(samples) / SAMPLE_RATE):
        spectrum[:, (times >= start) & (times < end)] = 0
    changed: Samples = transform.istft(spectrum, k1=len(samples)).astype(np.float32)
    return changed


def bands(random: Rng) -> list[tuple[float, float]]:
    """Two frequency bands to silence, in Hz; uniform on the mel scale (HTK's formula)."""
    whole = 2595 * np.log10(1 + _HIGHEST / 700)
    found: list[tuple[float, float]] = []
    for _ in range(2):
        width = random.uniform(0, _WIDEST)
        first = random.uniform(0, _BANDS - width)
        low, high = (700 * (10 ** (edge / _BANDS * whole / 2595) - 1) for edge in (first, first + width))
        found.append((float(low), float(high)))
    return found


def stretches(random: Rng, seconds: float) -> list[tuple[float, float]]:
    """Two time spans to silence in a recording of this length, in seconds."""
    found: list[tuple[float, float]] = []
    for _ in range(2):
        width = random.uniform(0, min(_LONGEST, _SHARE * seconds))
        start = random.uniform(0, seconds - width)
        found.append((float(start), float(start + width)))
    return found


EFFECTS: dict[str, Callable[[Samples, Rng], Samples]] = {
    "speed": speed,
    "reverb": reverberant,
    "noise": noisy,
    "telephone": telephone,
    "codec": coded,
    "level": louder,
    "masks": masked,
}
