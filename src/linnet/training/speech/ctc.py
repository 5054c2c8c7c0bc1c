"""A head on the encoder that spells the text letter by letter (Graves et al. 2006, connectionist temporal
classification).

It makes the encoder tell where what is said, and is kept beside the model. Its vocabulary are the characters of the
training texts: that of a language model would be a thousand times as large and no easier to hear.

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
PER_SECOND = 50  # outputs at least: an encoder of 12.5 frames a second is too slow for letters
Frames = Callable[[int], int]  # encoder frames of a clip of so many samples


def spelled(text: str) -> str:
    """What of a text can be heard: letters, marks, digits and apostrophes in lower case, one space between words.

    >>> spelled(" Don't - stop! ")
    "don't stop"
    """
    plain = unicodedata.normalize("NFC", text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").lower())
    heard = "".join(c if c == "'" or unicodedata.category(c)[0] in "LMN" else " " for c in plain)
    return " ".join(heard.split())


@dataclass(frozen=True)
class Alphabet:
    """The characters that a head knows; number 0 is the blank, that of `characters[0]` is 1."""

    characters: str

    @classmethod
    def of(cls, texts: Iterable[str]) -> Alphabet:
        """All that occur in the texts, in the order of their code points."""
        found: set[str] = set()
        for text in texts:
            found.update(spelled(text))
        return cls("".join(sorted(found)))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {character: number for number, character in enumerate(self.characters, 1)}

    def ids(self, text: str) -> list[int]:
        """The characters of a text as numbers; those that are not known are left out.

        >>> Alphabet(" abn").ids("A banana!")
        [2, 1, 3, 2, 4, 2, 4, 2]
        """
        return [self._numbers[character] for character in spelled(text) if character in self._numbers]


class CtcHead(nn.Module):
    """One matrix from encoder frames [T, d] to k T rows of log-probabilities of the blank and the characters."""

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

        Zero for a clip with fewer outputs than its characters need: no path leads through it.
        """
        told = self(pad_sequence(list(frames), batch_first=True)).transpose(0, 1)
        inside = spellings != IGNORED
        lengths = torch.tensor([self.outputs * len(clip) for clip in frames], device=told.device)
        return nn.functional.ctc_loss(
            told, spellings[inside], lengths, inside.sum(1), reduction="none", zero_infinity=True
        )

    def save(self, folder: Path, state: Mapping[str, Tensor] | None = None) -> None:
        """Write the head with its characters beside a model; `state` are its matrix's weights, by default its own."""
        from safetensors.torch import save_file

        found = state or self.linear.state_dict()
        weights = {name: value.detach().cpu().contiguous() for name, value in found.items()}
        about = {"characters": json.dumps(self.alphabet.characters), "outputs": str(self.outputs)}
        save_file(weights, folder / FILE, about)


def outputs_needed(ids: Sequence[int]) -> int:
    """The least outputs that a path through these characters takes: one for each, a blank between equal ones.

    >>> outputs_needed([1, 2, 2, 3])
    5
    """
    return len(ids) + sum(one == other for one, other in pairwise(ids))


def load_ctc_head(folder: Path) -> CtcHead:
    """The head that stands beside a model. Raises `ModelError` where there is none or it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / FILE, "pt") as file:
            about: dict[str, str] = file.metadata()
            weights = {name: file.get_tensor(name) for name in ("weight", "bias")}
        alphabet, outputs = Alphabet(json.loads(about["characters"])), int(about["outputs"])
        head = CtcHead(weights["weight"].shape[1], alphabet, outputs)
        head.linear.load_state_dict(weights)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{folder / FILE}: no CTC head can be read there ({error}).") from error
    return head


def make_ctc_head(model: Any, texts: Iterable[str], begun: Path | None = None) -> CtcHead:
    """A head for a model's encoder: that of the folder `begun` where it knows all characters of these texts, or fresh.

    Raises:
        OptionError: an encoder whose number of frames is not known in advance, or texts without a letter.
        ModelError: the folder's head cannot be read.
    """
    config = _audio_config(model)
    alphabet = Alphabet.of(texts)
    if begun is not None and (begun / FILE).is_file():
        head = load_ctc_head(begun)
        if set(alphabet.characters) <= set(head.alphabet.characters):
            return head
    if not alphabet.characters:
        raise OptionError("losses: ctc: the training texts have not one letter to be spelled.")
    return CtcHead(config.hidden_size, alphabet, max(1, -(-PER_SECOND * speech_encoder(config).step // SAMPLE_RATE)))


def frames_of(model: Any) -> Frames:
    """The function that says how many encoder frames a clip of so many samples has. Raises `OptionError`."""
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
        f"losses: ctc: a {model.config.model_type} model does not say how many frames its encoder makes of audio; "
        "a CTC head can be had with Whisper and with fusion models."
    )
