"""Families of models, one file each: detection, loading and use.

A new family is a class in its own file and an entry in `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from linnet.errors import ModelError
from linnet.models.families.base import Family
from linnet.models.families.ctc import CtcFamily
from linnet.models.families.fusion import FusionFamily
from linnet.models.families.seq2seq import Seq2SeqFamily
from linnet.models.families.whisper import WhisperFamily
from linnet.models.json_files import read_json
from linnet.models.lowrank.description import LOW_RANK_TYPE, as_dense_config

WHISPER, FUSION, SEQ2SEQ, CTC = WhisperFamily(), FusionFamily(), Seq2SeqFamily(), CtcFamily()
FAMILIES: tuple[Family, ...] = (WHISPER, FUSION, SEQ2SEQ, CTC)


def family_of(path: Path) -> Family:
    """The family of the model in a folder, by its config.json. Raises `ModelError` that lists the supported ones."""
    return _find(read_json(path / "config.json"), str(path))


def family_of_model(model: Any) -> Family:
    """The family of a loaded Transformers model, by its config. Raises `ModelError` as `family_of` does."""
    config = model.config
    said = {name: getattr(config, name, None) for name in ("model_type", "architectures", LOW_RANK_TYPE)}
    return _find(said, type(model).__name__)


def _find(config: Mapping[str, Any], source: str) -> Family:
    config = as_dense_config(config)
    for family in FAMILIES:
        if family.recognizes(config):
            return family
    what = ", ".join(config.get("architectures") or []) or f"model type {config.get('model_type', '')!r}"
    raise ModelError(
        f"{source}: {what} is not a speech recognition model that Linnet can run; supported are WhisperFamily, "
        f"sequence-to-sequence ({', '.join(sorted(SEQ2SEQ.types()))}) and CTC models ({', '.join(sorted(CTC.types()))})"
    )


__all__ = ["CTC", "FAMILIES", "FUSION", "SEQ2SEQ", "WHISPER", "Family", "family_of", "family_of_model"]
