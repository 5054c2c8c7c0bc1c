"""The Hugging Face Hub and its cache on this disk: offline look-up, download, error messages."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TypeVar, cast

from linnet.errors import ModelError
from linnet.machine import show_bytes
from linnet.models.checkpoint import choose_weights, weight_files
from linnet.models.importing.detection import CT2_WEIGHTS, detect_format
from linnet.notices import Notify

T = TypeVar("T")

_TEXT_FILES = (".json", ".txt", ".model", ".jinja", ".tiktoken")
_TIMEOUT = 10.0  # seconds to wait for the Hub's first answer


class FetchError(ModelError):
    """A model could not be fetched from the Hub. `reason` is a clause about `it`.

    `unknown`: the Hub has no such model; `unreachable`: the Hub did not answer, so another source may be tried.
    """

    def __init__(self, model_id: str, reason: str, *, unknown: bool = False, unreachable: bool = False) -> None:
        super().__init__(f"cannot fetch {model_id}: {reason}")
        self.reason = reason
        self.unknown = unknown
        self.unreachable = unreachable


def offline_reason(offline: bool = False) -> str | None:
    """Why the Hub must not be used (`offline`, or an environment variable); None if it may."""
    return network_reason(offline) or _set("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def network_reason(offline: bool = False) -> str | None:
    """Why no network must be used at all, neither the Hub nor a package index; None if it may."""
    return "offline mode was requested" if offline else _set("LINNET_OFFLINE")


def _set(*variables: str) -> str | None:
    for variable in variables:
        if os.environ.get(variable, "").strip().lower() in ("1", "true", "yes", "on"):
            return f"{variable} is set"
    return None


def cached(model_id: str, revision: str | None = None) -> Path | None:
    """The snapshot folder of a Hub model with config and weights in the cache, else None. Uses no network.

    The result equals that of `huggingface_hub.try_to_load_from_cache`, whose import alone takes longer than loading
    tiny.en.
    """
    from huggingface_hub import constants

    kept = Path(constants.HF_HUB_CACHE) / f"models--{model_id.replace('/', '--')}"
    wanted = revision or "main"
    if ".." in (*PurePosixPath(wanted).parts, *PurePosixPath(model_id).parts):
        return None
    ref = kept / "refs" / wanted
    folder = kept / "snapshots" / (ref.read_text(encoding="utf-8").strip() if ref.is_file() else wanted)
    if not (folder / "config.json").is_file():
        return None
    return folder if weight_files(folder) or detect_format(folder) else None


def cached_ids() -> list[str]:
    """The Hub ids of all models in the cache, including incomplete ones."""
    from huggingface_hub import constants

    root = Path(constants.HF_HUB_CACHE)
    if not root.is_dir():
        return []
    return sorted(path.name.removeprefix("models--").replace("--", "/") for path in root.glob("models--*"))


def fetch(
    model_id: str,
    revision: str | None = None,
    *,
    notify: Notify | None = None,
    patience: float | None = None,
) -> Path:
    """Download config, tokenizer, processor and weights of a Hub model to the cache; returns its snapshot folder.

    Existing files are not fetched again; weights are safetensors, or .bin if there are no others. `notify` receives the
    size before the download. The Hub counts as unreachable without a first answer in `patience` seconds, including name
    resolution; by default each step of the connection has 10 s. Raises `ModelError` with the reason if the Hub cannot
    be reached, has no such model or denies access.
    """
    from huggingface_hub import errors, snapshot_download

    try:
        with _quiet():
            sizes = within(patience, lambda: _sizes(model_id, revision, patience or _TIMEOUT))
            wanted = needed_files(list(sizes))
            _require_weights(model_id, wanted, list(sizes))
            total = sum(sizes[name] for name in wanted)
            if notify is not None and cached(model_id, revision) is None:
                notify(f"fetching {model_id} from the Hub" + (f" ({show_bytes(total)})" if total else ""))
            folder = Path(snapshot_download(model_id, revision=revision, allow_patterns=wanted))
        if CT2_WEIGHTS in wanted and detect_format(folder) is None:
            raise FetchError(model_id, "its model.bin is not in CTranslate2's format: use the original model")
        if not weight_files(folder) and CT2_WEIGHTS not in wanted:
            raise FetchError(model_id, "its download was interrupted: run it again to resume")
        return folder
    except ModelError:
        raise
    except (_transport_error(), OSError, RuntimeError, ValueError) as error:
        unknown = type(error) in (errors.RepositoryNotFoundError, errors.HFValidationError)
        reason, away = describe(error, model_id, revision), _unreachable(error)
        raise FetchError(model_id, reason, unknown=unknown, unreachable=away) from error


def within(seconds: float | None, work: Callable[[], T]) -> T:
    """The result of `work` within a time limit in seconds; else `TimeoutError`, while it continues.

    For calls without a time limit, such as resolving a host name.
    """
    if seconds is None:
        return work()
    done: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            done.put((work(), None))
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread that waits
            done.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = done.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer in {seconds:g} s") from None
    if error is not None:
        raise error
    return cast("T", result)


def _sizes(model_id: str, revision: str | None, timeout: float) -> dict[str, int]:
    """The files of a repository and their bytes, 0 if unknown."""
    from huggingface_hub import HfApi

    found = HfApi().model_info(model_id, revision=revision, timeout=timeout, files_metadata=True)
    return {file.rfilename: file.size or 0 for file in found.siblings or []}


def needed_files(names: Sequence[str]) -> list[str]:
    """The required files of a repository: its weights, and the small files in its root (config, tokenizer, processor,
    card).

    CTranslate2's weights are used if there are none for Transformers.
    """
    weights = choose_weights(names) or tuple(name for name in names if name == CT2_WEIGHTS)
    top = [name for name in names if "/" not in name and not name.endswith(".index.json")]
    return [n for n in top if PurePosixPath(n).suffix in _TEXT_FILES or n == "README.md"] + list(weights)


def _require_weights(model_id: str, wanted: Sequence[str], names: Sequence[str]) -> None:
    if choose_weights(wanted) or CT2_WEIGHTS in wanted:
        return
    files = [name for name in names if name.endswith(".pt") or (name.startswith("ggml-") and name.endswith(".bin"))]
    way = f"download {files[0]} and run `linnet models import` on it" if files else "use the original model"
    reason = "it has no weights that Linnet can load (model.safetensors, pytorch_model.bin or CTranslate2's model.bin)"
    raise FetchError(model_id, f"{reason}: {way}")


def _transport_error() -> type[Exception]:
    """The HTTPError of httpx or httpx2, depending on the version of huggingface_hub."""
    from huggingface_hub.errors import HfHubHTTPError

    return next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")


def _unreachable(error: BaseException) -> bool:
    """Whether the Hub itself did not answer: no connection, or refused by a proxy."""
    from huggingface_hub import errors

    if isinstance(error, (errors.RepositoryNotFoundError, errors.RevisionNotFoundError)):  # includes gated
        return False
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, (_transport_error(), TimeoutError, ConnectionError)):
            return True
        chain = chain.__cause__ or chain.__context__
    return False


def describe(error: BaseException, model_id: str, revision: str | None = None) -> str:
    """A clause for the user: why a model could not be fetched, and what to do."""
    from huggingface_hub import constants, errors

    page = f"{constants.ENDPOINT}/{model_id}"
    for kind, reason in (
        (errors.GatedRepoError, f"it is gated: accept its terms at {page} and log in with `hf auth login`"),
        (errors.RepositoryNotFoundError, "the Hub has no such model (if it is private: log in with `hf auth login`)"),
        (errors.RevisionNotFoundError, f"the Hub has no revision {revision} of it: see {page}/commits/main"),
        (errors.HFValidationError, "it is not a Hub id (owner/name)"),
    ):
        if isinstance(error, kind):
            return reason
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return f"the Hub at {constants.ENDPOINT} answered with status {status}"
    if isinstance(error, (_transport_error(), TimeoutError, ConnectionError)):
        return f"the Hub cannot be reached ({constants.ENDPOINT}: {_cause(error)})"
    return f"the download failed ({_cause(error)})"


def _cause(error: BaseException) -> str:
    """The innermost reason of a network error, such as `Connection refused`."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Hub log lines on stderr, and progress bars unless on a terminal."""
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
