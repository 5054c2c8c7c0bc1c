"""Other speech recognisers, to be scored by the same rules: libraries on this machine and services."""

from __future__ import annotations

from linnet.evaluation.providers.many import Reply, Request, transcribe_all
from linnet.evaluation.providers.opening import KINDS, names_provider, open_provider
from linnet.evaluation.providers.protocol import (
    Heard,
    Identity,
    Provider,
    ProviderError,
    ProviderOptions,
    ProviderRefusal,
)
from linnet.evaluation.providers.recognizer import ProviderRecognizer

__all__ = [
    "KINDS",
    "Heard",
    "Identity",
    "Provider",
    "ProviderError",
    "ProviderOptions",
    "ProviderRecognizer",
    "ProviderRefusal",
    "Reply",
    "Request",
    "names_provider",
    "open_provider",
    "transcribe_all",
]
