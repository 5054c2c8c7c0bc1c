"""A frozen speech encoder, a trained projector and a frozen language model as one Transformers model.

Speech in, text out: `input_values` [B, N] at 16 kHz with `attention_mask` [B, N] (0 for padding at the end), and
answers as `labels` or by `generate`. The prompt is part of the config. The input of the language model is, for each
clip,

    padding | prompt_before | rows of the clip | prompt_after | answer | padding

so that all answers of a batch begin at the same column and only their logits are computed.

Shapes: B clips, N samples, T encoder frames, d encoder width, P columns before the answer, L answer tokens, D width
of the language model, V vocabulary.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, GenerationConfig, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.auto.modeling_auto import MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES
from transformers.utils import ModelOutput

from .adapters import Lora, add_lora, fold_lora
from .bases import base_weights, read_weights
from .configuration import FusionConfig
from .encoders import speech_encoder, steady
from .errors import ModelError
from .projectors import make_projector, projector_options
from .windows import windowing

IGNORED = -100  # a label without loss


@dataclass
class FusionOutput(ModelOutput):  # type: ignore[misc]
    """`loss` (a scalar), and `logits` [B, L, V] of the labels."""

    loss: Tensor | None = None
    logits: Tensor | None = None


class FusionForConditionalGeneration(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """Speech in, text out: see the head of this file for shapes. Make a new one with `linnet.models.fusion.build`.

    A folder holds the trained weights and the names of the base models, which are loaded too (`FusionConfig.bases`);
    `merge` writes all weights.
    """

    config_class = FusionConfig
    config: FusionConfig
    base_model_prefix = ""
    main_input_name = "input_values"
    input_modalities = ("audio",)
    supports_gradient_checkpointing = True
    varying_passes = ("encoder",)  # parts that run more often for batches of long clips
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True

    def __init__(
        self, config: FusionConfig, encoder: nn.Module | None = None, language_model: nn.Module | None = None
    ) -> None:
        super().__init__(config)
        self._held: frozenset[str] = frozenset()  # weights in the folder that the model was loaded from
        self.kind = speech_encoder(config.audio_config, normalize=config.normalize, pad_seconds=config.pad_seconds)
        self.windowing = windowing(self.kind, config.window_seconds, config.overlap_seconds)
        self.encoder: Any = steady(encoder or self.kind.build())
        self.language_model: Any = language_model or AutoModelForCausalLM.from_config(config.text_config)
        options = projector_options(config.projector, frames_per_second=16000 / self.kind.step)
        widths = config.audio_config.hidden_size, config.text_config.hidden_size
        self.projector = make_projector(*widths, options)
        self.add_adapters()
        self.post_init()

    def add_adapters(self) -> None:
        """Add new adapters if the config has any."""
        for part, adapter in (self.config.adapters or {}).items():
            add_lora(self.get_submodule(part), Lora.from_dict(adapter))

    # --- lengths

    def audio_rows(self, samples: int) -> int:
        """The exact number of rows of a clip of `samples` in the language model's input."""
        return self.projector.rows(self.windowing.frames(samples))

    def prompt_tokens(self, samples: int) -> int:
        """The number of positions of a clip and its prompt before the answer."""
        return len(self.config.prompt_before) + self.audio_rows(samples) + len(self.config.prompt_after)

    # --- audio to embeddings

    def get_encoder(self, modality: str | None = None) -> Any:
        """The audio part: called like the model, it returns `last_hidden_state` [B, N, D], padded on the right."""
        del modality
        return self._embed

    def _embed(self, input_values: Tensor, attention_mask: Tensor | None = None) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=pad_sequence(self.embed_audio(input_values, attention_mask), True))

    def embed_audio(self, input_values: Tensor, attention_mask: Tensor | None = None) -> list[Tensor]:
        """The rows [rows, D] of each clip."""
        return self.project(self.encode_audio(input_values, attention_mask))

    def encode_audio(self, input_values: Tensor, attention_mask: Tensor | None = None) -> list[Tensor]:
        """The encoder's frames [T, d] of each clip, `windowing.frames` of them."""
        counts = _sample_counts(input_values, attention_mask)
        return self.windowing.encode(
            self.encoder, [row[:count] for row, count in zip(input_values, counts, strict=True)]
        )

    def project(self, frames: list[Tensor]) -> list[Tensor]:
        """The projector's rows [rows, D] for each clip's frames. Raises `ModelError` for a wrong number of rows."""
        counts = [len(clip) for clip in frames]
        made = self.projector(pad_sequence(frames, True).to(self.projector.last.weight.dtype), counts)
        rows = [self.projector.rows(count) for count in counts]
        if made.shape[1] != max(rows):
            raise ModelError(
                f"clip {rows.index(max(rows))} of the batch must have {max(rows)} rows, not {made.shape[1]}"
            )
        return [row[:count] for row, count in zip(made, rows, strict=True)]

    def embed_prompts(self, input_values: Tensor, attention_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Embeddings [B, P, D] of the prompts with their clips, padded on the left, and their mask [B, P]."""
        return self._pad_prompts(self._prompts(self.embed_audio(input_values, attention_mask)))

    def _prompts(self, rows: list[Tensor]) -> list[Tensor]:
        """The prompt [columns, D] around the rows of each clip."""
        prompt = torch.tensor([*self.config.prompt_before, *self.config.prompt_after], device=rows[0].device)
        split = [len(self.config.prompt_before), len(self.config.prompt_after)]
        before, after = self.language_model.get_input_embeddings()(prompt).split(split)
        return [torch.cat([before, row.to(before.dtype), after]) for row in rows]

    def _pad_prompts(self, prompts: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Prompts padded on the left [B, P, D], and their mask [B, P]."""
        lengths = [len(prompt) for prompt in prompts]
        self._check_room(max(lengths) + 1, f"clip {lengths.index(max(lengths))} of the batch")
        columns = torch.arange(max(lengths), device=prompts[0].device)
        mask = (columns >= max(lengths) - torch.tensor(lengths, device=columns.device)[:, None]).long()
        whole = torch.cat(prompts)
        embeds = whole.new_zeros(*mask.shape, whole.shape[-1])
        return embeds.index_put(mask.nonzero(as_tuple=True), whole), mask

    def _check_room(self, columns: int, what: str) -> None:
        limit = getattr(self.config.text_config, "max_position_embeddings", None)
        if limit is not None and columns > limit:
            raise ModelError(
                f"{what} would take {columns} positions of the language model, which has {limit}: split the audio "
                "into shorter pieces, or leave it out"
            )

    # --- the language model

    def forward(
        self,
        input_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        frames: list[Tensor] | None = None,
        **kwargs: Any,
    ) -> FusionOutput:
        """Logits of the answer, and their loss if `labels` [B, L] are given (-100 is padding).

        `frames` [T, d] of each clip, from `encode_audio`, may be given instead of audio. The loss is the cross-entropy
        summed over the answer's tokens, divided by `num_items_in_batch` or else by their number. Without labels the
        logits are those of the answer's first token, [B, 1, V].
        """
        if frames is None:
            if input_values is None:
                raise ModelError("forward needs `input_values`: the audio from the processor")
            frames = self.encode_audio(input_values, attention_mask)
        given, columns = self._padded(self.project(frames), labels)
        logits = self.language_model(**given, logits_to_keep=columns, **kwargs).logits[:, -columns:]
        if labels is None:
            return FusionOutput(logits=logits)
        total = nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        count = num_items_in_batch if num_items_in_batch is not None else (labels != IGNORED).sum().clamp(min=1)
        return FusionOutput(loss=total / count, logits=logits)

    def answer_states(self, rows: list[Tensor], labels: Tensor, *, packed: bool = False) -> Tensor:
        """The last hidden states [M, D] that predict the M `labels` that are not -100, in order.

        `rows` are the projected rows of each clip (`project`) or a substitute. For losses that compute logits in
        chunks. `packed` concatenates all clips without padding: positions restart with each, and the language model's
        attention must keep them apart, as in Transformers with position ids and no mask.
        """
        inside = labels != IGNORED
        if packed:
            given, columns = self._packed(rows, labels)
            states: Tensor = self.language_model.get_decoder()(**given).last_hidden_state[0, columns]
            return states
        given, count = self._padded(rows, labels)
        states = self.language_model.get_decoder()(**given).last_hidden_state[:, -count:]
        return states[inside]

    def _padded(self, rows: list[Tensor], labels: Tensor | None) -> tuple[dict[str, Any], int]:
        """The arguments of the language model, and how many of its last columns predict the answer."""
        embeds, mask = self._pad_prompts(self._prompts(rows))
        columns = 1
        if labels is not None and labels.shape[1] > 1:
            previous = labels[:, :-1]
            inside = previous != IGNORED
            answer = self.language_model.get_input_embeddings()(previous.clamp(min=0))
            embeds = torch.cat([embeds, answer], dim=1)
            mask = torch.cat([mask, inside.long()], dim=1)
            columns = labels.shape[1]
            self._check_room(mask.shape[1], "the longest clip and the longest text of the batch")
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        given = {"inputs_embeds": embeds, "attention_mask": mask, "position_ids": positions, "use_cache": False}
        return given, columns

    def _packed(self, rows: list[Tensor], labels: Tensor) -> tuple[dict[str, Any], Tensor]:
        """The arguments of the language model for packed clips, and the columns [M] that predict the answers."""
        counts = (labels != IGNORED).sum(1).tolist()
        answers = self.language_model.get_input_embeddings()(labels.clamp(min=0))
        parts: list[Tensor] = []
        positions: list[Tensor] = []
        columns: list[Tensor] = []
        start = 0
        for number, (prompt, count) in enumerate(zip(self._prompts(rows), counts, strict=True)):
            parts += [prompt, answers[number, : max(count - 1, 0)]]
            length = sum(map(len, parts[-2:]))
            self._check_room(length, f"clip {number} of the batch with its text")
            positions.append(torch.arange(length, device=labels.device))
            columns.append(start + len(prompt) - 1 + torch.arange(count, device=labels.device))
            start += length
        given = {"inputs_embeds": torch.cat(parts)[None], "position_ids": torch.cat(positions)[None]}
        return {**given, "use_cache": False}, torch.cat(columns)

    @torch.no_grad()
    def generate(
        self,
        input_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """Answers without prompts, by `generate` of the language model, with its beams, lengths and streamers."""
        if input_values is None:
            raise ModelError("generate needs `input_values`: the audio from the processor")
        embeds, mask = self.embed_prompts(input_values, attention_mask)
        config = copy.deepcopy(generation_config or self.generation_config)
        rest = config.update(**kwargs)  # other arguments: streamers, processors
        return self.language_model.generate(inputs_embeds=embeds, attention_mask=mask, generation_config=config, **rest)

    def get_input_embeddings(self) -> nn.Module:
        """Those of the language model."""
        made: nn.Module = self.language_model.get_input_embeddings()
        return made

    def get_output_embeddings(self) -> nn.Module:
        """The output head of the language model."""
        made: nn.Module = self.language_model.get_output_embeddings()
        return made

    # --- folders

    def trained_names(self) -> set[str]:
        """The names of the weights to save: the projector, everything that is or was trained, adapters, and buffers."""
        names = {
            name
            for name, value in self.named_parameters(remove_duplicate=False)
            if value.requires_grad or "lora_" in name or _plain(name) in self._held
        }
        names |= {f"projector.{name}" for name in self.projector.state_dict()}
        owners = {name.rpartition(".")[0] for name in names}
        return names | {name for name, _ in self.named_buffers() if name.rpartition(".")[0] in owners}

    def save_pretrained(self, save_directory: Any, **kwargs: Any) -> None:
        """Write config, code for `trust_remote_code`, and weights: with named bases only `trained_names`, else all."""
        state = kwargs.pop("state_dict", None) or self.state_dict()
        if self.config.bases is not None:
            wanted = self.trained_names()
            state = {name: value for name, value in state.items() if name in wanted}
        super().save_pretrained(save_directory, state_dict=state, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Load a folder or Hub repository, and its base models, frozen, if it holds only the trained weights.

        Raises `ModelError` that names a base model that cannot be loaded.
        """
        config = kwargs.pop("config", None)
        place = {key: kwargs[key] for key in _PLACE if kwargs.get(key) is not None}
        if config is None or isinstance(config, str | Path):
            config = FusionConfig.from_pretrained(config or pretrained_model_name_or_path, **place)
        if config.bases is None or pretrained_model_name_or_path is None:
            return super().from_pretrained(pretrained_model_name_or_path, *args, config=config, **kwargs)
        trained = read_weights(pretrained_model_name_or_path, place)
        with torch.device("meta"):
            expected = set(cls(config).state_dict())
        kept = {key: place[key] for key in place if key not in ("revision", "subfolder")}
        if kwargs.get("dtype") is not None:
            kept["dtype"] = kwargs["dtype"]
        state: dict[str, Tensor] = {}
        for part, base in config.bases.items():
            state |= base_weights(part, base, expected, **kept)
        state |= trained
        for key in ("revision", "subfolder"):
            kwargs.pop(key, None)
        loaded = super().from_pretrained(None, *args, config=config, state_dict=state, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model._settle(pretrained_model_name_or_path, set(trained), place)
        return loaded

    def _settle(self, folder: Any, trained: set[str], place: dict[str, Any]) -> None:
        """Freeze the weights of the bases, and load the folder's generation config."""
        for name, value in self.named_parameters():
            value.requires_grad_(name in trained)
        self._held = frozenset(map(_plain, trained))
        self.name_or_path = str(folder)
        try:
            self.generation_config = GenerationConfig.from_pretrained(folder, **place)
        except OSError:
            self.generation_config = GenerationConfig(eos_token_id=self.config.answer_end)

    def merge(self) -> None:
        """Merge adapters into their weights and drop the bases: the next `save_pretrained` writes everything."""
        for part in self.config.adapters or {}:
            fold_lora(self.get_submodule(part))
        self.config.adapters = None
        self.config.bases = None


_PLACE = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")


def _sample_counts(input_values: Tensor, attention_mask: Tensor | None) -> list[int]:
    """Samples of each clip. Raises `ModelError` for other shapes and for masks with gaps."""
    if input_values.dim() != 2:
        raise ModelError(f"input_values must be [clips, samples] at 16 kHz, got shape {tuple(input_values.shape)}")
    if attention_mask is None:
        return [input_values.shape[1]] * len(input_values)
    if attention_mask.shape != input_values.shape:
        raise ModelError(
            f"attention_mask has shape {tuple(attention_mask.shape)}, input_values {tuple(input_values.shape)}: they "
            "must be equal"
        )
    counts: list[int] = attention_mask.long().sum(1).tolist()
    last = attention_mask.long().cummin(1).values.sum(1).tolist()
    if counts != last:
        row = next(row for row, (count, end) in enumerate(zip(counts, last, strict=True)) if count != end)
        raise ModelError(f"clip {row} of the batch is not padded on the right: its attention_mask has a gap")
    return counts


def _plain(name: str) -> str:
    """The name of a weight without adapters."""
    return name.replace(".base_layer.", ".")


MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES[FusionConfig.model_type] = FusionForConditionalGeneration.__name__
# With the line above, Transformers' speech recognition pipeline treats the model as sequence-to-sequence, not as CTC.
