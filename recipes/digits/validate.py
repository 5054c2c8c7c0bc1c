"""Score the embedded model during training: connected strings of held-out real speakers, and clips of nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import WhisperForConditionalGeneration

from linnet.audio import effects
from linnet.audio.effects import Rng
from linnet.audio.mel import log_mel
from linnet.audio.types import SAMPLE_RATE as RATE

from . import augment
from .augment import Array
from .bank import Voice
from .tokens import TIME_STEP, WINDOW, Vocabulary
from .words import DIGITS


@dataclass(frozen=True)
class Case:
    """Samples [N] at 16 kHz, the words in them, the language, and each phrase's true (start, end) in seconds."""

    samples: Array
    words: tuple[str, ...]
    language: str = "en"
    phrases: tuple[tuple[float, float], ...] = ()


def connected(voice: Voice, count: int, lengths: tuple[int, int], rng: Rng, language: str = "en") -> list[Case]:
    """`count` strings of one voice: lengths[0] to lengths[1] digits, gaps of 0.05 to 0.3 s, noise 50 dB below them."""
    cases = []
    for _ in range(count):
        digits = [int(d) for d in rng.integers(0, 10, int(rng.integers(lengths[0], lengths[1] + 1)))]
        parts = [np.zeros(int(rng.uniform(0.1, 0.6) * RATE), np.float32)]
        start = len(parts[0])
        end = start
        for digit in digits:
            clips = voice.digits[digit]
            parts.append(clips[int(rng.integers(len(clips)))].samples())
            end = sum(map(len, parts))
            parts.append(np.zeros(int(rng.uniform(0.05, 0.3) * RATE), np.float32))
        samples = np.concatenate(parts)[: round(WINDOW * RATE)] * 0.4
        level = float(np.sqrt(np.mean(samples**2)))
        samples = samples + level * 10 ** (-50 / 20) * rng.standard_normal(len(samples), dtype=np.float32)
        words = tuple(DIGITS[language][digit] for digit in digits)
        cases.append(Case(samples, words, language, ((start / RATE, end / RATE),)))
    return cases


def degraded(cases: Sequence[Case], rng: Rng) -> list[Case]:
    """The same strings from stranger voices in worse places: other speeds, rooms and noise at 5 to 20 dB."""
    rough = []
    for case in cases:
        samples = effects.resample(case.samples, float(rng.uniform(0.85, 1.2)))
        samples = np.convolve(samples, effects.room_response(rng))[: len(samples)].astype(np.float32)
        noise = effects.colored(rng, len(samples), float(rng.uniform(0, 2)))
        level = float(np.sqrt(np.mean(samples**2)))
        samples = samples + noise * level * float(10 ** (-rng.uniform(5, 20) / 20))
        rough.append(Case(samples.astype(np.float32), case.words, case.language))
    return rough


def nothing(rng: Rng, levels: tuple[float, ...] = (-50.0, -30.0, -10.0), per_level: int = 20) -> list[Case]:
    """Silence, white noise and music-like noise, 1 to 10 s, at each level in dBFS (root mean square)."""
    cases = []
    for level in levels:
        for index in range(per_level):
            length = int(rng.uniform(1, WINDOW) * RATE)
            kind = index % 3
            if kind == 0:
                samples = rng.standard_normal(length, dtype=np.float32) * 1e-5 * (index % 2)
            else:
                made = rng.standard_normal(length, dtype=np.float32) if kind == 1 else augment.music(rng, length)
                samples = effects.unit(made) * 10 ** (level / 20)
            cases.append(Case(np.clip(samples, -1, 1).astype(np.float32), ()))
    return cases


@torch.no_grad()
def transcripts(
    model: WhisperForConditionalGeneration, cases: Sequence[Case], *, detect: bool = False, batch: int = 16
) -> list[tuple[str | None, list[str]]]:
    """The greedy (language, words) of each case; the language is given, or detected where `detect` is set."""
    vocabulary = Vocabulary.build()
    spelled = {vocabulary.word(word): word for words in DIGITS.values() for word in words}
    names = {vocabulary.special(language): language for language in DIGITS}
    was_training = model.training
    model.eval()
    output: list[tuple[str | None, list[str]]] = []
    for first in range(0, len(cases), batch):
        group = cases[first : first + batch]
        encoded = model.get_encoder()(features_of(group).to(model.device))
        if detect:
            sot = torch.full((len(group), 1), vocabulary.special("startoftranscript"), device=model.device)
            logits = model(encoder_outputs=encoded, decoder_input_ids=sot).logits[:, 0]
            ids = torch.tensor(list(names), device=model.device)
            languages = [names[int(ids[i])] for i in logits[:, ids].argmax(-1)]
        else:
            languages = [case.language for case in group]
        tokens = model.generate(
            encoder_outputs=encoded, language=languages, task="transcribe", return_timestamps=False, num_beams=1
        )
        rows = zip(languages, tokens, strict=True)
        output += [
            (lang, [spelled.get(int(t), "?") for t in row if int(t) < vocabulary.special("endoftext")])
            for lang, row in rows
        ]
    model.train(was_training)
    return output


@torch.no_grad()
def timed_phrases(
    model: WhisperForConditionalGeneration, cases: Sequence[Case], batch: int = 16
) -> list[list[tuple[float, float]]]:
    """The (start, end) seconds of every phrase that greedy decoding with timestamps finds in each case."""
    vocabulary = Vocabulary.build()
    output: list[list[tuple[float, float]]] = []
    for first in range(0, len(cases), batch):
        group = cases[first : first + batch]
        tokens = model.generate(
            features_of(group).to(model.device),
            language=[case.language for case in group],
            task="transcribe",
            return_timestamps=True,
            num_beams=1,
        )
        for row in tokens.tolist():
            times = [(token - vocabulary.first_time) * TIME_STEP for token in row if token >= vocabulary.first_time]
            output.append(list(zip(times[::2], times[1::2], strict=False)))
    return output


def features_of(cases: Sequence[Case]) -> Tensor:
    """Log-mel [B, M, T] of cases padded to the model's window."""
    padded = np.zeros((len(cases), round(WINDOW * RATE)), np.float32)
    for row, case in enumerate(cases):
        padded[row, : len(case.samples)] = case.samples
    features: Tensor = log_mel(torch.from_numpy(padded))
    return features.transpose(1, 2)


def word_error_rate(cases: Sequence[Case], heard: Sequence[tuple[str | None, list[str]]]) -> float:
    """Corpus WER: edits summed / reference words summed."""
    edits = sum(edit_distance(case.words, words) for case, (_, words) in zip(cases, heard, strict=True))
    return edits / max(1, sum(len(case.words) for case in cases))


def edit_distance(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Levenshtein distance over words."""
    row = list(range(len(hypothesis) + 1))
    for i, expected in enumerate(reference, start=1):
        diagonal, row[0] = row[0], i
        for j, actual in enumerate(hypothesis, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (expected != actual))
    return row[-1]
