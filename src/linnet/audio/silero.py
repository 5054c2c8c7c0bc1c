"""The voice activity network: the probability of speech per 32 ms, computed with NumPy from the wheel's weights.

It is Silero VAD 6 at 16 kHz (https://github.com/snakers4/silero-vad, MIT). Only the weights are taken from the wheel
`silero-vad`: its code sets the process to one thread, and PyTorch takes a second to import. A test compares this file
with the wheel's own model.

Shapes: F frames of 512 samples, L positions within a frame, C channels, M memories.
"""

from __future__ import annotations

import importlib.util
import math
import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from linnet.audio.types import Samples
from linnet.errors import ModelError

FRAME = 512  # samples
CONTEXT = 64  # samples of context before each frame
_WEIGHTS = Path("data") / "silero_vad.jit"  # the wheel's safetensors file is from an older release
_WINDOW, _STEP, _BINS = 256, 128, 129  # of the spectrum within a frame
_STRIDES = (1, 2, 2, 1)  # of the four convolutions

Floats = NDArray[np.float32]
Memory = tuple[Floats, Floats]  # what the LSTM holds, and its cell, [M, 128] each


@dataclass(frozen=True)
class SileroNetwork:
    """Silero VAD at 16 kHz for many frames at once; only the LSTM runs frame by frame."""

    spectrum: Floats  # [256, 258]: cosines, then sines
    convolutions: tuple[tuple[Floats, Floats], ...]  # kernels [3 * C in, C out] and biases [C out]
    lstm: tuple[Floats, Floats, Floats]  # for input and memory [128, 512], and biases [512]: in, forget, out, new
    last: tuple[Floats, Floats]  # [128], []

    def __call__(self, samples: Samples) -> Floats:
        """Probabilities [F] for a waveform [64 + F * 512], from a zero state."""
        (found,), _ = self.resume(samples, self.empty())
        return np.asarray(found)

    def empty(self) -> Memory:
        """One zero state, before the first frame."""
        size = self.lstm[1].shape[0]
        return np.zeros((1, size), np.float32), np.zeros((1, size), np.float32)

    def resume(self, samples: Samples, memory: Memory) -> tuple[Floats, Memory]:
        """Probabilities [M, F] for a waveform [64 + F * 512] that continues from M states, and the states after it.

        All but the LSTM is computed once for all of them.
        """
        framed = sliding_window_view(samples, CONTEXT + FRAME)[::FRAME]
        framed = np.concatenate([framed, framed[:, -2 : -CONTEXT - 2 : -1]], 1)  # reflected at the end
        waves = sliding_window_view(framed, _WINDOW, 1)[:, ::_STEP] @ self.spectrum  # [F, L, 258]
        hidden = np.sqrt(np.square(waves[..., :_BINS]) + np.square(waves[..., _BINS:]))
        for (kernel, bias), stride in zip(self.convolutions, _STRIDES, strict=True):
            hidden = _convolve(hidden, kernel, bias, stride)
        held, cell = self._remember(hidden[:, 0], memory)
        weight, bias = self.last
        logits = np.maximum(held, 0.0) @ weight + bias
        probability: Floats = (0.5 + 0.5 * np.tanh(0.5 * logits)).astype(np.float32)
        return probability.T, (held[-1].copy() if len(held) else memory[0], cell)

    def _remember(self, features: Floats, memory: Memory) -> tuple[Floats, Floats]:
        """The hidden states of the LSTM after each frame, [F, M, 128], and its cells after the last.

        The gates are sigmoid(x) = (1 + tanh(x / 2)) / 2, so that one call of tanh serves all four.
        """
        for_input, for_memory, biases = self.lstm
        count, size = memory[0].shape
        gates_in = features @ for_input + biases
        hidden = np.zeros((len(features) + 1, count, size), np.float32)
        hidden[0], cell, gates = memory[0], memory[1].copy(), np.empty((count, 4 * size), np.float32)
        opened, new = gates[:, : 3 * size], gates[:, 3 * size :]
        enter, forget, leave = np.split(opened, 3, axis=1)
        for frame, given in enumerate(gates_in):
            np.dot(hidden[frame], for_memory, out=gates)
            gates += given
            np.tanh(gates, out=gates)
            opened += 1.0
            opened *= 0.5
            cell *= forget
            enter *= new
            cell += enter
            np.multiply(np.tanh(cell), leave, out=hidden[frame + 1])
        return hidden[1:], cell


def joined(*memories: Memory) -> Memory:
    """All states of some memories, in order."""
    held, cells = zip(*memories, strict=True)
    return np.concatenate(held), np.concatenate(cells)


def part(memory: Memory, first: int | None, last: int | None) -> Memory:
    """The states from `first` up to `last`, as in a slice."""
    held, cells = memory
    return held[first:last], cells[first:last]


def _convolve(hidden: Floats, kernel: Floats, bias: Floats, stride: int) -> Floats:
    """A zero-padded convolution of width 3 over [F, L, C], then ReLU."""
    count, length, channels = hidden.shape
    padded = np.zeros((count, length + 2, channels), hidden.dtype)  # `np.pad` takes as long as all else for a frame
    padded[:, 1:-1] = hidden
    taps = np.concatenate([padded[:, at : at + length : stride] for at in range(3)], 2)
    found: Floats = taps @ kernel
    found += bias
    return np.maximum(found, 0.0, out=found)


@lru_cache(maxsize=1)
def load_network() -> SileroNetwork:
    """Load the weights from the installed wheel. Raises `ModelError` if they are missing or damaged."""
    spec = importlib.util.find_spec("silero_vad")
    if spec is None or spec.origin is None:
        raise ModelError("voice activity detection needs silero-vad: pip install silero-vad, or use --no-vad")
    path = Path(spec.origin).parent / _WEIGHTS
    try:
        return _network(_read(path))
    except (
        OSError,
        zipfile.BadZipFile,
        pickle.UnpicklingError,
        KeyError,
        AttributeError,
        TypeError,
        ValueError,
        EOFError,
    ) as error:
        raise ModelError(
            f"the voice activity model {path} cannot be read ({type(error).__name__}): "
            "pip install --upgrade silero-vad, or use --no-vad"
        ) from error


def _network(model: Any) -> SileroNetwork:
    def get(name: str, *shape: int) -> Floats:
        found: Floats = attrgetter(name)(model)
        return found.reshape(shape)

    sizes = ((129, 128), (128, 64), (64, 64), (64, 128))
    kernels = [
        get(f"encoder.{index}.reparam_conv.weight", made, given, 3).transpose(2, 1, 0).reshape(3 * given, made)
        for index, (given, made) in enumerate(sizes)
    ]
    biases = [get(f"encoder.{index}.reparam_conv.bias", made) for index, (_, made) in enumerate(sizes)]
    scale = np.repeat(np.array([0.5, 0.5, 0.5, 1.0], np.float32), 128)  # see `_remember`
    both = [_gates(get(f"decoder.rnn.weight_{of}", 512, 128)).T * scale for of in ("ih", "hh")]
    offsets = _gates(get("decoder.rnn.bias_ih", 512) + get("decoder.rnn.bias_hh", 512)) * scale
    return SileroNetwork(
        spectrum=np.ascontiguousarray(get("stft.forward_basis_buffer", 258, 256).T),
        convolutions=tuple((np.ascontiguousarray(kernel), bias) for kernel, bias in zip(kernels, biases, strict=True)),
        lstm=(np.ascontiguousarray(both[0]), np.ascontiguousarray(both[1]), offsets),
        last=(get("decoder.decoder.2.weight", 128), get("decoder.decoder.2.bias")),
    )


def _gates(stacked: Floats) -> Floats:
    """Reorder the gates of an LSTM from PyTorch's in, forget, new, out to in, forget, out, new."""
    enter, forget, new, leave = np.split(stacked, 4)
    return np.concatenate([enter, forget, leave, new])


class _Module:
    """Any module of the archive, its content as attributes."""


class _Reader(pickle.Unpickler):
    """Reads the tensors of a TorchScript archive without importing or running anything that it names."""

    def __init__(self, archive: zipfile.ZipFile, index: str) -> None:
        self._archive, self._root = archive, index.removesuffix("data.pkl")
        super().__init__(archive.open(index))

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a class or function."""
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch", "FloatStorage"):
            return np.float32
        if (module, name) == ("torch.jit._pickle", "build_intlist"):
            return list
        if module.startswith("__torch__."):
            return _Module
        raise pickle.UnpicklingError(f"{module}.{name} is not expected here")

    def persistent_load(self, pid: Any) -> Floats:
        """The array of a storage: ("storage", type, key, device, count)."""
        _, kind, key, _, count = pid
        return np.frombuffer(self._archive.read(f"{self._root}data/{key}"), kind, count)


def _tensor(storage: Floats, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> Floats:
    found = storage[offset:][: math.prod(shape)].reshape(shape)
    steps = [step // storage.itemsize for step in found.strides]
    if any(size > 1 and one != other for size, one, other in zip(shape, steps, strides, strict=True)):
        raise ValueError("a tensor has an unexpected memory layout")
    return found


def _read(path: Path) -> Any:
    """The 16 kHz network of the archive, as `_Module`s."""
    with zipfile.ZipFile(path) as archive:
        (index,) = (name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl"))
        return _Reader(archive, index).load()._model
