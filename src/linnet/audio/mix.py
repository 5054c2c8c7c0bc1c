"""Mix the channels of a block to mono: scaled, finite, and not canceled out.

Shapes: n frames of a block, C channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from linnet.audio.types import Samples
from linnet.errors import AudioError, OptionError

if TYPE_CHECKING:
    from linnet.audio.decoders import AudioDecoder

    Block = npt.NDArray[np.float32]  # [n, C]

_LOUDEST = 4.0  # 12 dB over full scale, the most that a mix of tracks reaches; more is another scale, or not audio
_STRAY = 1e-4  # the share of samples beyond it that may be clicks or damage
_ABSURD = 2.0**40  # beyond the scale of any recorder
_CANCELED = 0.02  # of the power of the mean of C uncorrelated channels: in stereo a correlation below -0.98
_STEP = 0.25  # seconds per measurement
_AUDIBLE = 1e-8  # power of a channel, -80 dB
_SIDES = {"left": 0, "right": 1}


def measure_scale(decoder: AudioDecoder) -> float:
    """The power of two that scales float samples to full scale 1; reads `decoder` to its end. 1 unless more than a few
    samples are far beyond full scale, as for 16-bit values stored as floats: then all but those few are scaled to
    within it.

    A power of two is exact.
    """
    total, exponents = 0, np.zeros(64, np.int64)
    while len(block := decoder.read()):
        size = np.abs(block)
        total += int(np.count_nonzero(size))
        loud = size[(size > _LOUDEST) & (size < _ABSURD)]
        exponents += np.bincount(np.frexp(loud)[1], minlength=64)  # e where 2**(e - 1) <= size < 2**e
    beyond = exponents[::-1].cumsum()[::-1]  # for each e, the number of samples above 2**(e - 1)
    return float(0.5 ** int(np.argmax(beyond[1:] <= _STRAY * total)))


class _Tally:
    """The number of frames found, and the second of the first."""

    def __init__(self) -> None:
        self.frames, self.first = 0, 0.0

    def add(self, found: npt.NDArray[np.bool_], at: float, rate: int) -> None:
        """Count the frames of a block [n] that starts at `at` seconds."""
        if found.any() and not self.frames:
            self.first = at + int(found.argmax()) / rate
        self.frames += int(found.sum())


class Mixer:
    """Mixes successive blocks to mono and collects notices."""

    def __init__(self, channel: str, channels: int, name: str) -> None:
        self._channel = _channel_index(channel, channels, name)
        self._name = name
        self._scale = 1.0
        self._frames = 0
        self._bad, self._partly = _Tally(), _Tally()  # in all channels, in some of them
        self._kinds, self._refused = set[str](), False
        self._canceled, self._first_canceled = 0.0, 0.0
        self._missing: list[str] = []

    def measure(self, decoder: AudioDecoder) -> None:
        """Determine the scale of a recording with its own decoder."""
        self._scale = measure_scale(decoder)

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences on the recording so far, without its name."""
        said = list(self._missing)
        if self._scale != 1.0:
            said.append(f"its samples reach far beyond full scale 1: all were divided by {1 / self._scale:,.0f}.")
        if self._partly.frames:
            said.append(
                f"{self._partly.frames:,} of {self._frames:,} samples are {self._what()} in some channels, the "
                f"first at {self._partly.first:.3f} s: the other channels were used there."
            )
        if self._bad.frames and not self._refused:
            said.append(
                f"{self._bad.frames:,} of {self._frames:,} samples are {self._what()}, the first at "
                f"{self._bad.first:.3f} s: they were replaced by silence."
            )
        if self._canceled:
            said.append(
                f"its channels cancel each other out for {self._canceled:.1f} s, from {self._first_canceled:.1f} s "
                "on (one is inverted): a single channel was read there; choose a channel to read it throughout."
            )
        return tuple(said)

    def mono(self, block: Block, at: float, rate: int) -> Samples:
        """Mix a block that starts at `at` seconds; returns [n]."""
        chosen = self._choose(block, at)
        if self._scale != 1.0:
            with np.errstate(invalid="ignore"):  # some kinds of NaN
                chosen = chosen * np.float32(self._scale)
        self._frames += len(chosen)
        if not np.abs(chosen).max() <= _LOUDEST:
            chosen = self._silence_bad(chosen, at, rate)
        if chosen.shape[1] == 1:
            return chosen.reshape(-1)
        step = max(1, round(_STEP * rate))
        starts = range(0, len(chosen), step)
        return np.concatenate([self._mixed(chosen[one : one + step], at + one / rate, rate) for one in starts])

    def _mixed(self, part: Block, at: float, rate: int) -> Samples:
        """The mean of the channels, or one channel if they cancel out."""
        mean: Samples = part.mean(axis=1, dtype=np.float64).astype(np.float32)
        power = np.array([_power(part[:, channel]) for channel in range(part.shape[1])])
        if power.mean() < _AUDIBLE or _power(mean) > _CANCELED * power.mean() / len(power):
            return mean
        self._first_canceled = self._first_canceled if self._canceled else at
        self._canceled += len(mean) / rate
        loud: Samples = part[:, int(np.argmax(power >= power.max() / 2))]  # the first of them: the same throughout
        return loud

    def check(self) -> None:
        """Raise `AudioError` if most samples are invalid."""
        if 2 * self._bad.frames > self._frames:
            self._refused = True
            raise AudioError(
                f"{self._name}: {self._bad.frames} of {self._frames} samples are {self._what()}, the first at "
                f"{self._bad.first:.3f} s; export it again, fix the program that wrote it, or choose a valid "
                "channel (--channel)"
            )

    def _choose(self, block: Block, at: float) -> Block:
        if self._channel is None:
            return block
        if self._channel < block.shape[1]:
            return block[:, self._channel : self._channel + 1]
        if not self._missing:
            self._missing.append(f"from {at:.1f} s on it has no channel {self._channel}: the mix was read there.")
        return block

    def _silence_bad(self, chosen: Block, at: float, rate: int) -> Block:
        """Replace samples that are not numbers or absurdly large, and count their frames: by the mean of the other
        channels, or by silence.
        """
        bad = ~(np.abs(chosen) <= _LOUDEST)
        channels, found = bad.shape[1], np.count_nonzero(bad, axis=1)  # the latter in each frame
        self._bad.add(found == channels, at, rate)
        self._partly.add((found > 0) & (found < channels), at, rate)
        values = chosen[bad]
        kinds = {"NaN": np.isnan(values), "infinite": np.isinf(values), "absurdly large": np.isfinite(values)}
        self._kinds |= {kind for kind, found in kinds.items() if found.any()}
        kept = np.where(bad, np.float32(0.0), chosen)
        others = kept.sum(axis=1, keepdims=True) / np.maximum(channels - found, 1)[:, None]
        return np.where(bad, others.astype(np.float32), chosen)

    def _what(self) -> str:
        return " and ".join(kind for kind in ("NaN", "infinite", "absurdly large") if kind in self._kinds)


def _power(samples: Samples) -> float:
    """The AC power of samples [n]: their variance."""
    return float(samples @ samples) / len(samples) - float(samples.mean()) ** 2


def _channel_index(channel: str, channels: int, name: str) -> int | None:
    """The index of the chosen channel, None for the mean. Raises `OptionError` if it does not exist."""
    word = str(channel).strip().lower()
    if word == "mix":
        return None
    index = _SIDES.get(word, int(word) if word.isascii() and word.isdigit() else -1)
    if 0 <= index < channels:
        return index
    there = "1 channel (0)" if channels == 1 else f"{channels} channels (0 to {channels - 1})"
    raise OptionError(f"channel {channel!r}: {name} has {there}; choose one of them, or mix")
