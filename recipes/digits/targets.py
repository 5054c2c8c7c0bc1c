"""Decoder targets in Whisper's layout: what the decoder reads and what it must answer at each position.

[startofprev, prompt...] sot, language, task, (notimestamps, words... | time, words..., time, ...) eot
"""

from __future__ import annotations

from dataclasses import dataclass

from linnet.audio.effects import Rng
from linnet.training.batch import IGNORED

from .compose import Recording, Word
from .tokens import Vocabulary
from .words import DIGITS

NOWHERE = (0.0, 0.0)
Placed = tuple[int, tuple[float, float]]  # a token and the seconds where it is heard
PROMPTS = (
    "phone number",
    "my pin is",
    "the code:",
    "account 12",
    "Nummer",
    "le code",
    "número",
    "call",
    "Room",
    "digits",
)


@dataclass(frozen=True)
class Target:
    """`inputs[i]` is read at position i and `labels[i]` is the answer there; `IGNORED` ones are not scored.

    `spans[i]` are the (first, end) seconds where the sound says so; (0, 0) where no place does or none is known.
    """

    inputs: list[int]
    labels: list[int]
    spans: list[tuple[float, float]]


@dataclass(frozen=True)
class Style:
    """How one recording is to be written down."""

    timestamps: bool
    translate: bool = False
    prompt: tuple[int, ...] = ()


def choose_style(rng: Rng, recording: Recording, vocabulary: Vocabulary) -> Style:
    """Half with timestamps, some translated into English, a few after a prompt."""
    translate = recording.language != "en" and bool(rng.random() < 0.1)
    prompt: tuple[int, ...] = ()
    if rng.random() < 0.06:
        prompt = _prompt(rng, recording.language, vocabulary)
    return Style(bool(rng.random() < 0.5), translate, prompt)


def build_target(recording: Recording, style: Style, vocabulary: Vocabulary) -> Target:
    """The target of one recording; without words the answer after sot is `nospeech` and the text is empty."""
    v = vocabulary
    head = [v.special(name) for name in ("startoftranscript", recording.language)]
    head.append(v.special("translate" if style.translate else "transcribe"))
    words = [v.word(word) for word in DIGITS["en" if style.translate else recording.language]]
    if style.timestamps:
        body = timed_tokens(recording, words, v)
    else:
        head.append(v.special("notimestamps"))
        body = [(words[word.digit], _place(word)) for word in recording.words]
    prompt = [v.special("startofprev"), *style.prompt] if style.prompt else []
    sequence = [*prompt, *head, *(token for token, _ in body), v.special("endoftext")]
    spans = [NOWHERE] * (len(prompt) + len(head) - 1) + [span for _, span in body] + [NOWHERE]
    labels = sequence[1:]
    start = len(prompt)
    labels[:start] = [IGNORED] * start
    empty = not recording.words and recording.cut is None
    if empty:
        labels[start] = v.special("nospeech")
    return Target(sequence[:-1], labels, spans)


def timed_tokens(recording: Recording, words: list[int], vocabulary: Vocabulary) -> list[Placed]:
    """Times around each phrase; at the end the start of a word that the window cuts off."""
    tokens: list[Placed] = []
    for phrase in recording.phrases():
        tokens.append(_time(phrase[0].start, vocabulary))
        tokens += [(words[word.digit], _place(word)) for word in phrase]
        tokens.append(_time(phrase[-1].end, vocabulary))
    if recording.cut is not None:
        tokens.append(_time(max(recording.cut, _last_end(recording.words)), vocabulary))
    return tokens or [(vocabulary.time(0.0), NOWHERE)]


def _time(seconds: float, vocabulary: Vocabulary) -> Placed:
    return vocabulary.time(seconds), (max(0.0, seconds - 0.1), seconds + 0.1)


def _place(word: Word) -> tuple[float, float]:
    return (word.start, word.end) if word.exact else NOWHERE


def _last_end(words: list[Word]) -> float:
    return words[-1].end if words else 0.0


def _prompt(rng: Rng, language: str, vocabulary: Vocabulary) -> tuple[int, ...]:
    kind = rng.random()
    if kind < 0.25:
        return tuple(vocabulary.bytes_of(" " + PROMPTS[int(rng.integers(len(PROMPTS)))]))
    digits = rng.integers(0, 10, int(rng.integers(1, 20)))
    words = [vocabulary.word(DIGITS[language][digit]) for digit in digits]
    if kind < 0.6:
        start = float(rng.uniform(0, 5))
        return (vocabulary.time(start), *words, vocabulary.time(start + 0.5 * len(words)))
    return tuple(words)
