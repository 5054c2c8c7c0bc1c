"""Other encoder-decoder models of Transformers' AutoModelForSpeechSeq2Seq: Moonshine, Speech2Text, ..."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from linnet.models.families.base import Family
from linnet.models.families.known import known

# Transformers' speech-to-sequence models that produce audio or music scores instead of a transcript.
_NOT_RECOGNITION = (
    "DiaForConditionalGeneration",
    "Pop2PianoForConditionalGeneration",
    "VibeVoiceForConditionalGeneration",
)


class Seq2SeqFamily(Family):
    """Models that are decoded by their own `generate`."""

    name, title = "seq2seq", "sequence-to-sequence"

    def recognizes(self, config: Mapping[str, Any]) -> bool:
        """By Transformers' list of architectures."""
        return listed(config, self.types())

    def types(self) -> dict[str, str]:
        """The architecture of each supported model type."""
        listed_there = known("MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES")
        return {kind: name for kind, name in listed_there.items() if name not in _NOT_RECOGNITION}


def listed(config: Mapping[str, Any], types: Mapping[str, str]) -> bool:
    """Whether a config names one of these architectures, or none but one of their types."""
    architectures = config.get("architectures") or []
    return bool(set(architectures) & set(types.values()) or (not architectures and config.get("model_type") in types))
