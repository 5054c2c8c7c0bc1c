"""Load a Whisper-family model from a Transformers folder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet.audio.types import SAMPLE_RATE
from linnet.errors import ModelError
from linnet.models.alignment_heads import AlignmentHeads, find_alignment_heads
from linnet.models.json_files import read_json
from linnet.models.light_tokenizer import LightTokenizer
from linnet.models.loading import PICKLE_WAY_OUT, first_line, quiet, refused_pickle
from linnet.models.lowrank.auto import register
from linnet.models.lowrank.description import as_dense_config, is_low_rank_config
from linnet.models.vocabulary import WhisperVocabulary, build_vocabulary

if TYPE_CHECKING:
    import torch

SAMPLES_PER_POSITION = 320  # an encoder position is two frames of 160 samples
_TOKENIZER = ("tokenizer.json", "vocab.json")
_PROCESSOR = ("processor_config.json", "preprocessor_config.json")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
DEFAULTS = {  # defaults of WhisperConfig for the fields read here
    "vocab_size": 51865,
    "num_mel_bins": 80,
    "decoder_layers": 4,
    "decoder_attention_heads": 6,
    "max_source_positions": 1500,
    "max_target_positions": 448,
    "begin_suppress_tokens": (220, 50256),
}


@dataclass(frozen=True)
class WhisperModel:
    """A loaded `WhisperForConditionalGeneration`, dense or low-rank, with its properties for decoding."""

    module: Any  # None if loaded without weights
    vocabulary: WhisperVocabulary
    name: str
    n_mels: int
    window_samples: int  # at 16 kHz
    max_length: int  # tokens of one sequence, including prompt and special tokens
    pads_window: bool = True  # false: trained on windows of the audio's own length
    alignment_heads: AlignmentHeads = field(default_factory=lambda: AlignmentHeads((), "assumed"))  # for word times

    @property
    def device(self) -> str:
        """The device of weights and features: the CPU if an engine holds the weights."""
        return "cpu" if self.module is None else str(next(self.module.parameters()).device)

    def padded(self, count: int) -> int:
        """The padded length of `count` samples: a whole window, or whole seconds if it was trained so."""
        if self.pads_window:
            return self.window_samples
        return min(math.ceil(count / SAMPLE_RATE) * SAMPLE_RATE, self.window_samples)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        dtype: torch.dtype = next(self.module.parameters()).dtype
        return dtype


def load_whisper(
    folder: Path,
    *,
    name: str,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    weights: bool = True,
) -> WhisperModel:
    """Load a Whisper-family model folder as Transformers saves it, English-only or multilingual.

    The weights are converted to `dtype`, by default float32. `"linnet": {"pads_window": false}` in config.json means
    that the model was trained on windows of the audio's own length. `weights=False` omits the module, for an engine
    that holds the weights itself, and avoids importing PyTorch and Transformers, which takes seconds. Raises
    `ModelError`, which names the folder and the way out, for a folder that is incomplete, damaged or of another family.
    """
    try:
        config = _whisper_config(folder, whole=weights)
        processor = _read_processor(folder)
        window = _window_samples(config, processor)
        settings = folder / "generation_config.json"
        generation = read_json(settings) if settings.is_file() else {}
        vocabulary = build_vocabulary(
            _load_tokenizer(folder, light=not weights),
            config,
            generation,
            seconds_per_timestamp=SAMPLES_PER_POSITION / SAMPLE_RATE,
        )
        alignment_heads = find_alignment_heads(
            folder, generation, layers=config["decoder_layers"], heads=config["decoder_attention_heads"]
        )
        module = _load_module(folder, dtype).to(device) if weights else None
    except ModelError as error:
        raise _unusable(folder, name, error) from error.__cause__
    return WhisperModel(
        module=module,
        vocabulary=vocabulary,
        name=name,
        n_mels=int(config["num_mel_bins"]),
        window_samples=window,
        max_length=int(config["max_target_positions"]),
        pads_window=bool((config.get("linnet") or {}).get("pads_window", True)),
        alignment_heads=alignment_heads,
    )


def load_module(folder: Path, *, name: str, dtype: torch.dtype | None = None) -> Any:
    """Load only the `WhisperForConditionalGeneration` of a model folder, on the CPU. Raises `ModelError`."""
    try:
        return _load_module(folder, dtype)
    except ModelError as error:
        raise _unusable(folder, name, error) from error.__cause__


def _unusable(folder: Path, name: str, error: ModelError) -> ModelError:
    return ModelError(f"model {name} in {folder} cannot be used: {error}")


def _whisper_config(folder: Path, *, whole: bool) -> dict[str, Any]:
    """The model's config with the defaults of its family; `whole`: check all of it."""
    _require(folder, ("config.json",), "run `linnet models pull` again, or point at the folder that holds the model")
    raw = as_dense_config(read_json(folder / "config.json"))
    if raw.get("model_type") != "whisper":
        raise ModelError(f"config.json is for a {raw.get('model_type', 'nameless')} model, not for a whisper model")
    if whole:
        from transformers import WhisperConfig

        try:
            with quiet():
                WhisperConfig.from_dict(raw)
        except Exception as error:  # whatever a wrong field raises, the file is wrong
            raise ModelError(f"config.json does not describe a whisper model ({first_line(error)})") from error
    return {**DEFAULTS, **{name: value for name, value in raw.items() if value is not None}}


def _read_processor(folder: Path) -> Mapping[str, Any]:
    hint = "copy it from the model that this one is derived from, or run `linnet models pull` again"
    path = _require(folder, _PROCESSOR, hint)
    found = read_json(path)
    return found.get("feature_extractor") or found


def _window_samples(config: Mapping[str, Any], processor: Mapping[str, Any]) -> int:
    window = int(processor.get("chunk_length") or 30) * SAMPLE_RATE
    seen = int(config["max_source_positions"]) * SAMPLES_PER_POSITION
    if window != seen:
        raise ModelError(
            f"its processor makes windows of {window / SAMPLE_RATE:g} s, its encoder takes {seen / SAMPLE_RATE:g} s: "
            "make chunk_length and max_source_positions agree"
        )
    bands = int(processor.get("feature_size") or 80)
    if bands != config["num_mel_bins"]:
        raise ModelError(f"its processor makes {bands} mel bins, but its encoder takes {config['num_mel_bins']}")
    return window


def _load_tokenizer(folder: Path, *, light: bool) -> Any:
    hint = "copy tokenizer.json from the model that this one is derived from, or run `linnet models pull` again"
    path = _require(folder, _TOKENIZER, hint)
    if light and path.name == "tokenizer.json":
        return LightTokenizer(path)
    from transformers import AutoTokenizer

    try:
        with quiet():
            return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizers raise bare exceptions for damaged files
        raise ModelError(f"{path.name} is damaged ({first_line(error)}): copy it again") from error


def _load_module(folder: Path, dtype: torch.dtype | None) -> Any:
    path = _require(folder, _WEIGHTS, "run `linnet models pull` again, or copy the weights there")
    import torch

    try:
        with quiet():
            module, report = _module_class(folder).from_pretrained(
                folder, dtype=dtype or torch.float32, local_files_only=True, output_loading_info=True
            )
    except Exception as error:  # safetensors, pickle and shape errors share no base
        if (refused := refused_pickle(error)) is not None:
            raise ModelError(f"{path.name} {refused}; {PICKLE_WAY_OUT}") from error
        what = "is damaged or does not fit config.json"
        raise ModelError(
            f"{path.name} {what} ({first_line(error)}): run `linnet models pull` again, or copy the file again"
        ) from error
    wrong = {kind: sorted(map(str, report.get(kind) or ())) for kind in _MISFITS}
    if any(wrong.values()):
        found = "; ".join(
            f"{len(names)} {_MISFITS[kind]}, such as {names[0]}" for kind, names in wrong.items() if names
        )
        raise ModelError(f"{path.name} does not fit config.json ({found}): use both files from the same model")
    return module.eval().requires_grad_(False)


def _module_class(folder: Path) -> Any:
    """The class that loads the weights: for a folder with low-rank layers the Auto class, which supports them."""
    from transformers import AutoModelForSpeechSeq2Seq, WhisperForConditionalGeneration

    if not is_low_rank_config(read_json(folder / "config.json")):
        return WhisperForConditionalGeneration
    register()
    return AutoModelForSpeechSeq2Seq


_MISFITS = {
    "missing_keys": "weights are missing",
    "mismatched_keys": "weights have another shape",
    "unexpected_keys": "weights are unexpected",
}


def _require(folder: Path, names: tuple[str, ...], hint: str) -> Path:
    """The first of these files that exists; raises `ModelError` that names the first if none does."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ModelError(f"{names[0]} is missing: {hint}")
