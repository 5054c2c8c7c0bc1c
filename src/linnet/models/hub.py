"""The Hugging Face Hub and its cache on this disk: look up offline, fetch what is needed, say what went wrong."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from linnet.errors import ModelError
from linnet.models.checkpoint import choose_weights, weight_files
from linnet.models.importing.detection import CT2_WEIGHTS, detect_format

_TEXT_FILES = (".json", ".txt", ".model", ".jinja", ".tiktoken")
_TIMEOUT = 10.0  # seconds to wait for the Hub's first answer


class FetchError(ModelError):
    """A model that the Hub did not give. `reason` is a clause about `it`; `unknown`: the Hub has no such model."""

    def __init__(self, model_id: str, reason: str, *, unknown: bool = False) -> None:
        super().__init__(f"cannot fetch {model_id}: {reason}")
        self.reason = reason
        self.unknown = unknown


def offline_reason(offline: bool = False) -> str | None:
    """Why the network must not be used (`offline` asked for it, or an environment variable does), or None."""
    if offline:
        return "offline mode was asked for"
    for variable in ("LINNET_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(variable, "").strip().lower() in ("1", "true", "yes", "on"):
            return f"{variable} is set"
    return None


def cached(model_id: str, revision: str | None = None) -> Path | None:
    """The snapshot folder of a Hub model whose config and weights are in the cache, else None. No network."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(model_id, "config.json", revision=revision)
    except HFValidationError:
        return None
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    return folder if weight_files(folder) or detect_format(folder) else None


def cached_ids() -> list[str]:
    """The Hub ids of all models in the cache, whole or not."""
    from huggingface_hub import constants

    root = Path(constants.HF_HUB_CACHE)
    if not root.is_dir():
        return []
    return sorted(path.name.removeprefix("models--").replace("--", "/") for path in root.glob("models--*"))


def fetch(model_id: str, revision: str | None = None) -> Path:
    """Download config, tokenizer, processor and weights of a Hub model into the cache: its snapshot folder.

    What is there already is not fetched again; weights as safetensors, as .bin only where there are no others.
    Raises `ModelError` with the reason where the Hub cannot be reached, knows no such model or does not let it be read.
    """
    from huggingface_hub import HfApi, errors, snapshot_download

    try:
        with _quiet():
            listing = HfApi().model_info(model_id, revision=revision, timeout=_TIMEOUT).siblings or []
            wanted = needed_files([file.rfilename for file in listing])
            _require_weights(model_id, wanted, [file.rfilename for file in listing])
            folder = Path(snapshot_download(model_id, revision=revision, allow_patterns=wanted))
        if CT2_WEIGHTS in wanted and detect_format(folder) is None:
            raise FetchError(model_id, "its model.bin is none of CTranslate2: ask for the original model")
        if not weight_files(folder) and CT2_WEIGHTS not in wanted:
            raise FetchError(model_id, "its download was interrupted: run it again, it goes on where it stopped")
        return folder
    except ModelError:
        raise
    except (_transport_error(), OSError, RuntimeError, ValueError) as error:
        unknown = type(error) in (errors.RepositoryNotFoundError, errors.HFValidationError)
        raise FetchError(model_id, describe(error, model_id, revision), unknown=unknown) from error


def needed_files(names: Sequence[str]) -> list[str]:
    """Of a repository's files: its weights, and the small ones at its top: config, tokenizer, processor, card.

    CTranslate2's weights are taken where there are none for Transformers.
    """
    weights = choose_weights(names) or tuple(name for name in names if name == CT2_WEIGHTS)
    top = [name for name in names if "/" not in name and not name.endswith(".index.json")]
    return [n for n in top if PurePosixPath(n).suffix in _TEXT_FILES or n == "README.md"] + list(weights)


def _require_weights(model_id: str, wanted: Sequence[str], names: Sequence[str]) -> None:
    if choose_weights(wanted) or CT2_WEIGHTS in wanted:
        return
    files = [name for name in names if name.endswith(".pt") or (name.startswith("ggml-") and name.endswith(".bin"))]
    way = f"download {files[0]} and run `linnet models import` on it" if files else "ask for the original model"
    reason = "it has no weights that can be loaded (model.safetensors, pytorch_model.bin or CTranslate2's model.bin)"
    raise FetchError(model_id, f"{reason}: {way}")


def _transport_error() -> type[Exception]:
    """The HTTPError of httpx or of httpx2: which one, depends on the version of huggingface_hub."""
    from huggingface_hub.errors import HfHubHTTPError

    return next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")


def describe(error: BaseException, model_id: str, revision: str | None = None) -> str:
    """Why a model could not be fetched, and what to do, as one clause for a person."""
    from huggingface_hub import constants, errors

    page = f"{constants.ENDPOINT}/{model_id}"
    for kind, reason in (
        (errors.GatedRepoError, f"it is gated: accept its terms at {page} and log in with `hf auth login`"),
        (errors.RepositoryNotFoundError, "the Hub knows no such model (if it is private: log in with `hf auth login`)"),
        (errors.RevisionNotFoundError, f"the Hub has no revision {revision} of it: see {page}/commits/main"),
        (errors.HFValidationError, "that is not a Hub id, which has the form owner/name"),
    ):
        if isinstance(error, kind):
            return reason
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return f"the Hub at {constants.ENDPOINT} answered with status {status}"
    if isinstance(error, _transport_error()):
        return f"the Hub cannot be reached ({constants.ENDPOINT}: {_cause(error)})"
    return f"the download failed ({_cause(error)})"


def _cause(error: BaseException) -> str:
    """The innermost reason of a network error: `Connection refused`, not the wrapped repr of three libraries."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Hub log lines off stderr; progress bars on a terminal only."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    logger = logging.getLogger("huggingface_hub")
    level, bars_off = logger.level, are_progress_bars_disabled()
    logger.setLevel(logging.ERROR)
    if not bars_off and not sys.stderr.isatty():
        disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if not bars_off:
            enable_progress_bars()
