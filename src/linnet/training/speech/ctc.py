"""A character CTC head on the encoder (Graves et al. 2006, connectionist temporal classification).

It makes encoder frames align with the text and is saved beside the model. Its vocabulary are the characters of the
training texts, a thousand times smaller than that of a language model.

Shapes: B utterances, T encoder frames, k outputs for each frame, d encoder width, S characters of a text, C = 1 + all
characters (0 is the blank).
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from linnet.audio import SAMPLE_RATE
from linnet.errors import ModelError, OptionError
from linnet.models.families import family_of_model
from linnet.models.fusion.encoders import speech_encoder
from linnet.training.batch import IGNORED

FILE = "ctc_head.safetensors"
PER_SECOND = 50  # minimum outputs; 12.5 frames per second are too few for characters
Frames = Callable[[int], int]  # samples of a clip -> encoder frames


def spelled(text: str) -> str:
    """The spoken part of a text: lowercase letters, marks, digits and apostrophes, with single spaces.

    >>> spelled(" Don't - stop! ")
    "don't stop"
    """
    plain = unicodedata.normalize("NFC", text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").lower())
    kept = "".join(c if c == "'" or unicodedata.category(c)[0] in "LMN" else " " for c in plain)
    return " ".join(kept.split())


@dataclass(frozen=True)
class Alphabet:
    """The characters of a head; number 0 is the blank, that of `characters[0]` is 1."""

    characters: str

    @classmethod
    def of(cls, texts: Iterable[str]) -> Alphabet:
        """All characters of the texts, in order of code points."""
        found: set[str] = set()
        for text in texts:
            found.update(spelled(text))
        return cls("".join(sorted(found)))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {character: number for number, character in enumerate(self.characters, 1)}

    def ids(self, text: str) -> list[int]:
        """The characters of a text as numbers, without unknown ones.

        >>> Alphabet(" abn").ids("A banana!")
        [2, 1, 3, 2, 4, 2, 4, 2]
        """
        return [self._numbers[character] for character in spelled(text) if character in self._numbers]


class CtcHead(nn.Module):
    """A linear layer from encoder frames [T, d] to k T rows of log-probabilities of blank and characters."""

    def __init__(self, width: int, alphabet: Alphabet, outputs: int = 1) -> None:
        super().__init__()
        self.alphabet, self.outputs = alphabet, outputs
        self.linear = nn.Linear(width, outputs * (1 + len(alphabet.characters)))

    def forward(self, frames: Tensor) -> Tensor:
        """Log-probabilities [..., k T, C] in float32 of frames [..., T, d]."""
        logits = self.linear(frames.to(self.linear.weight.dtype)).float()
        return torch.log_softmax(logits.unflatten(-1, (self.outputs, -1)).flatten(-3, -2), -1)

    def losses(self, frames: Sequence[Tensor], spellings: Tensor) -> Tensor:
        """-log p(spelling | frames) [B] of clips with `frames` [T, d] and `spellings` [B, S], padded with -100.

        Zero for a clip with fewer outputs than its characters need.
        """
        log_probs = self(pad_sequence(list(frames), batch_first=True)).transpose(0, 1)
        inside = spellings != IGNORED
        lengths = torch.tensor([self.outputs * len(clip) for clip in frames], device=log_probs.device)
        return nn.functional.ctc_loss(
            log_probs, spellings[inside], lengths, inside.sum(1), reduction="none", zero_infinity=True
        )

    def save(self, folder: Path, state: Mapping[str, Tensor] | None = None) -> None:
        """Write the head with its characters beside a model; `state` are its weights, by default its own."""
        from safetensors.torch import save_file

        found = state or self.linear.state_dict()
        weights = {name: value.detach().cpu().contiguous() for name, value in found.items()}
        about = {"characters": json.dumps(self.alphabet.characters), "outputs": str(self.outputs)}
        save_file(weights, folder / FILE, about)


def outputs_needed(ids: Sequence[int]) -> int:
    """The minimum number of outputs for these characters: one each, and a blank between equal neighbors.

    >>> outputs_needed([1, 2, 2, 3])
    5
    """
    return len(ids) + sum(one == other for one, other in pairwise(ids))


def load_ctc_head(folder: Path) -> CtcHead:
    """Load the head saved beside a model. Raises `ModelError` where it is missing or unreadable."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / FILE, "pt") as file:
            about: dict[str, str] = file.metadata()
            weights = {name: file.get_tensor(name) for name in ("weight", "bias")}
        alphabet, outputs = Alphabet(json.loads(about["characters"])), int(about["outputs"])
        head = CtcHead(weights["weight"].shape[1], alphabet, outputs)
        head.linear.load_state_dict(weights)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{folder / FILE}: not a readable CTC head ({error}).") from error
    return head


def make_ctc_head(model: Any, texts: Iterable[str], begun: Path | None = None) -> CtcHead:
    """A head for a model's encoder: that in the folder `begun` if it covers all characters of these texts, else a fresh
    one.

    Raises:
        OptionError: the encoder's number of frames is unknown, or the texts have no characters.
        ModelError: the folder's head cannot be read.
    """
    config = _audio_config(model)
    alphabet = Alphabet.of(texts)
    if begun is not None and (begun / FILE).is_file():
        head = load_ctc_head(begun)
        if set(alphabet.characters) <= set(head.alphabet.characters):
            return head
    if not alphabet.characters:
        raise OptionError("losses: ctc: the training texts have no characters to spell.")
    return CtcHead(config.hidden_size, alphabet, max(1, -(-PER_SECOND * speech_encoder(config).step // SAMPLE_RATE)))


def frames_of(model: Any) -> Frames:
    """The function from a clip's samples to its number of encoder frames. Raises `OptionError`."""
    found = family_of_model(model).clip_frames(model)
    if found is None:
        raise _unknown_frames(model)
    return found


def _audio_config(model: Any) -> Any:
    found = family_of_model(model).encoder_config(model.config)
    if found is None:
        raise _unknown_frames(model)
    return found


def _unknown_frames(model: Any) -> OptionError:
    return OptionError(
        f"losses: ctc: a {model.config.model_type} model does not state the number of its encoder frames; "
        "CTC heads are supported for Whisper and fusion models."
    )
