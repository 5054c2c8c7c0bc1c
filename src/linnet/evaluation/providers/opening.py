"""Opening a system by the name that the user gives."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from linnet.errors import OptionError
from linnet.evaluation.providers.cache import CachedProvider
from linnet.evaluation.providers.protocol import Provider, ProviderOptions
from linnet.notices import Notify
from linnet.settings import unknown
from linnet.urls import public_name

_HERE = "linnet.evaluation.providers"
KINDS = {
    "faster-whisper": f"{_HERE}.faster_whisper:FasterWhisper",
    "openai-whisper": f"{_HERE}.openai_whisper:OpenAIWhisper",
    "transformers": f"{_HERE}.transformers_pipeline:TransformersPipeline",
    "openai": f"{_HERE}.openai:OpenAI",
    "assemblyai": f"{_HERE}.assemblyai:AssemblyAI",
    "deepgram": f"{_HERE}.deepgram:Deepgram",
    "elevenlabs": f"{_HERE}.elevenlabs:ElevenLabs",
}  # the module and class of each kind, imported on first use
_SPEC = re.compile(r"(?P<kind>[^:]*):(?P<model>.*?)(?:@(?P<url>https?://.*))?", re.DOTALL)


def names_provider(text: str) -> bool:
    """Whether a name has the form KIND:MODEL with a known kind, and so is not a Linnet model.

    >>> names_provider("deepgram:nova-3"), names_provider("openai/whisper-small")
    (True, False)
    """
    return text.partition(":")[0] in KINDS and ":" in text


def open_provider(
    spec: str,
    options: ProviderOptions | None = None,
    *,
    cache: bool = True,
    notify: Notify | None = None,
    folder: Path | None = None,
) -> Provider:
    """Open a system by `KIND:MODEL`, or `KIND:MODEL@URL` for a service at another URL.

    Its responses are cached under `providers` in `folder`, by default Linnet's cache (LINNET_CACHE), unless `cache` is
    False. `notify` receives notices; by default they go to the log `linnet.evaluation`.

    Raises:
        OptionError: another form, an unknown kind (names the nearest), an unsupported option.
        MissingExtra: its library is not installed.
        ProviderRefusal: it has no key, or the model cannot be loaded.

    >>> open_provider("deepgramm:nova-3")
    Traceback (most recent call last):
    linnet.errors.OptionError: deepgramm:nova-3: unknown kind 'deepgramm'; did you mean 'deepgram'? ...
    """
    match = _SPEC.fullmatch(spec.strip())
    known = ", ".join(KINDS)
    if match is None:
        raise OptionError(f"{spec}: expected KIND:MODEL, such as deepgram:nova-3; kinds: {known}")
    kind, model, url = match["kind"].strip(), match["model"].strip(), match["url"]
    spec = f"{kind}:{model}" + (f"@{public_name(url)}" if url else "")
    if kind not in KINDS:
        raise OptionError(f"{spec}: {unknown('kind', kind, KINDS)}")
    if not model:
        raise OptionError(f"{spec}: names no model; expected {kind}:MODEL")
    options = options or ProviderOptions()
    if url is not None:
        options = replace(options, url=url)
    module, _, name = KINDS[kind].partition(":")
    provider: Provider = getattr(import_module(module), name)(model, options)
    return (
        CachedProvider(provider, notify or logging.getLogger("linnet.evaluation").warning, folder=folder)
        if cache
        else provider
    )
