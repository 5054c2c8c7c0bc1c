"""Any Whisper as a streaming model: each decode re-encodes the segment and decodes the words that are not final.

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
from linnet.decoding.rules import Rule, Suppress, SuppressAtBegin, SuppressBefore
from linnet.engines.protocol import EncoderOutput, Engine
from linnet.models.vocabulary import WhisperVocabulary
from linnet.models.whisper import WhisperModel
from linnet.streaming.options import CommitTiming
from linnet.streaming.protocol import Hypothesis, Query
from linnet.transcription.whisper import WhisperBackend

MOST_PROMPT = 64  # maximum tokens of preceding text
TOKENS_PER_SECOND, MORE_TOKENS = 10.0, 25.0  # English; scripts with several tokens per character
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
        """All samples [N]."""
        if len(self.chunks) != 1:
            self.chunks = [np.concatenate([np.zeros(0, np.float32), *self.chunks])]
        return self.chunks[0]


class ReencodingModel:
    """A `StreamingModel` of any Whisper-family model on any engine."""

    carries = True  # more context is more accurate
    timing = CommitTiming()

    def __init__(self, backend: WhisperBackend, name: str, *, beam_size: int = 1) -> None:
        self.name, self.engine_name, self.languages = name, backend.engine_name, backend.languages
        self._model: WhisperModel = backend.model
        self._engine: Engine = backend.engine
        self._vocabulary: WhisperVocabulary = backend.vocabulary
        self._beam_size = beam_size
        self.most_tokens = self._model.max_length // 2  # as Whisper was trained, beside a prompt as long
        self._options = DecodingOptions(timestamps=False)
        self._rules = _rules(self._vocabulary)

    def prompt(self, text: str) -> tuple[int, ...]:
        """See `StreamingModel`. Raises `OptionError` for a model that takes no prompt."""
        return self._vocabulary.prompt(text)

    def begin(self, *, language: str | None, prompt: Sequence[int] = ()) -> Window:
        """See `StreamingModel`. Raises `OptionError` for a language that the model does not know."""
        return Window(resolve_language(language, self._vocabulary), tuple(prompt)[-MOST_PROMPT:])

    def add_audio(self, memory: Window, samples: Samples) -> None:
        """See `StreamingModel`."""
        memory.chunks.append(samples)

    def forget(self, memory: Window, before: float, committed: tuple[int, ...]) -> Window:
        """See `StreamingModel`."""
        prompt = () if self._vocabulary.start_of_previous is None else (*memory.prompt, *committed)[-MOST_PROMPT:]
        return Window(memory.language, prompt, [memory.samples[round(before * SAMPLE_RATE) :].copy()])

    def encoded(self, memory: Window) -> float:
        """See `StreamingModel`: all of it."""
        return len(memory.samples) / SAMPLE_RATE

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
            requests = [_Request(queries[row], prefixes[row], languages[row]) for row in rows]
            answers |= zip(rows, self._decode(own, requests, start), strict=True)
        return [answers[row] for row in range(len(queries))]

    def _encode(self, sounds: Sequence[Samples], padded: int) -> EncoderOutput:
        with one_thread():
            each = [padded_log_mel(self._engine, samples, padded, self._model.n_mels) for samples in sounds]
        return self._engine.encode(namespace(each[0]).stack(each), [-(-len(samples) // HOP) for samples in sounds])

    def _languages(self, queries: Sequence[Query], encoded: EncoderOutput) -> list[str | None]:
        """The language of each window, detected at each decode until it has final words."""
        unknown = [row for row, query in enumerate(queries) if query.memory.language is None]
        languages: list[str | None] = [query.memory.language for query in queries]
        if not unknown or not self._vocabulary.languages:
            return languages
        detected = detect_language(self._engine, encoded.select(unknown), self._vocabulary)
        for row, probabilities in zip(unknown, detected, strict=True):
            languages[row] = max(probabilities, key=probabilities.__getitem__)
            if queries[row].committed:
                queries[row].memory.language = languages[row]
        return languages

    def _decode(self, encoded: EncoderOutput, requests: Sequence[_Request], start: int) -> list[Hypothesis]:
        sequences = [[*one.prefix, *one.query.committed] for one in requests]
        room = self._model.max_length - len(sequences[0])
        if room < 1:  # no room after the final tokens
            return [Hypothesis((), (), (), ended=False, language=one.language) for one in requests]
        length = max(one.query.length for one in requests)
        limit = min(room, length or max(one.limit for one in requests))
        primed = prime(
            self._engine,
            encoded,
            sequences,
            start=start,
            no_speech=self._vocabulary.no_speech,
            max_length=len(sequences[0]) + limit,
        )
        search = Search(self._engine, self._vocabulary.end, limit)
        rules = self._rules if any(not one.query.committed for one in requests) else self._rules[:1]
        if length:
            rules = [*rules, SuppressBefore([self._vocabulary.end], length)]
        if self._beam_size > 1:
            found = beam_search(search, primed, rules, beams=self._beam_size, length_penalty=1.0)
        else:
            found = follow(search, primed, rules)
        words = self._words(encoded, requests, found)
        return [
            self._hypothesis(*each)  # keeps the order of `requests`
            for each in zip(requests, found, words, primed.no_speech, strict=True)
        ]

    def _hypothesis(self, request: _Request, found: Found, words: tuple[TimedWord, ...], silence: float) -> Hypothesis:
        return Hypothesis(
            tokens=found.tokens,
            token_logprobs=found.token_logprobs,
            words=words,
            ended=found.count > len(found.tokens),
            no_speech_prob=silence,
            avg_logprob=found.avg_logprob,
            compression_ratio=compression_ratio(self._vocabulary.text([*request.query.committed, *found.tokens])),
            language=request.language,
        )

    def _words(
        self, encoded: EncoderOutput, requests: Sequence[_Request], found: Sequence[Found]
    ) -> list[tuple[TimedWord, ...]]:
        """The words of the new tokens of each window, aligned together with the final ones."""
        rows = [row for row, one in enumerate(found) if one.tokens]
        windows = [
            DecodedWindow(
                requests[row].prefix,
                [*requests[row].query.committed, *found[row].tokens],
                (),
                requests[row].query.memory.samples,
            )
            for row in rows
        ]
        heads = self._model.alignment_heads
        timed = word_times(self._engine, encoded.select(rows), windows, self._vocabulary, heads.pairs, heads.lag)
        words: list[tuple[TimedWord, ...]] = [() for _ in found]
        for row, times in zip(rows, timed, strict=True):
            words[row] = _new_words(self._vocabulary, found[row], times, len(requests[row].query.committed))
        return words


@dataclass(frozen=True)
class _Request:
    """A query with the decoder prefix that precedes its final tokens."""

    query: Query
    prefix: list[int]
    language: str | None

    @property
    def limit(self) -> int:
        """Maximum new tokens: more than can be spoken in this time is a loop."""
        seconds = len(self.query.memory.samples) / SAMPLE_RATE
        rate = TOKENS_PER_SECOND if self.language == "en" else MORE_TOKENS
        return max(SPARE_TOKENS, math.ceil(rate * seconds) + SPARE_TOKENS - len(self.query.committed))


def _rules(vocabulary: WhisperVocabulary) -> list[Rule]:
    """Tokens suppressed everywhere, and at the beginning, where, unlike for recordings, the end token is allowed."""
    times = range(vocabulary.no_timestamps, vocabulary.size)
    rules: list[Rule] = [Suppress(sorted({*vocabulary.suppress, *times}))]
    begin = [token for token in vocabulary.begin_suppress if token != vocabulary.end]
    return [*rules, SuppressAtBegin(begin)] if begin else rules


def padded_log_mel(engine: Engine, samples: Samples, padded: int, n_mels: int) -> Array:
    """Compute `log_mel` [T, M] of samples [N] zero-padded to `padded`.

    The features of silence are known, so only frames that overlap the samples are computed.
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
    """The words of the tokens after the first `committed`; a word has the probability of its least probable token."""
    owner = {place: word for word in timed for place in word.indices}
    words: list[TimedWord] = []
    for word in split_words(vocabulary, found.tokens):
        own = [owner[committed + place] for place in word.indices if committed + place in owner]
        start, end = (own[0].start, own[-1].end) if own else (words[-1].end if words else 0.0,) * 2
        least = min(found.token_logprobs[place] for place in word.indices)
        guessed = not own or any(one.interpolated for one in own)
        words.append(TimedWord(word.text, start, end, math.exp(least), guessed, word.indices))
    return tuple(words)
