"""The speech encoders of fusion models, with the exact number of frames that each produces.

To add a family, write a class here: its length function, its features and how it is called. The tests check that the
length is that of the real encoder, that the features are those of Transformers, and that a clip yields the same frames
alone as in a batch.

Shapes: W windows, N samples at 16 kHz, T frames, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import groupby
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel

from .errors import ModelError
from .frontends import HOP, RATE, granite_mel, parakeet_mel, unit_variance, whisper_mel

MOST_WINDOWS = 64  # per pass of the encoder


class SpeechEncoder(ABC):
    """An encoder family; `config` is the encoder's, `normalize` its `do_normalize`.

    An encoder that pads every window to its `limit` pads to a multiple of `pad_seconds` instead, if given.
    """

    model_types: ClassVar[tuple[str, ...]]
    step: int  # samples from one frame to the next
    shortest: int  # samples; shorter clips are padded with silence
    limit: int | None = None  # maximum samples of one pass
    pads: bool = True  # whether windows of different lengths can share a pass

    def __init__(self, config: Any, *, normalize: bool = False, pad_seconds: float = 0.0) -> None:
        self.config = config
        self.normalize = normalize
        self.pad_seconds = pad_seconds

    def build(self) -> nn.Module:
        """The encoder with fresh weights."""
        made: nn.Module = AutoModel.from_config(self.config)
        return made

    @abstractmethod
    def frames(self, samples: int) -> int:
        """The number of frames for `samples` (at least `shortest`) in one pass."""

    def padded(self, samples: int) -> int:
        """The samples that a window is padded to, independent of the others in a pass."""
        return samples if self.limit is None else self.limit

    @abstractmethod
    def features(self, samples: Tensor) -> Tensor:
        """The encoder's input for one window [N]; its first axis is time."""

    def call(self, encoder: nn.Module, features: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Frames [W, T, D], and their mask [W, T] if the encoder returns one."""
        mask = pad_sequence([torch.ones(len(f), dtype=torch.long, device=f.device) for f in features], True)
        out = encoder(input_features=pad_sequence(list(features), True), attention_mask=mask)
        return out.last_hidden_state, getattr(out, "attention_mask", None)

    def encode(self, encoder: nn.Module, windows: Sequence[Tensor]) -> list[Tensor]:
        """The frames [T, D] of each window [N], independent of the others.

        Raises `ModelError` if their number differs from `frames`.
        """
        dtype = next(encoder.parameters()).dtype
        done: list[Tensor | None] = [None] * len(windows)
        for group in self._groups([len(window) for window in windows]):
            features = [self.features(windows[index].float()).to(dtype) for index in group]
            out, mask = self.call(encoder, features)
            counts = [self.frames(len(windows[index])) for index in group]
            expected = max(self.frames(self.padded(len(windows[index]))) for index in group)
            for row, (index, count) in enumerate(zip(group, counts, strict=True)):
                made = expected if mask is None else int(mask[row].sum()) + expected - count
                if out.shape[1] != expected or made != expected:
                    raise ModelError(
                        f"window {index} of {len(windows)} ({len(windows[index])} samples): {type(encoder).__name__} "
                        f"made {out.shape[1] + made - expected} frames where {expected} were expected; "
                        "its length function in models/fusion/encoders.py does not fit this checkpoint"
                    )
                done[index] = out[row, :count]
        return [frames for frames in done if frames is not None]

    def padded_samples(self, lengths: Sequence[int]) -> int:
        """The samples that `encode` computes for windows of these lengths, with padding."""
        return sum(len(group) * self.padded(lengths[group[0]]) for group in self._groups(lengths))

    def _groups(self, lengths: Sequence[int]) -> list[list[int]]:
        """Indices of windows that share a pass, similar lengths together, the longest first."""
        order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
        pools = [order]
        if not self.pads:
            pools = [list(g) for _, g in groupby(order, key=lambda index: self.padded(lengths[index]))]
        return [pool[at : at + MOST_WINDOWS] for pool in pools for at in range(0, len(pool), MOST_WINDOWS)]


class WaveformSpeech(SpeechEncoder):
    """HuBERT, wav2vec 2.0, WavLM: convolutions over the waveform, without padding.

    Large models normalize over channels and honor a mask. Base models normalize over time, padding included
    (`feat_extract_norm` group), so only windows of equal length share a pass.
    """

    model_types = ("hubert", "wav2vec2", "wavlm")

    def __init__(self, config: Any, **options: Any) -> None:
        super().__init__(config, **options)
        if getattr(config, "add_adapter", False):
            raise ModelError("a wav2vec 2.0 encoder with an adapter (add_adapter) is not supported: use one without")
        self.step = prod(config.conv_stride)
        self.shortest = 1
        for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
            self.shortest = (self.shortest - 1) * stride + kernel
        self.pads = config.feat_extract_norm == "layer"

    def frames(self, samples: int) -> int:
        """(n - kernel) // stride + 1 for each convolution in turn."""
        for kernel, stride in zip(self.config.conv_kernel, self.config.conv_stride, strict=True):
            samples = (samples - kernel) // stride + 1
        return samples

    def features(self, samples: Tensor) -> Tensor:
        """The waveform, normalized to zero mean and unit variance if the checkpoint expects that."""
        return unit_variance(samples) if self.normalize else samples

    def call(self, encoder: nn.Module, features: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Padded waveforms, with a mask if the model honors one."""
        mask = pad_sequence([torch.ones(len(f), dtype=torch.long, device=f.device) for f in features], True)
        given = {"attention_mask": mask} if self.pads else {}
        return encoder(pad_sequence(list(features), True), **given).last_hidden_state, None


class WhisperSpeech(SpeechEncoder):
    """Whisper's encoder: padded to its full window (30 s) or a multiple of `pad_seconds`; frames of padding are
    dropped.

    On shorter windows frames differ and cost much less; models trained on them must also be used with them.
    """

    model_types = ("whisper",)
    step = 2 * HOP
    shortest = 2 * HOP
    pads = False
    limit: int

    def __init__(self, config: Any, **options: Any) -> None:
        super().__init__(config, **options)
        self.limit = config.max_source_positions * self.step

    def build(self) -> nn.Module:
        """The encoder alone."""
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        made: nn.Module = WhisperEncoder(self.config)
        return made

    def frames(self, samples: int) -> int:
        """One frame for every started 20 ms."""
        return -(-samples // self.step)

    def features(self, samples: Tensor) -> Tensor:
        """Log-mel of the padded window, [3000, F] or fewer."""
        whole = self.padded(len(samples))
        return whisper_mel(nn.functional.pad(samples, (0, whole - len(samples))), self.config.num_mel_bins).T

    def padded(self, samples: int) -> int:
        """The full window, or the next multiple of `pad_seconds`."""
        if not self.pad_seconds:
            return self.limit
        grid = max(1, round(self.pad_seconds * RATE / self.step)) * self.step
        return min(self.limit, -(-samples // grid) * grid)

    def call(self, encoder: nn.Module, features: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """All windows have the same length; there is no mask."""
        mel = torch.stack(list(features)).transpose(1, 2)
        if mel.shape[2] * HOP == self.limit:
            return encoder(mel).last_hidden_state, None
        return _whisper_frames(encoder, mel), None


def _whisper_frames(encoder: Any, mel: Tensor) -> Tensor:
    """The frames [W, T, D] of shorter windows [W, F, 2 T]: `WhisperEncoder.forward` at the first T positions."""
    hidden = nn.functional.gelu(encoder.conv2(nn.functional.gelu(encoder.conv1(mel)))).transpose(1, 2)
    hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
    hidden = nn.functional.dropout(hidden, encoder.dropout, encoder.training)
    for layer in encoder.layers:
        hidden = layer(hidden, None)
    normed: Tensor = encoder.layer_norm(hidden)
    return normed


class ParakeetSpeech(SpeechEncoder):
    """The FastConformer of Parakeet: mel features, then strided convolutions (8 times by default)."""

    model_types = ("parakeet_encoder",)
    shortest = 2 * HOP  # the variance of one frame is undefined

    def __init__(self, config: Any, **options: Any) -> None:
        super().__init__(config, **options)
        self.step = HOP * config.subsampling_factor

    def frames(self, samples: int) -> int:
        """Each convolution pads (kernel - 1) // 2 on both sides."""
        config, frames, factor = self.config, samples // HOP, self.config.subsampling_factor
        around = (config.subsampling_conv_kernel_size - 1) // 2 * 2 - config.subsampling_conv_kernel_size
        while factor > 1:
            frames, factor = (frames + around) // config.subsampling_conv_stride + 1, factor // 2
        return frames

    def features(self, samples: Tensor) -> Tensor:
        """Normalized log-mel, [N // 160, F]."""
        return parakeet_mel(samples, self.config.num_mel_bins)


class GraniteSpeech(SpeechEncoder):
    """The conformer of Granite Speech 5 CTC: pairs of mel frames, halved in the blocks `subsample_layers`."""

    model_types = ("granite_speech5_encoder",)

    def __init__(self, config: Any, **options: Any) -> None:
        super().__init__(config, **options)
        halvings: int = 2 ** len(config.subsample_layers)
        self.step = 2 * HOP * halvings
        self.shortest = HOP * (2 * halvings - 1)

    def frames(self, samples: int) -> int:
        """Pairs are padded, later halvings drop an odd frame."""
        pairs = -(-(samples // HOP) // 2)
        return pairs >> len(self.config.subsample_layers)

    def features(self, samples: Tensor) -> Tensor:
        """Log-mel and deltas, [T, 4 F]."""
        return granite_mel(samples, self.config.num_mel_bins)


ENCODERS: tuple[type[SpeechEncoder], ...] = (WaveformSpeech, WhisperSpeech, ParakeetSpeech, GraniteSpeech)


def speech_encoder(config: Any, *, normalize: bool = False, pad_seconds: float = 0.0) -> SpeechEncoder:
    """The `SpeechEncoder` for a config. Raises `ModelError` for unsupported encoders.

    `pad_seconds` is an error for encoders that do not pad.

    >>> from transformers import HubertConfig
    >>> hubert = speech_encoder(HubertConfig())
    >>> hubert.frames(16000), hubert.step
    (49, 320)
    """
    for kind in ENCODERS:
        if config.model_type in kind.model_types:
            made = kind(config, normalize=normalize, pad_seconds=pad_seconds)
            if pad_seconds and (made.limit is None or pad_seconds < made.step / RATE):
                raise ModelError(
                    f"pad_seconds {pad_seconds:g} is for encoders that pad every window (whisper), and must be "
                    f"at least {made.step / RATE:g}; leave it out"
                )
            return made
    known = ", ".join(name for kind in ENCODERS for name in kind.model_types)
    raise ModelError(f"unknown speech encoder type {config.model_type!r}; supported are {known}")


def steady(encoder: nn.Module) -> nn.Module:
    """Disable layer dropping and time masking of an encoder, in place.

    Augmentation belongs to the recipe, with its seed, and a dropped layer would have no gradient to synchronize.
    """
    for owner in (encoder.config, *encoder.modules()):
        for name, value in (("layerdrop", 0.0), ("apply_spec_augment", False)):
            if hasattr(owner, name):
                setattr(owner, name, value)
    return encoder


def encoder_config(config: Any) -> Any:
    """The encoder's config within a checkpoint's config (CTC models of Parakeet and Granite nest one)."""
    return getattr(config, "encoder_config", None) or config
