"""Load any Transformers speech model, with its processor, from a folder."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from linnet.errors import ModelError
from linnet.models.checkpoint import verify_weights
from linnet.models.families import Family, family_of
from linnet.models.loading import PICKLE_WAY_OUT, first_line, quiet, refused_pickle
from linnet.models.resolve import ModelRef

if TYPE_CHECKING:
    import torch

    from linnet.audio.types import Samples

_TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.json",
    "vocab.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tekken.json",
)
_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
_AS_DATA = {
    "local_files_only": True,
    "trust_remote_code": False,
}  # Transformers does not ask to run code
SHORTEST = 1600  # samples, 0.1 s: shorter windows are padded
_NOT_LEARNED = ("masked_spec_embed", "embed_positions", "position_ids", "inv_freq")  # may be absent: it is rebuilt


@dataclass(frozen=True)
class SpeechModel:
    """A model, the processor for its features (`processor(audio=...)` or an extractor), and its tokenizer."""

    name: str
    family: Family
    model: Any
    processor: Any
    tokenizer: Any
    device: str
    dtype: torch.dtype
    label: str | None = None  # for reports, if the model does not run on PyTorch


def padded(samples: Samples) -> Samples:
    """Samples [N] of a window with silence behind them, at least `SHORTEST` in all."""
    import numpy as np

    return np.pad(samples, (0, max(0, SHORTEST - len(samples))))


def load_speech_model(ref: ModelRef, *, device: str, dtype: torch.dtype, weights: bool = True) -> SpeechModel:
    """Load the model in a folder with AutoModelForSpeechSeq2Seq or AutoModelForCTC, and its processor.

    Without `weights` the model has its config and functions but no values (on PyTorch's meta device), and the weight
    files are not checked. Code from the folder is never run. Raises `ModelError` that names the file and the way out if
    the tokenizer or the processor is missing, a weight file is damaged or lacks tensors of the model, or a library is
    not installed.
    """
    family = family_of(ref.path)
    _require_files(ref)
    if weights:
        verify_weights(ref.path, way_out(ref))
    processor, tokenizer = _load_processor(ref)
    if not weights:
        return SpeechModel(ref.name, family, _load_skeleton(ref, family), processor, tokenizer, device, dtype)
    model = _load_model(ref, family, dtype)
    model.to(device).eval()
    return SpeechModel(ref.name, family, model, processor, tokenizer, device, dtype)


def way_out(ref: ModelRef) -> str:
    """The user's way out for a damaged or incomplete model."""
    if ref.origin == "hub":
        return f"fetch it again with `linnet models rm {ref.name}` and `linnet models pull {ref.name}`"
    if ref.origin == "index":
        return f"recreate it with `linnet models rm {ref.name}` and `linnet models pull {ref.name}`"
    if ref.origin == "embedded":
        return "reinstall Linnet"
    if ref.origin == "imported":
        return f"import it again: `linnet models rm {ref.name}`"
    return "save model and processor with save_pretrained again, or copy the missing files"


def _require_files(ref: ModelRef) -> None:
    for what, names in (("tokenizer", _TOKENIZER_FILES), ("processor", _PROCESSOR_FILES)):
        if not any((ref.path / name).exists() for name in names):
            raise ModelError(f"model {ref.name} has no {what} ({names[0]} or {names[1]} in {ref.path}): {way_out(ref)}")


def _load_processor(ref: ModelRef) -> tuple[Any, Any]:
    """Load the processor and its tokenizer, or (without a usable processor class) its parts."""
    from transformers import AutoFeatureExtractor, AutoProcessor, AutoTokenizer

    with suppress(Exception), quiet():  # any error from a wrong field: its parts may still load, or say what is wrong
        processor = AutoProcessor.from_pretrained(ref.path, **_AS_DATA)
        if hasattr(processor, "feature_extractor") and hasattr(processor, "tokenizer"):
            return processor, processor.tokenizer
    try:
        with quiet():
            extractor = AutoFeatureExtractor.from_pretrained(ref.path, **_AS_DATA)
            return extractor, AutoTokenizer.from_pretrained(ref.path, **_AS_DATA)
    except ImportError as error:
        raise ModelError(f"model {ref.name} needs a library that is not installed: {first_line(error)}") from error
    except Exception as error:  # any error from a wrong field: the files are wrong
        message = f"the processor of model {ref.name} in {ref.path} cannot be loaded ({first_line(error)})"
        raise ModelError(f"{message}: {way_out(ref)}") from error


def _load_skeleton(ref: ModelRef, family: Family) -> Any:
    import torch
    from transformers import AutoConfig

    try:
        with quiet(), torch.device("meta"):
            return family.auto_class().from_config(AutoConfig.from_pretrained(ref.path, **_AS_DATA)).to("meta").eval()
    except Exception as error:  # any error from a wrong field: the file is wrong
        where = f"model {ref.name} in {ref.path} cannot be created from its config.json"
        raise ModelError(f"{where} ({first_line(error)}): {way_out(ref)}") from error


def _load_model(ref: ModelRef, family: Family, dtype: torch.dtype) -> Any:
    try:
        with quiet():
            load = family.auto_class().from_pretrained
            model, info = load(ref.path, dtype=dtype, output_loading_info=True, **_AS_DATA)
    except ModelError:  # from our own models: it says what is missing and what to do
        raise
    except ImportError as error:
        raise ModelError(f"model {ref.name} needs a library that is not installed: {first_line(error)}") from error
    except Exception as error:  # any error from a wrong field or byte: the files are wrong
        where = f"model {ref.name} in {ref.path} cannot be loaded"
        if (refused := refused_pickle(error)) is not None:
            raise ModelError(f"{where}: its pytorch_model.bin {refused}; {PICKLE_WAY_OUT}") from error
        raise ModelError(f"{where} ({first_line(error)}): {way_out(ref)}") from error
    missing = sorted(key for key in info["missing_keys"] if not any(name in key for name in _NOT_LEARNED))
    if missing:
        raise ModelError(
            f"the weights of model {ref.name} in {ref.path} lack {len(missing)} tensors of {type(model).__name__} "
            f"(the first: {missing[0]}), so its output would be random: was it trained for recognition?"
        )
    return model
