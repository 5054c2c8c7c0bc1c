"""The embedded model as the loop takes it: where it begins, and how it is saved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperProcessor

from linnet.errors import OptionError
from linnet.training.checkpoint import load_checkpoint, swap_folder
from linnet.training.optimization import checkpoint_gradients
from linnet.training.weights import part_of

from .losses import DigitsLoss, DigitsLosses
from .model import DigitsModel, build_model
from .tokens import WINDOW, make_tokenizer


class DigitsTask:
    """A freshly made model of that size, and its losses."""

    policy: Mapping[str, str] = {"model": "all"}

    def __init__(self, size: DigitsModel, losses: DigitsLosses, *, checkpointing: bool = False) -> None:
        self.model = build_model(size)
        self.loss = DigitsLoss(self.model, losses)
        if checkpointing:
            checkpoint_gradients(self.model)

    def start_from(self, folder: Path) -> None:
        """Begin with the weights of another run (their average, where it kept one), or of an exported model folder.

        What that model does not have (an exported one has no helpers) stays freshly made.

        Raises:
            OptionError: neither is there, or weights of another shape.
        """
        state = load_checkpoint(folder / "checkpoints")
        if state is not None:
            weights = state["average"] or state["weights"]
        elif (folder / "model.safetensors").is_file():
            exported = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
            weights = {f"model.{name}": value for name, value in exported.state_dict().items()}
        else:
            raise OptionError(
                f"{folder}: neither a run with a checkpoint nor a model folder to start from; train that run first."
            )
        try:
            unknown = self.loss.load_state_dict(weights, strict=False).unexpected_keys
        except RuntimeError as error:
            raise OptionError(f"{folder}: its model is of another size than this recipe's: {error}") from error
        if unknown:
            raise OptionError(f"{folder}: this recipe's model has no {unknown[0]}: make it at least as large.")

    def export(self, folder: Path, state: dict[str, Tensor] | None = None) -> Path:
        """Write a Whisper folder of Transformers: float32 weights, configuration, generation settings, processor.

        `state` are the weights of `loss`, by default its own.
        """
        weights = part_of(self.loss.state_dict() if state is None else state, "model")

        def write(place: Path) -> None:
            self.model.save_pretrained(place, state_dict=weights)
            extractor = WhisperFeatureExtractor(feature_size=self.model.config.num_mel_bins, chunk_length=round(WINDOW))
            WhisperProcessor(extractor, make_tokenizer()).save_pretrained(place)

        return swap_folder(folder, write)
