"""How the Auto classes of Transformers learn of low-rank models: config types when `AutoConfig` is first imported.

The classes of a model itself are made, and registered, when the config of such a folder is read.
"""

from __future__ import annotations

from linnet.models.when_imported import when_imported


def register() -> None:
    """Make `AutoConfig`, and with it `AutoModelForSpeechSeq2Seq` and `AutoModelForCTC`, know low-rank folders."""
    from transformers import AutoConfig

    from linnet.models.lowrank.configuration import LiteWhisperConfig, LowRankConfig

    for kind in (LowRankConfig, LiteWhisperConfig):
        AutoConfig.register(kind.model_type, kind, exist_ok=True)


def register_when_used() -> None:
    """The same once `AutoConfig` is imported, now where it already is. Costs nothing before that."""
    when_imported("transformers.models.auto.configuration_auto", register)
