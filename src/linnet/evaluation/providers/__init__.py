"""Other speech recognizers, scored by the same rules: local libraries and web services."""

from __future__ import annotations

from linnet.evaluation.providers.many import ProviderReply, ProviderRequest, transcribe_all
from linnet.evaluation.providers.opening import KINDS, names_provider, open_provider
from linnet.evaluation.providers.protocol import (
    Identity,
    Provider,
    ProviderError,
    ProviderOptions,
    ProviderRefusal,
    ProviderTranscript,
)
from linnet.evaluation.providers.recognizer import ProviderRecognizer

__all__ = [
    "KINDS",
    "Identity",
    "Provider",
    "ProviderError",
    "ProviderOptions",
    "ProviderRecognizer",
    "ProviderRefusal",
    "ProviderReply",
    "ProviderRequest",
    "ProviderTranscript",
    "names_provider",
    "open_provider",
    "transcribe_all",
]
