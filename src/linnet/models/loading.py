"""Call Transformers' loaders: suppress their output on stderr, and turn their errors into one line."""

from __future__ import annotations

import logging
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress Transformers' log lines, warnings and progress bars on stderr.

    Every error that leaves it is an `Exception`, as by `no_panic`.
    """
    from transformers.utils import logging as hf_logging

    level, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity(logging.CRITICAL)
    hf_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(transformers|huggingface_hub|torch)\.")
            with no_panic():
                yield
    finally:
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()


@contextmanager
def no_panic() -> Iterator[None]:
    """Turn a panic of a Rust library (tokenizers), which is not an `Exception`, into a `RuntimeError`."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # its module cannot be imported
            raise RuntimeError(first_line(error)) from error
        raise


PICKLE_WAY_OUT = "use a model with model.safetensors, or, if you trust the source, convert it as in docs/models.md"


def refused_pickle(error: BaseException | None) -> str | None:
    """The reason why torch refused a pickle, from an error or its cause; None for other errors.

    A pickle is a program. Torch runs only what builds tensors and plain values, and refuses everything else unread.
    """
    while error is not None:
        if isinstance(error, pickle.UnpicklingError):
            text = str(error)
            found = text.partition("WeightsUnpickler error:")[2] or text.partition("\n\n")[2] or text  # advice is first
            told = next(iter(found.strip().splitlines()), type(error).__name__).split(" was not an allowed")[0][:160]
            return (
                "was refused without running it: it is a pickle, which may hold code, and this one holds more "
                f"than tensors and numbers, or is damaged ({told})"
            )
        error = error.__cause__ or error.__context__
    return None


def first_line(error: BaseException) -> str:
    """The first line of an error's text, at most 200 characters; the name of its type if it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
