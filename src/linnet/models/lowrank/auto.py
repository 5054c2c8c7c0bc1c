"""Register low-rank models with the Auto classes of Transformers: config types when `AutoConfig` is first imported.

The classes of a model are created and registered when the config of such a folder is read.
"""

from __future__ import annotations

from linnet.models.when_imported import when_imported


def register() -> None:
    """Let `AutoConfig`, and with it `AutoModelForSpeechSeq2Seq` and `AutoModelForCTC`, load low-rank folders."""
    from transformers import AutoConfig

    from linnet.models.lowrank.configuration import LiteWhisperConfig, LowRankConfig

    for kind in (LowRankConfig, LiteWhisperConfig):
        AutoConfig.register(kind.model_type, kind, exist_ok=True)


def register_when_used() -> None:
    """`register` when `AutoConfig` is imported, now if it already is. Costs nothing before that."""
    when_imported("transformers.models.auto.configuration_auto", register)
