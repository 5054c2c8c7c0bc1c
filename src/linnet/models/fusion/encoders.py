"""The speech encoders that a fusion model can stand on, and how many frames each makes of a recording, exactly.

A new family is one small class here: its length function, its features and how it is called. The tests hold every entry
to three things: its length is that of the real encoder, its features are those of Transformers, and a clip alone
gives what it gives in a batch.

Shapes: W windows, N samples at 16 kHz, T frames, D width.
"""

from __future__ import annotations

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

MOST_WINDOWS = 64  # in one pass of the encoder


class SpeechEncoder:
    """What is to be known of an encoder family. `config` is the encoder's own; `normalize` is its `do_normalize`.

    `pad_seconds` is the grid of an encoder that pads every window to its `limit`: padded to a whole multiple instead.
    """

    model_types: ClassVar[tuple[str, ...]]
    step: int  # samples from one frame to the next
    shortest: int  # samples; a shorter sound is padded with silence to it
    limit: int | None = None  # samples that one pass can take
    pads: bool = True  # whether windows of different lengths may share a pass

    def __init__(self, config: Any, *, normalize: bool = False, pad_seconds: float = 0.0) -> None:
        self.config = config
        self.normalize = normalize
        self.pad_seconds = pad_seconds

    def build(self) -> nn.Module:
        """The encoder with fresh weights."""
        made: nn.Module = AutoModel.from_config(self.config)
        return made

    def frames(self, samples: int) -> int:
        """How many frames the encoder makes of so many samples (at least `shortest`) in one pass."""
        raise NotImplementedError

    def padded(self, samples: int) -> int:
        """How many samples one window is padded to by itself, whatever stands beside it in a pass."""
        return samples if self.limit is None else self.limit

    def features(self, samples: Tensor) -> Tensor:
        """What the encoder takes of one window [N]; its first axis is time."""
        raise NotImplementedError

    def call(self, encoder: nn.Module, features: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Frames [W, T, D], and their mask [W, T] where the encoder makes one itself."""
        mask = pad_sequence([torch.ones(len(f), dtype=torch.long, device=f.device) for f in features], True)
        out = encoder(input_features=pad_sequence(list(features), True), attention_mask=mask)
        return out.last_hidden_state, getattr(out, "attention_mask", None)

    def encode(self, encoder: nn.Module, windows: Sequence[Tensor]) -> list[Tensor]:
        """The frames [T, D] of each window [N], the same whatever the others are.

        Raises `ModelError` where the encoder makes another number of frames than `frames` says.
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

    def heard(self, lengths: Sequence[int]) -> int:
        """Samples that `encode` goes through for windows of so many, with all their padding."""
        return sum(len(group) * self.padded(lengths[group[0]]) for group in self._groups(lengths))

    def _groups(self, lengths: Sequence[int]) -> list[list[int]]:
        """Indices of windows that share a pass, similar lengths together, the longest first."""
        order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
        pools = [order]
        if not self.pads:
            pools = [list(g) for _, g in groupby(order, key=lambda index: self.padded(lengths[index]))]
        return [pool[at : at + MOST_WINDOWS] for pool in pools for at in range(0, len(pool), MOST_WINDOWS)]


class WaveformSpeech(SpeechEncoder):
    """HuBERT, wav2vec 2.0, WavLM: a stack of convolutions over the waveform, without padding.

    The large ones normalize over channels and honor a mask. The base ones normalize over time (`feat_extract_norm`
    group), padding included: there only windows of one length share a pass.
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
        """The waveform, of zero mean and unit variance where the checkpoint wants that."""
        return unit_variance(samples) if self.normalize else samples

    def call(self, encoder: nn.Module, features: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Padded waveforms, with a mask where the family honors one."""
        mask = pad_sequence([torch.ones(len(f), dtype=torch.long, device=f.device) for f in features], True)
        given = {"attention_mask": mask} if self.pads else {}
        return encoder(pad_sequence(list(features), True), **given).last_hidden_state, None


class WhisperSpeech(SpeechEncoder):
    """Whisper's encoder: padded to its whole window (30 s), or to the grid of `pad_seconds`; the frames that lie in the
    sound are kept.

    It was trained on whole windows. On a shorter one its frames are others, and cost much less: what is trained on them
    has to use them so, too.
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
        """Only the encoder half of the model."""
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        made: nn.Module = WhisperEncoder(self.config)
        return made

    def frames(self, samples: int) -> int:
        """One frame for each 20 ms that the sound reaches into."""
        return -(-samples // self.step)

    def features(self, samples: Tensor) -> Tensor:
        """Log-mel of the padded window, [3000, F] or fewer."""
        whole = self.padded(len(samples))
        return whisper_mel(nn.functional.pad(samples, (0, whole - len(samples))), self.config.num_mel_bins).T

    def padded(self, samples: int) -> int:
        """The whole window, or the next line of the grid."""
        if not self.pad_seconds:
            return self.limit
        grid = max(1, round(self.pad_seconds * RATE / self.step)) * self.step
        return min(self.limit, -(-samples // grid) * grid)

    def call(self, encoder: nn.Module, features: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """All windows are of one length and there is no mask."""
        mel = torch.stack(list(features)).transpose(1, 2)
        if mel.shape[2] * HOP == self.limit:
            return encoder(mel).last_hidden_state, None
        return _whisper_frames(encoder, mel), None


def _whisper_frames(encoder: Any, mel: Tensor) -> Tensor:
    """The frames [W, T, D] of shorter windows [W, F, 2 T]: `WhisperEncoder.forward` at its first T positions."""
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
    shortest = 2 * HOP  # the variance of one frame is no number

    def __init__(self, config: Any, **options: Any) -> None:
        super().__init__(config, **options)
        self.step = HOP * config.subsampling_factor

    def frames(self, samples: int) -> int:
        """Each convolution has padding (kernel - 1) // 2 on both sides."""
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
        """Pairs are filled up, later halvings drop an odd frame."""
        pairs = -(-(samples // HOP) // 2)
        return pairs >> len(self.config.subsample_layers)

    def features(self, samples: Tensor) -> Tensor:
        """Log-mel and deltas, [T, 4 F]."""
        return granite_mel(samples, self.config.num_mel_bins)


ENCODERS: tuple[type[SpeechEncoder], ...] = (WaveformSpeech, WhisperSpeech, ParakeetSpeech, GraniteSpeech)


def speech_encoder(config: Any, *, normalize: bool = False, pad_seconds: float = 0.0) -> SpeechEncoder:
    """The registry's entry for an encoder's config. Raises `ModelError` that lists what is supported for all others.

    `pad_seconds` is refused where an encoder does not pad by itself.

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
                    f"pad_seconds {pad_seconds:g} is for encoders that pad every window by themselves (whisper), and "
                    f"at least {made.step / RATE:g}; leave it out"
                )
            return made
    known = ", ".join(name for kind in ENCODERS for name in kind.model_types)
    raise ModelError(f"no speech encoder of type {config.model_type!r} is known; supported are {known}")


def steady(encoder: nn.Module) -> nn.Module:
    """The encoder without the chance of its own training: no layer is skipped and no time masked, in place.

    What is augmented is the recipe's to say, with its seed; and a skipped layer has no gradient for others to wait for.
    """
    for owner in (encoder.config, *encoder.modules()):
        for name, value in (("layerdrop", 0.0), ("apply_spec_augment", False)):
            if hasattr(owner, name):
                setattr(owner, name, value)
    return encoder


def encoder_config(config: Any) -> Any:
    """The encoder's own config in that of a checkpoint (a CTC model of Parakeet or Granite holds one)."""
    return getattr(config, "encoder_config", None) or config
