"""Any Whisper as a model of streams, against the decoder of whole recordings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from linnet.audio import load as load_audio
from linnet.audio.mel import log_mel
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.decoding.decoder import Decoder
from linnet.decoding.options import DecodingOptions
from linnet.errors import ModelError, OptionError
from linnet.streaming.events import Final
from linnet.streaming.models import streaming_model
from linnet.streaming.options import StreamOptions
from linnet.streaming.protocol import Hypothesis, Query
from linnet.streaming.reencoding import ReencodingModel, padded_log_mel
from linnet.streaming.session import StreamSession
from linnet.transcription.recognizer import Recognizer, load
from linnet.transcription.whisper import WhisperBackend


@pytest.fixture(scope="module")
def recognizer() -> Iterator[Recognizer]:
    threads = torch.get_num_threads()
    yield load("digits", engine="torch", threads=1)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model(recognizer: Recognizer) -> ReencodingModel:
    found = streaming_model(recognizer)
    assert isinstance(found, ReencodingModel)
    return found


@pytest.fixture(scope="module")
def sound(root: Path) -> Samples:
    return load_audio(root / "examples" / "digits-en.flac").samples


def ask(model: ReencodingModel, samples: Samples, committed: Sequence[int] = (), language: str | None = "en") -> Query:
    memory = model.begin(language=language)
    for at in range(0, len(samples), 7000):
        model.add_audio(memory, samples[at : at + 7000])
    return Query(memory, tuple(committed))


def test_it_hears_what_the_decoder_of_whole_windows_hears(
    model: ReencodingModel, recognizer: Recognizer, sound: Samples
) -> None:
    backend = recognizer.backend
    assert isinstance(backend, WhisperBackend)
    wave = np.pad(sound, (0, backend.model.padded(len(sound)) - len(sound)))
    encoded = backend.engine.encode(log_mel(wave, backend.model.n_mels)[None])
    decoder = Decoder(backend.engine, backend.vocabulary, backend.model.max_length)
    known = backend.vocabulary
    options = DecodingOptions(
        language="en",
        timestamps=False,
        temperatures=(0.0,),
        suppress_tokens=(*known.suppress, *range(known.no_timestamps, known.size)),
    )
    (plain,) = decoder.decode(encoded, options)
    (hypothesis,) = model.answer([ask(model, sound)])
    assert hypothesis.tokens == plain.tokens
    assert hypothesis.tokens
    np.testing.assert_allclose(hypothesis.token_logprobs, plain.token_logprobs, atol=1e-4)
    assert "".join(word.text for word in hypothesis.words) == plain.text
    assert hypothesis.ended
    assert hypothesis.language == "en"


def test_behind_words_that_are_final_it_goes_on_as_it_would_have(model: ReencodingModel, sound: Samples) -> None:
    (whole,) = model.answer([ask(model, sound)])
    for word in whole.words[:-1]:
        count = word.indices[-1] + 1
        (rest,) = model.answer([ask(model, sound, whole.tokens[:count])])
        assert rest.tokens == whole.tokens[count:]
        later = [one for one in whole.words if one.indices[0] >= count]
        assert [one.text for one in rest.words] == [one.text for one in later]
        assert [one.indices[0] for one in rest.words] == [one.indices[0] - count for one in later]
        assert [one.end for one in rest.words] == pytest.approx([one.end for one in later])


def test_several_together_are_what_they_are_alone(model: ReencodingModel, sound: Samples) -> None:
    asked = [ask(model, sound[: round(seconds * SAMPLE_RATE)]) for seconds in (1.0, 2.2, 2.9, 4.0)]
    asked.append(ask(model, sound, model.answer([ask(model, sound)])[0].tokens[:1]))
    asked.append(ask(model, sound[:SAMPLE_RATE], language=None))
    together, alone = model.answer(asked), [model.answer([one])[0] for one in asked]
    for one, other in zip(together, alone, strict=True):
        assert one.tokens == other.tokens
        np.testing.assert_allclose(one.token_logprobs, other.token_logprobs, atol=1e-4)
        assert [word.end for word in one.words] == pytest.approx([word.end for word in other.words], abs=0.03)


def test_a_word_is_as_probable_as_its_least_probable_token(model: ReencodingModel, sound: Samples) -> None:
    (hypothesis,) = model.answer([ask(model, sound)])
    for word in hypothesis.words:
        least = min(hypothesis.token_logprobs[place] for place in word.indices)
        assert word.probability == pytest.approx(np.exp(least))


def test_silence_behind_the_sound_need_not_be_computed(recognizer: Recognizer, sound: Samples) -> None:
    backend = recognizer.backend
    assert isinstance(backend, WhisperBackend)
    for count in (0, 1, 201, 7999, len(sound)):
        padded = 30 * SAMPLE_RATE
        wave = np.pad(sound[:count], (0, padded - count))
        found = padded_log_mel(backend.engine, sound[:count], padded, 80)
        np.testing.assert_allclose(found, log_mel(wave, 80), atol=1e-5)
    exact = padded_log_mel(backend.engine, sound[: 2 * SAMPLE_RATE], 2 * SAMPLE_RATE, 80)
    np.testing.assert_allclose(exact, log_mel(sound[: 2 * SAMPLE_RATE], 80), atol=1e-6)


@pytest.mark.parametrize("beam_size", [1, 2])
def test_so_many_tokens_are_decoded_where_that_is_asked(
    model: ReencodingModel, recognizer: Recognizer, sound: Samples, beam_size: int
) -> None:
    asked = model if beam_size == 1 else streaming_model(recognizer, beam_size=beam_size)
    for seconds, committed in ((3, ()), (3, (11, 12))):
        query = ask(model, sound[: seconds * SAMPLE_RATE], committed)
        (plain,) = asked.answer([query])
        assert plain.ended
        for length in (len(plain.tokens) + 4, len(plain.tokens) - 1):
            (forced,) = asked.answer([replace(query, length=length)])
            assert len(forced.tokens) == length
            if beam_size == 1:  # what would be the end is where it goes on
                shared = min(length, len(plain.tokens))
                assert forced.tokens[:shared] == plain.tokens[:shared]


def test_audio_that_is_let_go_makes_a_prompt_of_its_words(model: ReencodingModel, sound: Samples) -> None:
    query = ask(model, sound)
    after = model.forget(query.memory, 1.0, (11, 12))
    np.testing.assert_array_equal(after.samples, sound[SAMPLE_RATE:])
    assert after.prompt == (11, 12)
    assert model.room(after) == pytest.approx(model.room(query.memory) + 1.0)


def test_a_language_is_detected_until_something_is_final(model: ReencodingModel, sound: Samples) -> None:
    query = ask(model, sound, language=None)
    (hypothesis,) = model.answer([query])
    assert hypothesis.language in model.languages
    assert query.memory.language is None
    model.answer([Query(query.memory, hypothesis.tokens[:1])])
    assert query.memory.language == hypothesis.language


def test_beam_search_begins_with_what_is_final(recognizer: Recognizer, sound: Samples) -> None:
    beam = streaming_model(recognizer, beam_size=3)
    assert isinstance(beam, ReencodingModel)
    (whole,) = beam.answer([ask(beam, sound)])
    (rest,) = beam.answer([ask(beam, sound, whole.tokens[:1])])
    assert whole.tokens
    assert (*whole.tokens[:1], *rest.tokens) == whole.tokens


def test_what_the_model_does_not_know_is_refused_when_the_stream_is_opened(model: ReencodingModel) -> None:
    with pytest.raises(OptionError, match="tlhingan"):
        StreamSession(model, StreamOptions(language="tlhingan"))


def test_a_model_of_another_family_is_refused_with_the_way_out() -> None:
    class Backend:
        """Without a Whisper vocabulary."""

        engine_name = "transformers ctc cpu float32"

    ref: Any = SimpleNamespace(name="some/ctc", revision=None)
    other = Recognizer(cast("Any", Backend()), ref, device="cpu", dtype="float32")
    with pytest.raises(ModelError, match="some/ctc cannot stream"):
        streaming_model(other)


def transcript(model: ReencodingModel, samples: Samples, options: StreamOptions, chunk: int = 4000) -> str:
    session = StreamSession(model, options)
    events = [event for at in range(0, len(samples), chunk) for event in session.push(samples[at : at + chunk])]
    events += session.finish()
    return "".join(event.text for event in events if isinstance(event, Final)).strip()


def test_digits_stream_to_what_they_are(model: ReencodingModel, sound: Samples) -> None:
    hypothesis = {transcript(model, sound, StreamOptions(language="en"), chunk) for chunk in (333, 16_000, 10**6)}
    assert hypothesis == {"three one four one five nine"}


def test_the_hypothesis_of_nothing_is_nothing(model: ReencodingModel) -> None:
    (hypothesis,) = model.answer([ask(model, np.zeros(100, np.float32))])
    assert isinstance(hypothesis, Hypothesis)
    assert len(hypothesis.tokens) <= 12
