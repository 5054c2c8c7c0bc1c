"""A causal Whisper as a streaming model: each block is encoded once, and only text after the final words changes.

Shapes: N samples of a segment, T mel frames, M mel bins, P encoder frames, L tokens, H heads.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from linnet.alignment.activity import SpeechActivity, speech_activity
from linnet.alignment.aligner import DecodedWindow, place_words
from linnet.alignment.words import TimedWord
from linnet.arrays import Array, one_thread
from linnet.audio.mel import HOP, LogMel, scale_causal
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.decoding.drafted import Continued, Draft, TextRules, follow_drafts
from linnet.decoding.fallback import compression_ratio
from linnet.decoding.language import resolve_language
from linnet.decoding.logits import softmax
from linnet.decoding.options import DecodingOptions
from linnet.decoding.prefix import build_prefix
from linnet.engines.causal import CausalEngine
from linnet.errors import OptionError
from linnet.models.causal import FRAME_SAMPLES, FRAME_SECONDS, LOOKAHEAD_SAMPLES, CausalSpec
from linnet.models.whisper import WhisperModel
from linnet.streaming.options import CommitTiming
from linnet.streaming.protocol import Hypothesis, Query

MOST_PROMPT = 64  # maximum tokens of preceding text
NEW_TOKENS = 15  # of a decode, beyond those of the previous one
TOKENS_PER_SECOND, MORE_TOKENS = 8.0, 25.0  # English; scripts with several tokens per character
REPETITIVE = 2.4  # compression ratio above which text is not reused as a draft
MOST_SPECIAL = 6  # non-text tokens of a prefix
SHORTEST_STEP = 0.2  # seconds between decodes, however short the blocks are
_BACKGROUND = 300  # frames of 10 ms before the first word, for the noise floor


@dataclass(frozen=True)
class NewBlock:
    """An encoded block that lacks right context: where it begins in the encoder's memory, its mel frames, its end."""

    begin: Any
    mel: Array
    end: int


@dataclass
class CausalMemory:
    """A segment: its audio, the encoder state, and the last hypothesis.

    `fresh` are the blocks that are encoded again with the next one.

    `language` is None until it is detected. `ends` holds for each word so far, final or not, the number of tokens up to
    its end and its end time in seconds.
    """

    language: str | None
    prompt: tuple[int, ...]
    encoder: Any
    mel: LogMel
    peak: Any
    chunks: list[Samples] = field(default_factory=list)
    fresh: tuple[NewBlock, ...] = ()
    count: int = 0  # samples received
    seen: int = 0  # samples processed by `mel`
    tokens: tuple[int, ...] = ()  # of the last decode, the final ones first
    ends: list[tuple[int, float]] = field(default_factory=list)
    decoded_frames: int = 0  # frames available to the last decode
    answer: tuple[int, tuple[int, ...], Hypothesis] | None = None  # last query (frames, final tokens), answer

    @property
    def samples(self) -> Samples:
        """All samples [N]."""
        if len(self.chunks) != 1:
            self.chunks = [np.concatenate([np.zeros(0, np.float32), *self.chunks])]
        return self.chunks[0]


class CausalModel:
    """A `StreamingModel` of a causal Whisper on any engine that runs one.

    Each answer equals plain greedy decoding of all audio after the final tokens, regardless of earlier answers.
    """

    carries = False  # each segment is encoded from its own start

    def __init__(
        self, model: WhisperModel, engine: CausalEngine, spec: CausalSpec, *, block: float | None = None
    ) -> None:
        """`block`: seconds of audio encoded at a time; default: that of the spec.

        Raises `OptionError` for a block that the model was not trained for.
        """
        self.name, self.engine_name, self.spec = model.name, engine.name, spec
        self.languages = tuple(model.vocabulary.languages)
        self.whisper, self._engine, self._vocabulary = model, engine, model.vocabulary
        self.most_tokens = model.max_length // 2  # as Whisper was trained, beside a prompt as long
        self._block = check_block(block, spec)
        step = max(self.block, SHORTEST_STEP)
        self.timing = CommitTiming(delay=0.0, step=step, patience=0.0, threshold=spec.sure, ends_after_words=True)
        self._rules = TextRules(model.vocabulary)
        self._options = DecodingOptions(timestamps=False)

    @property
    def block(self) -> float:
        """Seconds of audio encoded at a time."""
        return self._block * FRAME_SECONDS

    def prompt(self, text: str) -> tuple[int, ...]:
        """See `StreamingModel`. Empty if the model was not trained with prompts."""
        return self._vocabulary.prompt(text) if self.spec.prompts else ()

    def begin(self, *, language: str | None, prompt: Sequence[int] = ()) -> CausalMemory:
        """See `StreamingModel`. Raises `OptionError` for a language that the model does not know."""
        return CausalMemory(
            language=resolve_language(language or self.spec.language, self._vocabulary),
            prompt=tuple(prompt)[-MOST_PROMPT:] if self.spec.prompts else (),
            encoder=self._engine.begin(),
            mel=LogMel(self.whisper.n_mels),
            peak=self.spec.speech_peak,
        )

    def add_audio(self, memory: CausalMemory, samples: Samples) -> None:
        """See `StreamingModel`. Raises `ValueError` if the samples exceed the `room` in the model's window."""
        if memory.count + len(samples) > self._engine.most_frames * FRAME_SAMPLES:
            raise ValueError(f"{len(samples)} samples do not fit: the segment has room for {self.room(memory):.2f} s")
        memory.chunks.append(np.asarray(samples, np.float32))
        memory.count += len(samples)
        ends = []
        end = self._next_end(memory.encoder.frames)
        while end > memory.encoder.frames and memory.count >= end * FRAME_SAMPLES + LOOKAHEAD_SAMPLES:
            ends.append(end)
            if self._next_end(end) == end:
                break
            end = self._next_end(end)
        if ends:
            sound = memory.samples[memory.seen :]
            sound = sound[: ends[-1] * FRAME_SAMPLES + LOOKAHEAD_SAMPLES - memory.seen]
            memory.seen += len(sound)
            memory.peak, memory.fresh = self._encode(memory, memory.mel, sound, ends)

    def forget(self, memory: CausalMemory, before: float, committed: tuple[int, ...]) -> None:  # noqa: ARG002
        """See `StreamingModel`: encoded frames depend on all earlier audio, so nothing can be dropped."""
        return

    def encoded(self, memory: CausalMemory) -> float:
        """See `StreamingModel`."""
        return float(memory.encoder.frames * FRAME_SECONDS)

    def room(self, memory: CausalMemory) -> float:
        """See `StreamingModel`."""
        most = (self._engine.most_frames - self.spec.tail_pad) * FRAME_SECONDS
        return most - memory.count / SAMPLE_RATE

    def answer(self, queries: Sequence[Query]) -> list[Hypothesis]:
        """See `StreamingModel`. A final query also encodes its tail, padded with silence, and rolls it back."""
        memories = [query.memory for query in queries if query.final]
        firsts = [each.fresh[0].begin.frames if each.fresh else each.encoder.frames for each in memories]
        marks = [each.encoder.mark(first) for each, first in zip(memories, firsts, strict=True)]
        try:
            for memory in memories:
                self._encode_tail(memory)
            return self._answer(queries)
        finally:
            for memory, mark in zip(memories, marks, strict=True):
                memory.encoder.rewind(mark)

    # --- encoding

    def _next_end(self, frames: int) -> int:
        """End of the block that follows `frames`."""
        return min(frames + (self._block if frames else self.spec.first_block), self._engine.most_frames)

    def _encode(
        self, memory: CausalMemory, mel: LogMel, sound: Samples, ends: Sequence[int]
    ) -> tuple[Any, tuple[NewBlock, ...]]:
        """Encode the blocks with these ends, which `sound` completes; returns the new peak and the fresh blocks.

        Each is encoded together with the fresh ones before it, which are forgotten first.
        """
        with one_thread():
            frames, peak = scale_causal(mel.push(sound), memory.peak)
        encoder, fresh = memory.encoder, memory.fresh
        for end in ends:
            taken = 2 * (end - encoder.frames) + (encoder.frames == 0)
            fresh = (*fresh, NewBlock(encoder.mark(), frames[:taken], end))
            encoder.rewind(fresh[0].begin)
            self._engine.encode(encoder, np.concatenate([block.mel for block in fresh]))
            fresh = tuple(block for block in fresh if block.end > end - self.spec.right_context)
            frames = frames[taken:]
        return peak, fresh

    def _encode_tail(self, memory: CausalMemory) -> None:
        """Encode the incomplete block with silence behind it, as far as there is room: one block, if not too long.

        Its length is a multiple of the shortest block's, since an engine prepares itself for each length that it meets.
        """
        ends, end, step = [], memory.encoder.frames, self.spec.shortest_block
        missing = -(-memory.count // FRAME_SAMPLES) + self.spec.tail_pad - end
        wanted = min(end + -(-missing // step) * step, self._engine.most_frames)
        while end < wanted:
            end = wanted if wanted - end <= self.spec.longest_block else self._next_end(end)
            ends.append(end)
        if ends:
            sound = np.zeros(end * FRAME_SAMPLES + LOOKAHEAD_SAMPLES - memory.seen, np.float32)
            rest = memory.samples[memory.seen :][: len(sound)]
            sound[: len(rest)] = rest
            self._encode(memory, copy.copy(memory.mel), sound, ends)

    # --- decoding

    def _answer(self, queries: Sequence[Query]) -> list[Hypothesis]:
        known = {row: found for row, query in enumerate(queries) if (found := self._known(query)) is not None}
        rows = [row for row in range(len(queries)) if row not in known]
        if rows:
            known |= zip(rows, self._decode([queries[row] for row in rows]), strict=True)
        return [known[row] for row in range(len(queries))]

    def _known(self, query: Query) -> Hypothesis | None:
        """The answer if no decoding is needed: no frames yet, no room for tokens, or the same query as before."""
        memory, committed = query.memory, query.committed
        if not memory.encoder.frames:
            return Hypothesis((), (), (), ended=True, language=memory.language, until=0.0)
        if len(memory.prompt) + len(committed) + MOST_SPECIAL >= self.whisper.max_length:
            return Hypothesis((), (), (), ended=False, language=memory.language, until=_until(memory))
        frames, final, known = memory.answer or (0, (), None)
        return known if (frames, final) == (memory.encoder.frames, committed) else None

    def _decode(self, queries: Sequence[Query]) -> list[Hypothesis]:
        languages = self._languages(queries)
        drafts = [self._draft(query, language) for query, language in zip(queries, languages, strict=True)]
        state = self._engine.start([query.memory.encoder for query in queries])
        found = follow_drafts(self._engine, state, drafts, self._rules)
        answers = []
        for row, (query, draft, one) in enumerate(zip(queries, drafts, found, strict=True)):
            words = self._words(query, one, state, row, len(draft.prefix))
            answers.append(self._hypothesis(query, one, words, languages[row]))
        return answers

    def _languages(self, queries: Sequence[Query]) -> list[str | None]:
        """The language of each segment, detected at each decode until it has final words."""
        languages: list[str | None] = [query.memory.language for query in queries]
        unknown = [row for row, language in enumerate(languages) if language is None]
        if not unknown or not self._vocabulary.languages:
            return languages
        state = self._engine.start([queries[row].memory.encoder for row in unknown])
        logits = self._engine.feed(state, [[self._vocabulary.start]] * len(unknown), [[0]] * len(unknown))
        codes = list(self._vocabulary.languages)
        probabilities = softmax(logits[:, [self._vocabulary.languages[code] for code in codes]]).tolist()
        for row, chances in zip(unknown, probabilities, strict=True):
            languages[row] = codes[int(np.argmax(chances))]
            if queries[row].committed:
                queries[row].memory.language = languages[row]
        return languages

    def _draft(self, query: Query, language: str | None) -> Draft:
        memory, committed = query.memory, query.committed
        prefix, start = build_prefix(
            self._vocabulary,
            self._options,
            language=language,
            prompt=memory.prompt,
            max_length=self.whisper.max_length,
        )
        guess = memory.tokens[len(committed) :] if memory.tokens[: len(committed)] == committed else ()
        seconds = (memory.encoder.frames - memory.decoded_frames) * FRAME_SECONDS
        new = max(NEW_TOKENS, math.ceil(seconds * TOKENS_PER_SECOND))
        room = self.whisper.max_length - len(prefix) - len(committed)
        limit = min(query.length or len(guess) + new, room)
        return Draft((*prefix, *committed), guess, start, begun=bool(committed), limit=limit, least=query.length)

    def _hypothesis(
        self, query: Query, one: Continued, words: tuple[TimedWord, ...], language: str | None
    ) -> Hypothesis:
        memory, tokens = query.memory, tuple(one.tokens)
        hypothesis = Hypothesis(
            tokens=tokens,
            token_logprobs=tuple(one.token_logprobs[: len(tokens)]),
            words=words,
            ended=one.ended,
            no_speech_prob=one.no_speech,
            avg_logprob=one.avg_logprob,
            compression_ratio=compression_ratio(self._vocabulary.text([*query.committed, *tokens])),
            language=language,
            until=_until(memory),
        )
        if not query.final:
            loops = not one.ended and hypothesis.compression_ratio > REPETITIVE
            memory.tokens = query.committed if loops else (*query.committed, *tokens)
            memory.decoded_frames = memory.encoder.frames
            memory.answer = memory.encoder.frames, query.committed, hypothesis
        return hypothesis

    # --- word times

    def _words(self, query: Query, one: Continued, state: Any, row: int, prefix: int) -> tuple[TimedWord, ...]:
        """The words of the new tokens, timed after the final ones by cross-attention during decoding."""
        memory = query.memory
        memory.ends = [each for each in memory.ends if each[0] <= len(query.committed)]
        if not one.tokens:
            return ()
        heads, begun = self.whisper.alignment_heads, memory.ends[-1][1] if memory.ends else 0.0
        received = min(memory.count, memory.encoder.frames * FRAME_SAMPLES)
        cut = max(min(math.floor(begun / FRAME_SECONDS), received // FRAME_SAMPLES - 1), 0)
        places = range(prefix - 1, prefix - 1 + len(one.tokens))
        attention = self._engine.look(state, row, places, heads.pairs)[..., cut:].astype(np.float64)
        with one_thread():
            sound = _activity(memory.samples[:received], cut)
            window = DecodedWindow((0,), one.tokens, (), memory.samples[cut * FRAME_SAMPLES : received])
            timed = place_words(window, attention, self._vocabulary, lag=heads.lag, sound=sound)
        words = tuple(_placed(word, one, cut * FRAME_SECONDS, begun) for word in timed)
        memory.ends += [(len(query.committed) + word.indices[-1] + 1, word.end) for word in words]
        return words


def check_block(block: float | None, spec: CausalSpec) -> int:
    """The encoder frames of a block in seconds. Raises `OptionError` for one that the model was not trained for."""
    if block is None:
        return spec.default_block
    frames = round(block / FRAME_SECONDS) if math.isfinite(block) else 0
    if not spec.shortest_block <= frames <= spec.longest_block:
        low, high = (each * FRAME_SECONDS for each in (spec.shortest_block, spec.longest_block))
        raise OptionError(f"this causal model takes blocks of {low:g} to {high:g} s, not of {block:g} s")
    return frames


def _until(memory: CausalMemory) -> float:
    """Seconds of the audio that are encoded."""
    return float(min(memory.encoder.frames * FRAME_SECONDS, memory.count / SAMPLE_RATE))


def _activity(samples: Samples, cut: int) -> SpeechActivity:
    """Speech activity from encoder frame `cut` on, against the background of up to 3 s before it."""
    before = min(2 * cut, _BACKGROUND)
    sound = speech_activity(samples[(2 * cut - before) * HOP :])
    return SpeechActivity(sound.score[before:], sound.level[before:])


def _placed(word: TimedWord, one: Continued, offset: float, begun: float) -> TimedWord:
    """A word in segment time, not before the previous words, with the probability of its least probable token."""
    start, end = (max(round(offset + time, 3), begun) for time in (word.start, word.end))
    least = min(one.token_logprobs[place] for place in word.indices)
    return replace(word, start=start, end=end, probability=math.exp(least))
