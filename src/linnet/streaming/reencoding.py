"""Any Whisper as a model of streams: the stretch of speech is encoded again at each look, and its tail decoded.

Shapes: B windows, N samples, T mel frames, M mel bins, L tokens, V vocabulary.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from linnet.alignment.aligner import DecodedWindow, word_times
from linnet.alignment.grouping import split_words
from linnet.alignment.words import TimedWord
from linnet.arrays import Array, namespace, one_thread
from linnet.audio.mel import HOP, SETTLED, LogMel, scale
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.decoding.beam import beam_search
from linnet.decoding.fallback import compression_ratio
from linnet.decoding.greedy import follow
from linnet.decoding.hypothesis import Hypothesis as Found
from linnet.decoding.hypothesis import Search, prime
from linnet.decoding.language import detect_language, resolve_language
from linnet.decoding.options import DecodingOptions
from linnet.decoding.prefix import build_prefix
from linnet.decoding.rules import Rule, Suppress, SuppressAtBegin
from linnet.engines.protocol import EncoderOutput, Engine
from linnet.models.vocabulary import WhisperVocabulary
from linnet.models.whisper import WhisperModel
from linnet.streaming.protocol import Hypothesis, Query
from linnet.transcription.whisper import WhisperBackend

MOST_PROMPT = 64  # tokens of the text before that are kept
TOKENS_PER_SECOND, MORE_TOKENS = 10.0, 25.0  # of English, and of scripts that take several for a letter
SPARE_TOKENS = 10
SHORTEST = SETTLED + 1  # samples that log-mel features need
_SILENT = np.log10(np.float32(1e-10))


@dataclass
class Window:
    """The audio of a segment so far; `language` is None until it is detected."""

    language: str | None
    prompt: tuple[int, ...]
    chunks: list[Samples] = field(default_factory=list)

    @property
    def samples(self) -> Samples:
        """All of them [N]."""
        if len(self.chunks) != 1:
            self.chunks = [np.concatenate([np.zeros(0, np.float32), *self.chunks])]
        return self.chunks[0]


class ReencodingModel:
    """A `StreamingModel` of any Whisper-family model on any engine."""

    carries = True  # it hears as much at once as it may

    def __init__(self, backend: WhisperBackend, name: str, *, beam_size: int = 1) -> None:
        self.name, self.engine_name, self.languages = name, backend.engine_name, backend.languages
        self._model: WhisperModel = backend.model
        self._engine: Engine = backend.engine
        self._vocabulary: WhisperVocabulary = backend.vocabulary
        self._beam_size = beam_size
        self._options = DecodingOptions(timestamps=False)
        self._rules = _rules(self._vocabulary)

    def prompt(self, text: str) -> tuple[int, ...]:
        """See `StreamingModel`. Raises `OptionError` for a model that takes no prompt."""
        return self._vocabulary.prompt(text)

    def begin(self, *, language: str | None, prompt: Sequence[int] = ()) -> Window:
        """See `StreamingModel`. Raises `OptionError` for a language that the model does not know."""
        return Window(resolve_language(language, self._vocabulary), tuple(prompt)[-MOST_PROMPT:])

    def hear(self, memory: Window, samples: Samples) -> None:
        """See `StreamingModel`."""
        memory.chunks.append(samples)

    def forget(self, memory: Window, before: float, committed: tuple[int, ...]) -> Window:
        """See `StreamingModel`."""
        prompt = () if self._vocabulary.start_of_previous is None else (*memory.prompt, *committed)[-MOST_PROMPT:]
        return Window(memory.language, prompt, [memory.samples[round(before * SAMPLE_RATE) :].copy()])

    def room(self, memory: Window) -> float:
        """See `StreamingModel`."""
        return (self._model.window_samples - len(memory.samples)) / SAMPLE_RATE

    def answer(self, queries: Sequence[Query]) -> list[Hypothesis]:
        """See `StreamingModel`. Windows that are padded alike are encoded, and with prefixes of one length decoded,
        together."""
        groups: dict[int, list[int]] = defaultdict(list)
        for row, query in enumerate(queries):
            groups[self._model.padded(max(len(query.memory.samples), SHORTEST))].append(row)
        answers: dict[int, Hypothesis] = {}
        for padded, rows in groups.items():
            answers |= zip(rows, self._answer([queries[row] for row in rows], padded), strict=True)
        return [answers[row] for row in range(len(queries))]

    def _answer(self, queries: Sequence[Query], padded: int) -> list[Hypothesis]:
        encoded = self._encode([query.memory.samples for query in queries], padded)
        languages = self._languages(queries, encoded)
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        prefixes: list[list[int]] = []
        for row, (query, language) in enumerate(zip(queries, languages, strict=True)):
            prefix, start = build_prefix(
                self._vocabulary,
                self._options,
                language=language,
                prompt=query.memory.prompt,
                max_length=self._model.max_length,
            )
            prefixes.append(prefix)
            groups[len(prefix) + len(query.committed), start].append(row)
        answers: dict[int, Hypothesis] = {}
        for (_, start), rows in groups.items():
            own = encoded.select(rows)
            asked = [_Asked(queries[row], prefixes[row], languages[row]) for row in rows]
            answers |= zip(rows, self._decode(own, asked, start), strict=True)
        return [answers[row] for row in range(len(queries))]

    def _encode(self, sounds: Sequence[Samples], padded: int) -> EncoderOutput:
        with one_thread():
            each = [padded_log_mel(self._engine, samples, padded, self._model.n_mels) for samples in sounds]
        return self._engine.encode(namespace(each[0]).stack(each), [-(-len(samples) // HOP) for samples in sounds])

    def _languages(self, queries: Sequence[Query], encoded: EncoderOutput) -> list[str | None]:
        """Each window's language; it is detected at each look until something is final."""
        unknown = [row for row, query in enumerate(queries) if query.memory.language is None]
        languages: list[str | None] = [query.memory.language for query in queries]
        if not unknown or not self._vocabulary.languages:
            return languages
        told = detect_language(self._engine, encoded.select(unknown), self._vocabulary)
        for row, heard in zip(unknown, told, strict=True):
            languages[row] = max(heard, key=heard.__getitem__)
            if queries[row].committed:
                queries[row].memory.language = languages[row]
        return languages

    def _decode(self, encoded: EncoderOutput, asked: Sequence[_Asked], start: int) -> list[Hypothesis]:
        sequences = [[*one.prefix, *one.query.committed] for one in asked]
        room = self._model.max_length - len(sequences[0])
        if room < 1:  # no more tokens fit behind those that are final
            return [Hypothesis((), (), (), ended=False, language=one.language) for one in asked]
        limit = min(room, max(one.limit for one in asked))
        primed = prime(
            self._engine,
            encoded,
            sequences,
            start=start,
            no_speech=self._vocabulary.no_speech,
            max_length=len(sequences[0]) + limit,
        )
        search = Search(self._engine, self._vocabulary.end, limit)
        rules = self._rules if any(not one.query.committed for one in asked) else self._rules[:1]
        if self._beam_size > 1:
            found = beam_search(search, primed, rules, beams=self._beam_size, length_penalty=1.0)
        else:
            found = follow(search, primed, rules)
        words = self._words(encoded, asked, found)
        return [
            self._hypothesis(*each)  # keeps the order of `asked`
            for each in zip(asked, found, words, primed.no_speech, strict=True)
        ]

    def _hypothesis(self, asked: _Asked, found: Found, words: tuple[TimedWord, ...], silence: float) -> Hypothesis:
        return Hypothesis(
            tokens=found.tokens,
            token_logprobs=found.token_logprobs,
            words=words,
            ended=found.count > len(found.tokens),
            no_speech_prob=silence,
            avg_logprob=found.avg_logprob,
            compression_ratio=compression_ratio(self._vocabulary.text([*asked.query.committed, *found.tokens])),
            language=asked.language,
        )

    def _words(
        self, encoded: EncoderOutput, asked: Sequence[_Asked], found: Sequence[Found]
    ) -> list[tuple[TimedWord, ...]]:
        """The words of the new tokens of each window, timed among those that are final."""
        rows = [row for row, one in enumerate(found) if one.tokens]
        windows = [
            DecodedWindow(
                asked[row].prefix,
                [*asked[row].query.committed, *found[row].tokens],
                (),
                asked[row].query.memory.samples,
            )
            for row in rows
        ]
        heads = self._model.alignment_heads
        timed = word_times(self._engine, encoded.select(rows), windows, self._vocabulary, heads.pairs, heads.lag)
        words: list[tuple[TimedWord, ...]] = [() for _ in found]
        for row, times in zip(rows, timed, strict=True):
            words[row] = _new_words(self._vocabulary, found[row], times, len(asked[row].query.committed))
        return words


@dataclass(frozen=True)
class _Asked:
    """A query with what the decoder is told before the tokens that are final."""

    query: Query
    prefix: list[int]
    language: str | None

    @property
    def limit(self) -> int:
        """Most new tokens: more than anybody says in this time is a loop."""
        seconds = len(self.query.memory.samples) / SAMPLE_RATE
        rate = TOKENS_PER_SECOND if self.language == "en" else MORE_TOKENS
        return max(SPARE_TOKENS, math.ceil(rate * seconds) + SPARE_TOKENS - len(self.query.committed))


def _rules(vocabulary: WhisperVocabulary) -> list[Rule]:
    """What no token may be, and then what the first one may not be: other than elsewhere, it may be the end."""
    times = range(vocabulary.no_timestamps, vocabulary.size)
    rules: list[Rule] = [Suppress(sorted({*vocabulary.suppress, *times}))]
    begin = [token for token in vocabulary.begin_suppress if token != vocabulary.end]
    return [*rules, SuppressAtBegin(begin)] if begin else rules


def padded_log_mel(engine: Engine, samples: Samples, padded: int, n_mels: int) -> Array:
    """`log_mel` of samples [N] that are followed by silence up to `padded`, [T, M]; the silence costs nothing.

    It is known what silence gives, so only frames that see sound are computed.
    """
    frames = padded // HOP
    seen = min(-(-(len(samples) + SETTLED) // HOP), frames)
    wave = np.zeros(min((seen + 2) * HOP, padded), np.float32)
    wave[: len(samples)] = samples
    log = LogMel(n_mels).finish(engine.place(wave))[:seen]
    if seen == frames:
        return scale(log)
    xp = namespace(log)
    rest = xp.full((frames - seen, n_mels), float(_SILENT), dtype=log.dtype, device=log.device)
    return scale(xp.concat([log, rest], axis=0))


def _new_words(
    vocabulary: WhisperVocabulary, found: Found, timed: Sequence[TimedWord], committed: int
) -> tuple[TimedWord, ...]:
    """The words of the tokens after the first `committed`; a word's probability is that of its least probable token."""
    owner = {place: word for word in timed for place in word.indices}
    words: list[TimedWord] = []
    for word in split_words(vocabulary, found.tokens):
        own = [owner[committed + place] for place in word.indices if committed + place in owner]
        start, end = (own[0].start, own[-1].end) if own else (words[-1].end if words else 0.0,) * 2
        least = min(found.token_logprobs[place] for place in word.indices)
        guessed = not own or any(one.interpolated for one in own)
        words.append(TimedWord(word.text, start, end, math.exp(least), guessed, word.indices))
    return tuple(words)
