"""Create config.json, generation_config.json and preprocessor_config.json of an imported model, equal to the originals.

`forced_decoder_ids` are omitted: they are deprecated in Transformers, in favor of language and task tokens, which are
all here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from linnet.models.importing.layout import WhisperSource
from linnet.models.importing.pieces import END, ENGLISH_END, NO_TIMESTAMPS, START
from linnet.models.importing.published import PublishedModel
from linnet.models.importing.tokenizer import ChosenTokenizer

MAX_INITIAL_TIMESTAMP_INDEX = 50  # one second: `DecodingOptions.max_initial_timestamp` in openai/whisper
SAMPLE_RATE = 16_000

_SPACE = "Ġ"
_NEVER_WRITTEN = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "nocaptions")
_LANGUAGE = re.compile(r"<\|[a-z]{2,3}(?:-[a-z0-9]{2,8})*\|>")
_ENGLISH_SIZE, _MULTILINGUAL_SIZES = 51864, (51865, 51866)


def model_config(source: WhisperSource, tokenizer: ChosenTokenizer, dtype: str) -> Any:
    """The `WhisperConfig`."""
    from transformers import WhisperConfig

    d, end = source.dimensions, tokenizer.ids[END]
    config = WhisperConfig(
        vocab_size=d.vocabulary,
        num_mel_bins=d.mels,
        d_model=d.width,
        encoder_layers=d.audio_layers,
        encoder_attention_heads=d.audio_heads,
        encoder_ffn_dim=d.audio_ffn,
        decoder_layers=d.text_layers,
        decoder_attention_heads=d.text_heads,
        decoder_ffn_dim=d.text_ffn,
        max_source_positions=d.audio_context,
        max_target_positions=d.text_context,
        decoder_start_token_id=tokenizer.ids[START],
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        dtype=dtype,
    )
    config.architectures = ["WhisperForConditionalGeneration"]
    return config


def generation_config(
    source: WhisperSource, tokenizer: ChosenTokenizer, published: PublishedModel | None
) -> dict[str, Any]:
    """The content of generation_config.json: special token ids, suppressed tokens, alignment heads."""
    ids, said = tokenizer.ids, source.settings
    end = ids[END]
    suppress = said.suppress if said.suppress is not None else _suppressed(source, ids)
    begin = said.begin_suppress if said.begin_suppress is not None else [ids[t] for t in (_SPACE, END) if t in ids]
    config: dict[str, Any] = {
        "begin_suppress_tokens": sorted(begin),
        "bos_token_id": end,
        "decoder_start_token_id": ids[START],
        "eos_token_id": end,
        "is_multilingual": _is_multilingual(ids),
        "max_initial_timestamp_index": MAX_INITIAL_TIMESTAMP_INDEX,
        "max_length": source.dimensions.text_context,
        "no_timestamps_token_id": ids[NO_TIMESTAMPS],
        "pad_token_id": end,
        "return_timestamps": False,
        "suppress_tokens": sorted(suppress),
    }
    if (previous := ids.get("<|startofprev|>")) is not None:
        config["prev_sot_token_id"] = previous
    heads = said.alignment_heads or (published.alignment_heads if published else None)
    if heads:
        config["alignment_heads"] = [list(pair) for pair in heads]
    if config["is_multilingual"]:
        config["lang_to_id"] = language_ids(ids, said.languages)
        config["task_to_id"] = {task: ids[f"<|{task}|>"] for task in ("transcribe", "translate")}
    return dict(sorted(config.items()))


def _is_multilingual(ids: dict[str, int]) -> bool:
    """Whether its language and task tokens are trained, unlike those of English-only models."""
    return ids[END] != ENGLISH_END and {"<|transcribe|>", "<|translate|>"} <= ids.keys()


def language_ids(ids: dict[str, int], listed: Iterable[int] | None) -> dict[str, int]:
    """Language tokens in the order of their ids: the `listed` ones, or all without a list."""
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    wanted = set(listed) if listed is not None else {ids[f"<|{code}|>"] for code in LANGUAGES if f"<|{code}|>" in ids}
    found = sorted((token, name) for name, token in ids.items() if token in wanted and _LANGUAGE.fullmatch(name))
    return {name: token for token, name in found}


def _suppressed(source: WhisperSource, ids: dict[str, int]) -> list[int]:
    """The published lists of suppressed tokens: unspoken symbols and special tokens."""
    from transformers.models.whisper.configuration_whisper import NON_SPEECH_TOKENS, NON_SPEECH_TOKENS_MULTI

    lists = {_ENGLISH_SIZE: NON_SPEECH_TOKENS, **dict.fromkeys(_MULTILINGUAL_SIZES, NON_SPEECH_TOKENS_MULTI)}
    marks = [token for token in lists.get(source.dimensions.vocabulary, ()) if token < ids[END]]
    special = [ids[f"<|{name}|>"] for name in _NEVER_WRITTEN if f"<|{name}|>" in ids]
    return [*marks, ids[START], *special]


def processor_config(source: WhisperSource) -> dict[str, Any]:
    """The content of preprocessor_config.json."""
    from transformers import WhisperFeatureExtractor

    seconds = source.dimensions.audio_context // 50
    extractor = WhisperFeatureExtractor(feature_size=source.dimensions.mels, chunk_length=seconds)
    said = {key: value for key, value in extractor.to_dict().items() if key != "mel_filters"}
    return {**said, "processor_class": "WhisperProcessor"}


def tokenizer_config(source: WhisperSource, tokenizer: ChosenTokenizer) -> dict[str, Any]:
    """The content of tokenizer_config.json: Transformers expects timestamps after the last special token."""
    return {
        "additional_special_tokens": list(tokenizer.special),
        "add_prefix_space": False,
        "bos_token": END,
        "clean_up_tokenization_spaces": True,
        "eos_token": END,
        "errors": "replace",
        "model_max_length": source.dimensions.text_context,
        "pad_token": END,
        "processor_class": "WhisperProcessor",
        "return_attention_mask": False,
        "tokenizer_class": "WhisperTokenizer",
        "unk_token": END,
    }
