"""Write a standalone fusion model: adapters merged into their weights, base models in its own folder."""

from __future__ import annotations

from pathlib import Path

from linnet.errors import OptionError
from linnet.models.derived import check_output, new_folder
from linnet.models.device import choose_dtype
from linnet.models.families import FUSION
from linnet.models.json_files import read_json
from linnet.models.loading import quiet
from linnet.models.resolve import resolve
from linnet.models.speech import load_speech_model


def merge(name: str, output: Path, *, dtype: str = "float32", offline: bool = False) -> int:
    """Write a fusion model with all its weights to a new folder; returns the number of parameters.

    The new folder refers to no base models and needs neither them nor PEFT. Adapters are merged in float32, then all
    weights are stored as `dtype`. Raises `OptionError` for a model of another kind or that is already standalone,
    `ModelError` if it or a base model cannot be loaded, `OutputError` if the folder cannot be created.
    """
    import torch

    check_output(output)
    ref = resolve(name, offline=offline)
    config, stored = read_json(ref.path / "config.json"), choose_dtype(dtype, "cpu")[0]
    if not FUSION.recognizes(config):
        raise OptionError(f"model {name} is not a fusion model: other models are already standalone")
    if not config.get("bases") and not config.get("adapters"):
        raise OptionError(f"model {name} is already standalone: it has no base models and no adapters")
    speech = load_speech_model(ref, device="cpu", dtype=torch.float32)
    with torch.no_grad():
        speech.model.merge()
    speech.model.to(stored)
    with new_folder(output) as folder, quiet():
        speech.model.save_pretrained(folder)
        speech.processor.save_pretrained(folder)
    return sum(value.numel() for value in speech.model.parameters())
