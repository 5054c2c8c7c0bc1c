"""Voice activity: how probable speech is in each 32 ms of a recording, and the regions that hold it.

The network is Silero VAD 6 (https://github.com/snakers4/silero-vad, MIT): its weights come from the wheel `silero-vad`,
whose code is not imported, since that sets the process to one thread. A test holds this file to the wheel's own model.

Shapes: N samples, F frames of 512 samples, B blocks side by side.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from linnet.audio.types import Samples
from linnet.errors import ModelError

FRAME = 512  # samples
BLOCK = 512 * FRAME  # samples that are looked at together: 16.4 s
_CONTEXT = 64  # samples before a frame that its network sees
_WARM_UP = 64 * FRAME  # samples before a block in which the network's memory settles: 2 s
_WEIGHTS = Path("data") / "silero_vad.jit"  # the wheel's safetensors file is of an older release
_FLOOR, _LOUD, _MOST_GAIN = -100.0, -20.0, 40.0  # dB
_NAMES = {
    "stft_conv.weight": "stft.forward_basis_buffer",
    **{f"conv{n + 1}.{part}": f"encoder.{n}.reparam_conv.{part}" for n in range(4) for part in ("weight", "bias")},
    **{f"lstm.{part}_l0": f"decoder.rnn.{part}" for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")},
    **{f"final_conv.{part}": f"decoder.decoder.2.{part}" for part in ("weight", "bias")},
}


class Frames(NamedTuple):
    """Two numbers for each frame, [F] each: the probability of speech, and the level in dB below full scale."""

    probability: npt.NDArray[np.float32]
    level: npt.NDArray[np.float32]


class Region(NamedTuple):
    """Speech from sample `start` to `end`; `joined`: cut from the region before it, in the middle of speech."""

    start: int
    end: int
    joined: bool = False


@dataclass(frozen=True)
class Sensitivity:
    """When frames are speech. The defaults rather take noise for speech than drop a word: a model listens after them.

    A region opens at a frame of probability `on` and ends before the first of `pause` frames below `off`. One that
    stands alone and has fewer than `least` frames of probability `sure` is noise: a door, a cry, a tone.
    """

    on: float = 0.3
    off: float = 0.15
    pause: int = 4  # frames: 128 ms
    sure: float = 0.5
    least: int = 0  # 0: every region is speech


class SileroNetwork(nn.Module):
    """Silero VAD at 16 kHz, many frames at once: only its LSTM runs frame by frame."""

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(129, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm = nn.LSTM(128, 128, batch_first=True)
        self.final_conv = nn.Conv1d(128, 1, 1)

    def forward(self, samples: Tensor) -> Tensor:
        """Probabilities [B, F] of waveforms [B, 64 + F * 512], each read from an empty memory."""
        blocks = samples.shape[0]
        framed = samples.unfold(1, _CONTEXT + FRAME, FRAME).flatten(0, 1)  # [B * F, 576]
        framed = nn.functional.pad(framed, (0, 64), mode="reflect")[:, None]
        real, imaginary = self.stft_conv(framed).chunk(2, dim=1)
        features = (real.square() + imaginary.square()).sqrt()  # [B * F, 129, 4]
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            features = layer(features).relu()
        hidden, _ = self.lstm(features.view(blocks, -1, 128))  # [B, F, 128]
        logits: Tensor = self.final_conv(hidden.relu().transpose(1, 2))
        return logits.squeeze(1).sigmoid()


@lru_cache(maxsize=1)
def load_network() -> SileroNetwork:
    """The network with the weights of the installed wheel. Raises `ModelError` where they are missing or damaged."""
    spec = importlib.util.find_spec("silero_vad")
    if spec is None or spec.origin is None:
        raise ModelError("voice activity needs the package silero-vad: pip install silero-vad, or use --no-vad")
    path = Path(spec.origin).parent / _WEIGHTS
    network = SileroNetwork()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated; only the weights are taken from it
            weights = torch.jit.load(path, map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
        network.load_state_dict({ours: weights[f"_model.{theirs}"] for ours, theirs in _NAMES.items()})
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise ModelError(
            f"the voice activity model {path} cannot be used ({type(error).__name__}): "
            "pip install --upgrade silero-vad, or use --no-vad"
        ) from error
    return network.eval().requires_grad_(False)


def watch(blocks: Iterable[Samples]) -> Iterator[Frames]:
    """The frames of each block of a recording; a block holds `BLOCK` samples, the last may hold fewer.

    The network's memory drifts over minutes of sound (silero-vad #725), so each block starts from an empty one and
    reads 2 s of the block before it first. What it says of a frame so depends on the last 2 to 18 s only, however long
    the recording is. It is deaf to quiet voices: a block without a loud frame is amplified for it.
    """
    network = load_network()
    before = np.zeros(_CONTEXT + _WARM_UP, np.float32)
    warm = 0  # frames of `before` that are of the recording
    for block in blocks:
        count = -(-len(block) // FRAME)
        padded = np.zeros(count * FRAME, np.float32)
        padded[: len(block)] = block
        sound = np.concatenate([before[len(before) - _CONTEXT - warm * FRAME :], padded])
        levels = _levels(padded)
        with torch.inference_mode():
            probability = network(torch.from_numpy(sound * _gain(levels))[None])[0, warm:].numpy()
        yield Frames(probability, levels)
        before = np.concatenate([before, padded])[-len(before) :]
        warm = min(warm + count, _WARM_UP // FRAME)


def _levels(padded: Samples) -> npt.NDArray[np.float32]:
    power = np.square(padded.reshape(-1, FRAME), dtype=np.float64).mean(1)
    levels: npt.NDArray[np.float32] = (10.0 * np.log10(power + 10.0 ** (_FLOOR / 10))).astype(np.float32)
    return levels


def _gain(levels: npt.NDArray[np.float32]) -> np.float32:
    """What brings the loudest frame to `_LOUD` dB, by `_MOST_GAIN` dB at most; nothing is made quieter."""
    return np.float32(10.0 ** (min(max(_LOUD - float(levels.max()), 0.0), _MOST_GAIN) / 20))


class RegionFinder:
    """Frames in order to regions of speech, each given as soon as it has ended; none longer than `longest` samples.

    Speech that goes on for longer is cut in the second half of that, where a frame is quietest and least like speech;
    what follows the cut is `joined`. Regions are of whole frames, so the last may end after the recording does.
    """

    def __init__(self, longest: int, sensitivity: Sensitivity | None = None) -> None:
        self._longest = max(longest // FRAME, 2)
        self._sensitivity = sensitivity or Sensitivity()
        self._now = 0  # frames so far
        self._start: int | None = None  # of the open region
        self._end = 0  # after its last frame of speech
        self._joined = False
        self._sure = 0  # frames of the open region that are speech for certain
        self._scores: list[float] = []  # for each frame of the open region: low is a good place to cut

    @property
    def settled(self) -> int:
        """The sample before which no further region will start."""
        return (self._now if self._start is None else self._start) * FRAME

    def push(self, frames: Frames) -> list[Region]:
        """The regions that these frames complete."""
        found = []
        for probability, level in zip(frames.probability.tolist(), frames.level.tolist(), strict=True):
            region = self._step(probability, level)
            if region is not None:
                found.append(region)
        return found

    def _step(self, probability: float, level: float) -> Region | None:
        if self._start is None and probability >= self._sensitivity.on:
            self._start, self._joined, self._sure = self._now, False, 0
        self._now += 1
        if self._start is None:
            return None
        self._scores.append(level + 30.0 * probability)
        self._sure += probability >= self._sensitivity.sure
        if probability >= self._sensitivity.off:
            self._end = self._now
        if self._now - self._end >= self._sensitivity.pause:
            return self._close(self._start)
        return self._cut(self._start) if self._end - self._start > self._longest else None

    def _close(self, start: int) -> Region | None:
        """The open region; None where it is noise."""
        self._start, self._scores = None, []
        noise = self._sure < self._sensitivity.least and not self._joined
        return None if noise else Region(start * FRAME, self._end * FRAME, self._joined)

    def _cut(self, start: int) -> Region:
        half = self._longest // 2
        place = start + half + int(np.argmin(self._scores[half : self._longest])) + 1
        region = Region(start * FRAME, place * FRAME, self._joined)
        del self._scores[: place - start]
        self._start, self._joined = place, True
        return region

    def finish(self) -> list[Region]:
        """The region that the end of the recording closes."""
        region = None if self._start is None else self._close(self._start)
        return [] if region is None else [region]
