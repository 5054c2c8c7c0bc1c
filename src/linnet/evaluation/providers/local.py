"""What the libraries on this machine share: late imports, a device, and a fingerprint of the model's files."""

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
    """A library that recognizes on this machine, one recording at a time."""

    kind: ClassVar[str]
    identity: Identity
    concurrency = 1

    def close(self) -> None:
        """Let the model go with the object."""


def library(module: str, *, extra: str) -> Any:
    """A library that is not always there. Raises `MissingExtra` with the way to get it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra(f"the system {extra}", extra=extra) from error


def refuse_service_options(name: str, options: ProviderOptions) -> None:
    """Raise `OptionError` where a model on this machine is given an address or a key."""
    if options.url is not None or options.key_variable is not None:
        raise OptionError(f"{name} runs on this machine: leave out the address and the key")


def pick_device(options: ProviderOptions) -> str:
    """`cpu` or `cuda`, as PyTorch sees this machine where it is not said."""
    import torch

    return options.device if options.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")


def revision(distribution: str, files: Iterable[Path]) -> str:
    """A library's version, and 12 hexadecimal digits of a model's files (large ones by samples)."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        update_digest(digest, path)
    return f"{distribution} {metadata.version(distribution)}, model {digest.hexdigest()[:12]}"


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """PyTorch computes with `count` threads, 0 leaving its own choice."""
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
    """A library's exceptions as errors that the user can read."""
    try:
        yield
    except (ValueError, TypeError, KeyError) as error:  # a language or a field that it does not know
        raise OptionError(f"{name}: {first_line(error)}; check the language and the fields") from error
    except Exception as error:  # a foreign library may raise anything, and the other recordings shall go on
        raise ProviderError(
            name, f"failed on {audio.name} ({first_line(error)})", "see whether the model is fit for it"
        ) from error


def no_model(kind: str, model: str, error: BaseException) -> ProviderRefusal:
    """The error for a model that a library cannot load."""
    return ProviderRefusal(
        f"{kind}:{model}", f"cannot load the model ({first_line(error)})", "give a name that it knows, or a path"
    )
