"""Derive a smaller Whisper from a larger one: evenly chosen layers, everything else unchanged.

The result is a student to be trained, for example by distillation; untrained it recognizes little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from linnet.errors import OptionError
from linnet.models.alignment_heads import FILE as CALIBRATION
from linnet.models.alignment_heads import Head
from linnet.models.derived import (
    CARD,
    PROCESSOR,
    TOKENIZER,
    check_output,
    copy_files,
    load_base,
    new_folder,
    save_module,
)
from linnet.models.whisper import SAMPLES_PER_POSITION


@dataclass(frozen=True)
class ResizeReport:
    """The teacher's layers in the student, in order, and the remaining alignment heads."""

    encoder: tuple[int, ...]
    decoder: tuple[int, ...]
    parameters: tuple[int, int]  # of the teacher, and of the student
    heads: tuple[int, int]  # listed alignment heads of the teacher, and those that remain
    calibration_dropped: bool

    @property
    def notice(self) -> str | None:
        """A notice for users of word times; None if no heads are lost."""
        named, left = self.heads
        if left == named and not self.calibration_dropped:
            return None
        lost = [f"{left} of {named} alignment heads remain"] if left != named else []
        lost += ["calibrated heads are not kept"] if self.calibration_dropped else []
        return f"{', and '.join(lost)}: run `linnet models align-heads` on the trained model for better word times"


def choose_layers(have: int, want: int) -> tuple[int, ...]:
    """Choose `want` of `have` layers: the first, the last, and evenly spaced ones in between.

    Layer i of the student is layer round(i (have - 1) / (want - 1)) of the teacher, with halves rounded up; a single
    one is the last. After the "maximally spaced layers" of Shleifer and Rush 2020 (arXiv 2010.13002) and of
    Distil-Whisper (Gandhi et al. 2023, arXiv 2311.00430), which rounds down instead.

    >>> choose_layers(12, 4)
    (0, 4, 7, 11)
    """
    if not 1 <= want <= have:
        raise ValueError(f"{want} of {have} layers cannot be chosen")
    if want == 1:
        return (have - 1,)
    return tuple((2 * step * (have - 1) + want - 1) // (2 * (want - 1)) for step in range(want))


def resize(
    name: str, output: Path, *, encoder_layers: int | None, decoder_layers: int | None, offline: bool = False
) -> ResizeReport:
    """Write a student with these numbers of layers (None: all) of a Whisper-family model to a new folder.

    The layers are those of `choose_layers`; all weights are exact copies. Alignment heads in generation_config.json are
    renumbered with their layers or dropped. Raises `OptionError` for a model of another family and for an impossible
    number of layers, `ModelError` for a model that cannot be loaded, `OutputError` if the folder already exists or
    cannot be written.
    """
    check_output(output)
    base = load_base(name, offline=offline, purpose="can be resized")
    module = base.module
    stacks = (module.model.encoder, module.model.decoder)
    have = tuple(len(stack.layers) for stack in stacks)
    encoder = _wanted(name, "encoder", have[0], encoder_layers)
    decoder = _wanted(name, "decoder", have[1], decoder_layers)
    if (len(encoder), len(decoder)) == have:
        raise OptionError(f"model {name} has only {have[0]} + {have[1]} layers: choose fewer")
    before = _count(module)
    for stack, kept in zip(stacks, (encoder, decoder), strict=True):
        stack.layers = nn.ModuleList(stack.layers[index] for index in kept)
    module.config.encoder_layers, module.config.decoder_layers = len(encoder), len(decoder)
    named = base.generation.get("alignment_heads") or []
    heads = _remapped(named, decoder)
    generation = {key: value for key, value in base.generation.items() if key != "alignment_heads"}
    base.remember(layers={"encoder": list(encoder), "decoder": list(decoder)})
    calibrated = (base.ref.path / CALIBRATION).is_file()
    same_decoder = decoder == tuple(range(have[1]))  # the calibration remains valid
    with new_folder(output) as folder:
        save_module(module, {**generation, "alignment_heads": heads} if heads else generation, folder)
        copy_files(base.ref.path, folder, (*TOKENIZER, *PROCESSOR, *CARD, *((CALIBRATION,) if same_decoder else ())))
    dropped = calibrated and not same_decoder
    return ResizeReport(encoder, decoder, (before, _count(module)), (len(named), len(heads)), dropped)


def shorten_window(module: Any, processor: Any, seconds: float) -> None:
    """Shorten a Whisper's window to `seconds`, in place: the first encoder positions, and the features.

    Saved with its processor it is a Whisper with this window, also for Transformers. Raises `OptionError` for anything
    but a whole number of seconds, which its processor requires.
    """
    if seconds < 1 or seconds != round(seconds):
        raise OptionError(f"a Whisper's window must be a whole number of seconds, at least 1, got {seconds:g}")
    encoder, extractor = module.get_encoder(), getattr(processor, "feature_extractor", processor)
    positions, table = round(seconds) * extractor.sampling_rate // SAMPLES_PER_POSITION, encoder.embed_positions
    table.weight = nn.Parameter(table.weight[:positions].detach().clone(), table.weight.requires_grad)
    table.num_embeddings = encoder.max_source_positions = module.config.max_source_positions = positions
    extractor.chunk_length, extractor.n_samples = round(seconds), round(seconds) * extractor.sampling_rate
    extractor.nb_max_frames = extractor.n_samples // extractor.hop_length


def _wanted(name: str, part: str, have: int, want: int | None) -> tuple[int, ...]:
    if want is not None and not 1 <= want <= have:
        raise OptionError(f"the {part} of {name} has {have} layers, not {want}: choose 1 to {have}")
    return choose_layers(have, have if want is None else want)


def _remapped(heads: Sequence[Sequence[int]], kept: Sequence[int]) -> list[Head]:
    place = {layer: index for index, layer in enumerate(kept)}
    return [(place[layer], head) for layer, head in heads if layer in place]


def _count(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
