"""Convert a language model in llama.cpp's file format (GGUF) to a Transformers folder, as the base of a fusion
model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from linnet.errors import MissingExtra, ModelError


def import_gguf(source: Path, output: Path, *, card: Mapping[str, str] | None = None) -> None:
    """Write the causal language model and tokenizer of one GGUF file as a Transformers folder.

    `output` must not exist; it appears when it is complete. Quantized weights become float32, so that nothing is
    rounded again; `card` has lines for README.md. Raises `MissingExtra` without the extra `gguf`, `ModelError` for a
    file that Transformers cannot read, `OutputError` if the folder cannot be written.
    """
    from linnet.models.derived import check_output, new_folder

    check_output(output)
    model, tokenizer = _read(source)
    with new_folder(output) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        lines = [f"# {source.stem}", "", "A language model, imported by Linnet from GGUF; its weights are float32.", ""]
        lines += [f"{key}: {value}" for key, value in (card or {}).items()]
        (folder / "README.md").write_text("\n".join([*lines, ""]), encoding="utf-8")


def _read(source: Path) -> tuple[Any, Any]:
    """The model, without any record of its quantization, and the tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from linnet.models.loading import first_line, quiet

    try:
        import gguf  # noqa: F401 (Transformers reads with it)
    except ImportError as error:
        raise MissingExtra(f"reading {source.name}", extra="gguf") from error
    place: dict[str, Any] = {"gguf_file": source.name, "local_files_only": True}
    try:
        with quiet():
            model = AutoModelForCausalLM.from_pretrained(source.parent, dtype=torch.float32, **place)
            tokenizer = AutoTokenizer.from_pretrained(source.parent, **place)
    except (OSError, ValueError, KeyError, RuntimeError, NotImplementedError, AttributeError, IndexError) as error:
        raise ModelError(
            f"{source} cannot be read as a GGUF language model ({first_line(error)}): download it again, or use a "
            "Transformers folder of the model"
        ) from error
    model.hf_quantizer = None  # the weights are not quantized any more and may be saved as such
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    if "_name_or_path" in model.config.__dict__:
        model.config._name_or_path = ""
    return model, tokenizer
