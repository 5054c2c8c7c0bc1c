"""Build a new fusion model from two base models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, FeatureExtractionMixin, GenerationConfig, Wav2Vec2FeatureExtractor

from linnet.errors import ModelError
from linnet.models.fusion.bases import at_revision, base_revision, load_base, missing_base
from linnet.models.fusion.configuration import FusionConfig
from linnet.models.fusion.encoders import encoder_config, speech_encoder
from linnet.models.fusion.frontends import RATE
from linnet.models.fusion.modeling import FusionForConditionalGeneration
from linnet.models.fusion.processing import FusionProcessor
from linnet.models.fusion.projectors import calibrate, projector_options

INSTRUCTION = "Transcribe the speech."
_AUDIO, _ANSWER = "\u2063audio\u2063", "\u2063answer\u2063"  # placeholders that no template contains
_FEATURES = {"sampling_rate": RATE, "hop_length": 160, "n_fft": (400, 512), "win_length": 400, "preemphasis": 0.97}


def build(
    encoder: str,
    language_model: str,
    projector: dict[str, Any] | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    **options: Any,
) -> tuple[FusionForConditionalGeneration, FusionProcessor]:
    """Combine a speech encoder, a fresh projector and a causal language model; both bases are frozen.

    `dtype` is that of the bases (the projector is float32), `seed` the projector's; the rest is as for `configure`.
    Raises `ModelError` for a base that is missing or unsupported.
    """
    config, processor = configure(encoder, language_model, projector, **options)
    parts = {
        part: load_base(part, base["name"], base["revision"], dtype=dtype)
        for part, base in (config.bases or {}).items()
    }
    torch.manual_seed(seed)
    model = FusionForConditionalGeneration(config, **parts)
    _freeze_bases(model)
    calibrate(model.projector, config.audio_config.hidden_size, _loudness(model), seed=seed)
    end, tokenizer = config.answer_end, processor.tokenizer
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end
    model.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=pad, bos_token_id=tokenizer.bos_token_id)
    model.language_model.generation_config = GenerationConfig.from_model_config(config.text_config)
    return model.eval(), processor


def configure(
    encoder: str,
    language_model: str,
    projector: dict[str, Any] | None = None,
    *,
    instruction: str = INSTRUCTION,
    system: str | None = None,
    revisions: tuple[str | None, str | None] = (None, None),
    **options: Any,
) -> tuple[FusionConfig, FusionProcessor]:
    """The config and the processor of a fusion model, without weights.

    `encoder` and `language_model` are folders or Hub ids with their `revisions`; `projector` holds fields of
    `ProjectorOptions`; `options` are further fields of `FusionConfig` (`window_seconds`, `overlap_seconds`,
    `pad_seconds`). `system` replaces the template's system turn. Raises `ModelError` for a base that is missing or
    unsupported.
    """
    names = {"encoder": _absolute(encoder), "language_model": _absolute(language_model)}
    asked = dict(zip(names, revisions, strict=True))
    found = {part: _load(AutoConfig, part, name, asked[part]) for part, name in names.items()}
    tokenizer = _load(AutoTokenizer, "language_model", names["language_model"], asked["language_model"])
    if getattr(found["encoder"], "linnet_low_rank", None) is not None:
        raise ModelError(
            f"base model {encoder} has low-rank layers, which fusion models do not support: use its dense form "
            "(`linnet.models.lowrank.saving.materialize`), and compress the fusion model"
        )
    audio_config = encoder_config(found["encoder"])
    kind = speech_encoder(audio_config)
    sizes = projector_options(projector or {}, frames_per_second=RATE / kind.step)
    before, after, end = prompt(tokenizer, instruction, system)
    config = FusionConfig(
        audio_config=audio_config,
        text_config=found["language_model"],
        projector=sizes.as_dict(),
        prompt_before=before,
        prompt_after=after,
        answer_end=end,
        normalize=_normalizes(names["encoder"], asked["encoder"]),
        bases={
            part: {"name": name, "revision": asked[part] or base_revision(name, found[part])}
            for part, name in names.items()
        },
        **options,
    )
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=RATE, do_normalize=False, return_attention_mask=True)
    return config, FusionProcessor(extractor, tokenizer, answer_end=end)


def skeleton(config: FusionConfig) -> FusionForConditionalGeneration:
    """The model without weights (on the meta device), frozen as by `build`, to count its parameters."""
    with torch.device("meta"):
        model = FusionForConditionalGeneration(config)
    _freeze_bases(model)
    empty: FusionForConditionalGeneration = model.to("meta")  # some layers create their parameters elsewhere
    return empty


def _freeze_bases(model: FusionForConditionalGeneration) -> None:
    model.requires_grad_(False)
    model.projector.float().requires_grad_(True)


def prompt(
    tokenizer: Any, instruction: str = INSTRUCTION, system: str | None = None
) -> tuple[list[int], list[int], int]:
    """The tokens before and after the audio, and the one that ends an answer, by the tokenizer's chat template.

    The user's turn is the audio and the instruction, with thinking turned off if the template supports it. Without a
    template it is the audio, the instruction on its own line, and the end-of-text token. A `system` turn, even an empty
    one, comes first; None keeps the template's own.
    """
    if not tokenizer.chat_template:
        if tokenizer.eos_token_id is None:
            raise ModelError(f"tokenizer {tokenizer.name_or_path} has neither a chat template nor an end-of-text token")
        start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        return start, _tokens(tokenizer, f"\n{instruction}\n"), tokenizer.eos_token_id
    user = {"role": "user", "content": f"{_AUDIO}{instruction}"}
    first = [] if system is None else [{"role": "system", "content": system}]
    options = {"tokenize": False, "enable_thinking": False}
    asked = tokenizer.apply_chat_template([*first, user], add_generation_prompt=True, **options)
    turns = [*first, user, {"role": "assistant", "content": _ANSWER}]
    answered = tokenizer.apply_chat_template(turns, add_generation_prompt=False, **options)
    if asked.count(_AUDIO) != 1 or answered.count(_ANSWER) != 1:
        raise ModelError(
            f"the chat template of {tokenizer.name_or_path} does not show the user's turn and the answer once"
        )
    before, after = asked.split(_AUDIO)
    ending = _tokens(tokenizer, answered.split(_ANSWER)[1].lstrip())
    return _tokens(tokenizer, before), _tokens(tokenizer, after), ending[0] if ending else tokenizer.eos_token_id


def _tokens(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _absolute(name: str) -> str:
    """The absolute path of a folder, else the name."""
    return str(Path(name).expanduser().resolve()) if Path(name).expanduser().is_dir() else name


def _load(kind: Any, part: str, name: str, revision: str | None) -> Any:
    """A base model's config or tokenizer."""
    try:
        return kind.from_pretrained(name, **at_revision(name, revision))
    except (OSError, ValueError, KeyError) as error:
        raise missing_base(part, name, revision, error) from error


def _normalizes(name: str, revision: str | None) -> bool:
    """Whether the encoder expects audio of unit variance, by its feature extractor's file.

    Raises `ModelError` for unsupported features.
    """
    try:
        found = FeatureExtractionMixin.get_feature_extractor_dict(name, **at_revision(name, revision))[0]
    except OSError:
        found = {}
    for key, wanted in _FEATURES.items():
        value = found.get(key)
        if value is not None and value != wanted and not (isinstance(wanted, tuple) and value in wanted):
            raise ModelError(f"the encoder {name} needs features with {key} {value}; only {wanted} is supported")
    return bool(found.get("do_normalize", False))


def _loudness(model: FusionForConditionalGeneration) -> float:
    """RMS of the language model's token embeddings."""
    table = model.language_model.get_input_embeddings().weight
    return float(table.detach().float().square().mean().sqrt())
