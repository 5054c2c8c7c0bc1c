"""Base of the local libraries: late imports, device choice, and a fingerprint of the model's files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, ClassVar

from linnet.audio.types import Audio
from linnet.closing import Closing
from linnet.errors import MissingExtra, OptionError
from linnet.evaluation.providers.protocol import Identity, ProviderError, ProviderOptions, ProviderRefusal
from linnet.models.checkpoint import update_digest
from linnet.models.loading import first_line


class LocalProvider(Closing):
    """A local library, one recording at a time."""

    kind: ClassVar[str]
    identity: Identity
    concurrency = 1

    def close(self) -> None:
        """Nothing to release."""


def library(module: str, *, extra: str) -> Any:
    """Import an optional library. Raises `MissingExtra`."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra(f"the system {extra}", extra=extra) from error


def refuse_service_options(name: str, options: ProviderOptions) -> None:
    """Raise `OptionError` for a URL or a key given to a local model."""
    if options.url is not None or options.key_variable is not None:
        raise OptionError(f"{name} runs locally: leave out the URL and the key")


def pick_device(options: ProviderOptions) -> str:
    """`cpu` or `cuda`; `auto` is what PyTorch finds."""
    import torch

    return options.device if options.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")


def revision(distribution: str, files: Iterable[Path]) -> str:
    """A library's version and 12 hex digits of a hash of the model's files (large files are sampled)."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        update_digest(digest, path)
    return f"{distribution} {metadata.version(distribution)}, model {digest.hexdigest()[:12]}"


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Run PyTorch with `count` threads; 0 keeps its default."""
    import torch

    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def failures_of(name: str, audio: Audio) -> Iterator[None]:
    """Turn a library's exceptions into `OptionError` or `ProviderError`."""
    try:
        yield
    except (ValueError, TypeError, KeyError) as error:  # an unknown language or field
        raise OptionError(f"{name}: {first_line(error)}; check the language and the fields") from error
    except Exception as error:  # a library may raise anything; other recordings go on
        raise ProviderError(
            name, f"failed on {audio.name} ({first_line(error)})", "check that the model suits it"
        ) from error


def no_model(kind: str, model: str, error: BaseException) -> ProviderRefusal:
    """The error for a model that cannot be loaded."""
    return ProviderRefusal(
        f"{kind}:{model}",
        f"cannot load the model ({first_line(error)})",
        "give a model name that the library knows, or a path",
    )
