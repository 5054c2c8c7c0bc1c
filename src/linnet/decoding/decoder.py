"""Decode encoded windows to tokens and text: language detection, search, fallback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from linnet.decoding.beam import beam_search
from linnet.decoding.fallback import compression_ratio, needs_fallback, shortfall
from linnet.decoding.greedy import Sampler, follow
from linnet.decoding.hypothesis import Hypothesis, Search, prime
from linnet.decoding.language import best_explained, detect_language, rivals
from linnet.decoding.options import DecodingOptions
from linnet.decoding.prefix import build_prefixes, check_options, resolve_language
from linnet.decoding.result import DecodingResult
from linnet.decoding.rules import build_rules
from linnet.engines.protocol import EncoderOutput, Engine
from linnet.errors import OptionError
from linnet.models.vocabulary import WhisperVocabulary

_RIVAL_TOKENS = 48  # enough for 5 s of speech; stops a repetition loop early


class Decoder:
    """Decodes the windows of one Whisper-family model on any engine."""

    def __init__(self, engine: Engine, vocabulary: WhisperVocabulary, max_length: int) -> None:
        self._engine, self._vocabulary, self._max_length = engine, vocabulary, max_length

    def detect_language(self, encoded: EncoderOutput) -> list[dict[str, float]]:
        """The probability of each of the model's languages, per window; they sum to 1."""
        return detect_language(self._engine, encoded, self._vocabulary)

    def settle_language(
        self,
        encoded: EncoderOutput,
        probabilities: Mapping[str, float],
        options: DecodingOptions,
        prompt: Sequence[int] = (),
    ) -> str:
        """The language of one window: the most probable, or, if that is uncertain, the one that explains the audio
        best.

        `probabilities` are those of `detect_language`. If the highest is below 0.8, the window is decoded in up to
        three languages, greedily and up to 48 tokens. See `language.best_explained`.
        """
        likeliest = max(probabilities, key=probabilities.__getitem__)
        codes = rivals(probabilities)
        if not codes:
            return likeliest
        limit = min(options.max_new_tokens or _RIVAL_TOKENS, _RIVAL_TOKENS)
        trial = replace(options, task="transcribe", temperatures=(0.0,), beam_size=1, max_new_tokens=limit)
        decoded = self.decode(encoded.select([0] * len(codes)), trial, languages=codes, prompts=[prompt] * len(codes))
        return best_explained(decoded, probabilities, options.compression_ratio_threshold) or likeliest

    def decode(
        self,
        encoded: EncoderOutput,
        options: DecodingOptions,
        *,
        languages: Sequence[str | None] | None = None,
        prompts: Sequence[Sequence[int]] | None = None,
    ) -> list[DecodingResult]:
        """Decode all windows together; returns one result per window.

        `languages`, one per window, override `options.language`; if neither is given, the language is detected.
        `prompts`, one per window, are the tokens before it without <|startofprev|>, all of one length (`ValueError`
        otherwise); `None` means `options.context`. A window whose result is repetitive or improbable is decoded again,
        with others like it, at the next of `options.temperatures`; if all fail, the best result is kept. Raises
        `OptionError` for options that the model does not support.
        """
        check_options(options, self._vocabulary)
        spoken = self._languages(encoded, options, languages)
        prefixes, start = build_prefixes(
            self._vocabulary, options, languages=spoken, prompts=prompts, max_length=self._max_length
        )
        tried: dict[int, list[DecodingResult]] = {row: [] for row in range(encoded.batch)}
        rows = list(range(encoded.batch))
        for temperature in options.temperatures:
            found = self._search(encoded.select(rows), [prefixes[row] for row in rows], start, options, temperature)
            for row, (hypothesis, no_speech) in zip(rows, found, strict=True):
                tried[row].append(self._result(hypothesis, spoken[row], no_speech, temperature))
            rows = [row for row in rows if needs_fallback(tried[row][-1], options)]
            if not rows:
                break
        best = {row: min(tried[row], key=lambda one: shortfall(one, options)) for row in rows}
        return [best.get(row, results[-1]) for row, results in tried.items()]

    def _languages(
        self, encoded: EncoderOutput, options: DecodingOptions, languages: Sequence[str | None] | None
    ) -> list[str | None]:
        given = list(languages) if languages is not None else [None] * encoded.batch
        if len(given) != encoded.batch:
            raise ValueError(f"{encoded.batch} windows need as many languages, got {len(given)}")
        spoken = [resolve_language(language or options.language, self._vocabulary) for language in given]
        unknown = [row for row, language in enumerate(spoken) if language is None]
        if unknown:
            for row, probabilities in zip(unknown, self.detect_language(encoded.select(unknown)), strict=True):
                spoken[row] = max(probabilities, key=probabilities.__getitem__)
        return spoken

    def _search(
        self,
        encoded: EncoderOutput,
        prefixes: Sequence[Sequence[int]],
        start: int,
        options: DecodingOptions,
        temperature: float,
    ) -> list[tuple[Hypothesis, float]]:
        """The best hypothesis of each window at one temperature, and its no-speech probability."""
        room = self._max_length - len(prefixes[0])
        if room < 1:
            raise OptionError(f"the prompt leaves no room in the model's {self._max_length} tokens: shorten it")
        limit = min(room, options.max_new_tokens or room)
        search = Search(self._engine, self._vocabulary.end, limit)
        rules = build_rules(self._vocabulary, options)
        primed = prime(
            self._engine,
            encoded,
            prefixes,
            start=start,
            no_speech=self._vocabulary.no_speech,
            max_length=len(prefixes[0]) + limit,
        )
        if temperature > 0.0:
            found = follow(search, primed, rules, Sampler(temperature, options.seed))
        elif options.beam_size > 1:
            found = beam_search(search, primed, rules, beams=options.beam_size, length_penalty=options.length_penalty)
        else:
            found = follow(search, primed, rules)
        return list(zip(found, primed.no_speech, strict=True))

    def _result(
        self, hypothesis: Hypothesis, language: str | None, no_speech: float, temperature: float
    ) -> DecodingResult:
        text = self._vocabulary.text(hypothesis.tokens)
        return DecodingResult(
            tokens=hypothesis.tokens,
            text=text,
            language=language,
            avg_logprob=hypothesis.avg_logprob,
            no_speech_prob=no_speech,
            compression_ratio=compression_ratio(text),
            temperature=temperature,
            token_logprobs=hypothesis.token_logprobs,
        )
