"""Recordings of any length through a Whisper-family model: against Transformers' own long-form, and by construction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperProcessor

import linnet
from linnet.audio.source import open_audio
from linnet.audio.types import SAMPLE_RATE, Audio
from linnet.decoding.decoder import Decoder
from linnet.decoding.result import DecodingResult
from linnet.engines.torch import TorchEngine
from linnet.errors import OptionError
from linnet.models.resolve import resolve
from linnet.models.whisper import load_whisper
from linnet.transcription.backend import Request
from linnet.transcription.options import LongForm, TranscriptionOptions
from linnet.transcription.recognizer import Recognizer
from linnet.transcription.whisper import WhisperBackend, WindowResult
from recipes.digits.model import DigitsModel, build_model
from recipes.digits.tokens import Vocabulary, make_tokenizer

PLAIN = TranscriptionOptions(
    temperatures=(0.0,), compression_ratio_threshold=None, log_probability_threshold=None, no_speech_threshold=None
)
SEQUENTIAL = replace(PLAIN, long_form="sequential")
LISTENING = TranscriptionOptions(long_form="sequential")  # with the guards against silence


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Whisper whose outputs vary from window to window, with the digit vocabulary and a window of 10 s."""
    torch.manual_seed(5)
    size = DigitsModel(
        width=64, encoder_heads=4, decoder_heads=4, feed_forward=96, encoder_layers=2, decoder_layers=2, max_tokens=48
    )
    model = build_model(size)
    end = Vocabulary.build().special("endoftext")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.1)
            elif parameter.ndim > 1 and "embed_positions" not in name:
                parameter.mul_(7.0)
        model.model.decoder.embed_positions.weight.normal_(std=0.4)
        model.model.decoder.embed_tokens.weight[end] *= 1.5
    model.generation_config.suppress_tokens = list(range(256))  # whole words only
    path = tmp_path_factory.mktemp("random")
    model.save_pretrained(path)
    WhisperProcessor(WhisperFeatureExtractor(chunk_length=10), make_tokenizer()).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def recognizer(folder: Path) -> Recognizer:
    return linnet.load(str(folder), device="cpu")


@pytest.fixture(scope="module")
def backend(folder: Path) -> WhisperBackend:
    model = load_whisper(folder, name="random", device="cpu", dtype=torch.float32)
    return WhisperBackend(model, TorchEngine(model))


def noise(seconds: float, seed: int = 0) -> Audio:
    rng = np.random.default_rng(seed)
    envelope = np.repeat(rng.uniform(0, 1, int(seconds * 4) + 1), SAMPLE_RATE // 4)[: round(seconds * SAMPLE_RATE)]
    return Audio((0.3 * envelope * rng.standard_normal(len(envelope))).astype(np.float32), name=f"noise {seed}")


def slow_twin(folder: Path, audio: Audio) -> list[str]:
    """Windows by Transformers' feature extractor, tokens by its `generate`, places by its `_retrieve_segment`."""
    model = WhisperForConditionalGeneration.from_pretrained(folder)
    extractor = WhisperFeatureExtractor.from_pretrained(folder)
    vocabulary, tokenizer = Vocabulary.build(), make_tokenizer()
    texts, seek = [], 0
    while len(samples := audio.samples[seek : seek + 10 * SAMPLE_RATE]) > SAMPLE_RATE // 10:
        features = extractor(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        row = model.generate(
            features, return_timestamps=True, language="en", task="transcribe", force_unique_generate_call=True
        )[0].tolist()
        end = vocabulary.special("endoftext")
        tokens = torch.tensor(row[3 : row.index(end) if end in row else None])
        parts, frames = WhisperForConditionalGeneration._retrieve_segment(
            seek_sequence=tokens,
            seek_outputs=[tokens],
            time_offset=torch.zeros(1, dtype=torch.float64),
            timestamp_begin=vocabulary.first_time,
            seek_num_frames=torch.tensor([len(samples) // 160]),
            time_precision=0.02,
            time_precision_features=0.01,
            input_stride=2,
            prev_idx=0,
            idx=0,
            return_token_timestamps=False,
            decoder_input_ids=torch.zeros(1, 3),
        )
        texts += [tokenizer.decode(part["tokens"], skip_special_tokens=True).strip() for part in parts]
        seek += int(frames) * 160
    return texts


@pytest.mark.parametrize("seed", [0, 1])
def test_long_audio_is_what_transformers_makes_window_by_window(
    folder: Path, recognizer: Recognizer, seed: int
) -> None:
    audio = noise(33.0, seed)
    ours = recognizer.transcribe(audio, options=SEQUENTIAL, language="en")
    assert [part.text for part in ours.segments] == [text for text in slow_twin(folder, audio) if text]


def test_segments_have_the_tokens_that_the_decoder_chose(
    backend: WhisperBackend, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[DecodingResult] = []
    original = backend.run

    def run(requests: Sequence[Request]) -> list[WindowResult]:
        results = original(requests)
        decoded.extend(result.decoded for result in results)
        return results

    monkeypatch.setattr(backend, "run", run)
    begin = backend.vocabulary.timestamp_begin
    for options in (replace(SEQUENTIAL, language="en"), replace(PLAIN, timestamps=False, vad=False, language="en")):
        decoded.clear()
        recognizer = Recognizer(backend, resolve(str(folder)), device="cpu", dtype="float32")
        made = recognizer.transcribe(noise(8.0, 1), options=options)
        spoken = [[token for token in result.tokens if token < begin] for result in decoded]
        assert made.segments
        for own in (list(segment.tokens) for segment in made.segments):
            assert any(own == row[at : at + len(own)] for row in spoken for at in range(len(row)))
        if not options.timestamps:
            assert [token for segment in made.segments for token in segment.tokens] in spoken
        for segment in made.segments:
            assert make_tokenizer().decode(segment.tokens, skip_special_tokens=True).strip() == segment.text


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("long_form", ["batched", "sequential"])
def test_batches_do_not_change_the_text(recognizer: Recognizer, batch_size: int, long_form: LongForm) -> None:
    options = replace(PLAIN, long_form=long_form, vad=False, language="en")
    recordings = [noise(3.0, 1), noise(14.0, 2), noise(0.5, 3), noise(25.0, 4)]
    alone = [recognizer.transcribe(one, options=options).text for one in recordings]
    together = {
        result.index: result.transcript.text
        for result in recognizer.transcribe_many(recordings, options=options, batch_size=batch_size)
        if result.transcript
    }
    assert [together[index] for index in range(len(recordings))] == alone


def test_a_transcript_says_what_made_it(recognizer: Recognizer, folder: Path) -> None:
    made = recognizer.transcribe(noise(2.0), options=PLAIN, beam_size=2, vad=False).to_dict()
    assert made["model"] == str(folder)
    assert len(made["revision"]) >= 12
    assert made["options"]["beam_size"] == 2
    assert made["options"]["dtype"] == "f32"  # of OpenVINO, the default on a CPU, for a small model
    assert set(made["versions"]) >= {"linnet", "torch", "transformers"}
    assert made["duration"] == pytest.approx(2.0)
    assert 0.0 < made["language_probability"] <= 1.0 or not made["segments"]


def test_an_unknown_option_names_the_nearest(recognizer: Recognizer) -> None:
    with pytest.raises(OptionError, match="did you mean beam_size"):
        recognizer.transcribe(noise(1.0), beam_sise=2)


def test_an_unknown_language_lists_what_the_model_knows(recognizer: Recognizer) -> None:
    with pytest.raises(OptionError, match=r"(?s)klingon.*en"):
        recognizer.transcribe(noise(1.0), language="klingon")


@dataclass
class Scripted:
    """A backend whose windows are scripted: `answers[i]` are the tokens of window i."""

    backend: WhisperBackend
    answers: list[tuple[int, ...]]
    asked: list[Request] = field(default_factory=list)

    def play(self, audio: Audio, options: TranscriptionOptions) -> Any:
        from linnet.audio.source import open_audio

        job = self.backend.job(open_audio(audio), options)
        reply = None
        while True:
            try:
                requests = job.send(reply)
            except StopIteration as stop:
                return stop.value
            first, self.asked = len(self.asked), [*self.asked, *requests]
            answers = self.answers[first : len(self.asked)]
            reply = [WindowResult(self.decoded(tokens), "de", {"de": 0.9, "en": 0.1}) for tokens in answers]

    def decoded(self, tokens: Sequence[int]) -> DecodingResult:
        silent = not any(token < Vocabulary.build().first_time for token in tokens)
        return DecodingResult(tuple(tokens), "", "de", -2.0 if silent else -0.1, 0.9 if silent else 0.0, 1.0, 0.0)


@pytest.fixture
def scripted(backend: WhisperBackend) -> Scripted:
    return Scripted(backend, [])


def say(*parts: float | str) -> tuple[int, ...]:
    vocabulary = Vocabulary.build()
    return tuple(vocabulary.word(part) if isinstance(part, str) else vocabulary.time(part) for part in parts)


def test_windows_start_where_the_last_whole_phrase_ended(scripted: Scripted) -> None:
    scripted.answers = [say(0.0, "eins", 4.0, 4.0, "zwei", 8.0, 8.4), say(0.4, "drei", 1.0), say(0.0, "vier", 1.0)]
    outcome = scripted.play(Audio(np.zeros(19 * SAMPLE_RATE, np.float32)), LISTENING)
    assert [request.position for request in scripted.asked] == [0.0, 8.0, 18.0]
    assert [(part.start, part.end, part.text) for part in outcome.segments] == [
        (0.0, 4.0, "eins"),
        (4.0, 8.0, "zwei"),
        (8.4, 9.0, "drei"),
        (18.0, 19.0, "vier"),
    ]
    assert (outcome.language, outcome.language_probability) == ("de", 0.9)


def test_the_language_of_silence_is_not_believed(scripted: Scripted) -> None:
    scripted.answers = [say(0.0), say(0.0, "eins", 1.0)]
    scripted.play(Audio(np.zeros(12 * SAMPLE_RATE, np.float32)), LISTENING)
    assert [request.language for request in scripted.asked] == [None, None]
    assert len(scripted.asked[0].samples) == 10 * SAMPLE_RATE


def test_no_words_where_somebody_speaks_are_not_believed(scripted: Scripted) -> None:
    scripted.answers = [say(0.0), say(0.0, "eins", 1.0)]
    scripted.decoded = lambda tokens: DecodingResult(tuple(tokens), "", "de", -0.1, 0.01, 1.0, 0.0)  # type: ignore[method-assign]
    outcome = scripted.play(Audio(np.zeros(12 * SAMPLE_RATE, np.float32)), LISTENING)
    assert [request.position for request in scripted.asked] == [0.0, 2.5]
    assert [segment.start for segment in outcome.segments] == [2.5]
    scripted.asked = []
    scripted.play(Audio(np.zeros(12 * SAMPLE_RATE, np.float32)), SEQUENTIAL)
    assert [request.position for request in scripted.asked] == [0.0, 10.0]


def test_the_prompt_goes_to_every_window_and_history_only_when_asked(scripted: Scripted) -> None:
    scripted.answers = [say(0.0, "eins", 1.0), say(0.0, "zwei", 1.0)]
    long = Audio(np.zeros(15 * SAMPLE_RATE, np.float32))
    scripted.play(long, replace(LISTENING, prompt="acht"))
    prompts = [request.prompt for request in scripted.asked]
    first = scripted.backend.vocabulary.timestamp_begin  # with timestamps around it, as text before a timed window has
    assert prompts[0] == prompts[1] == (first, Vocabulary.build().word("acht"), first + round(0.25 / 0.02))
    scripted.asked = []
    scripted.play(long, TranscriptionOptions(condition_on_previous=True))
    assert [request.prompt for request in scripted.asked] == [(), say(0.0, "eins", 1.0)]


def test_short_audio_without_timestamps_is_one_segment(scripted: Scripted) -> None:
    word = say("eins")
    scripted.answers = [word]
    scripted.decoded = lambda tokens: DecodingResult(tuple(tokens), " eins", "de", -0.1, 0.0, 1.0, 0.0)  # type: ignore[method-assign]
    sound = Audio(np.full(3 * SAMPLE_RATE, 0.1, np.float32))
    outcome = scripted.play(sound, TranscriptionOptions(timestamps=False, vad=False))
    assert [(part.start, part.end, part.text) for part in outcome.segments] == [(0.0, 3.0, "eins")]
    assert scripted.asked[0].options.timestamps is False


def test_a_last_sliver_is_notdecoded(scripted: Scripted) -> None:
    scripted.answers = [say(0.0, "eins", 1.0)]
    scripted.play(Audio(np.zeros(10 * SAMPLE_RATE + 800, np.float32)), LISTENING)
    assert len(scripted.asked) == 1


def test_windows_of_one_vote_speak_one_language(backend: WhisperBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = [{"en": 0.6, "de": 0.4}, {"en": 0.1, "de": 0.9}, {"en": 0.9, "de": 0.1}]
    settled: list[dict[str, float]] = []

    def settle(self: Decoder, encoded: Any, own: dict[str, float], *_: object) -> str:
        settled.append(own)
        return max(own, key=own.__getitem__)

    monkeypatch.setattr(Decoder, "detect_language", lambda _, encoded: heard if encoded.batch == 3 else heard[::2])
    monkeypatch.setattr(Decoder, "settle_language", settle)
    votes = [one := object(), one, None]
    options = replace(PLAIN, max_new_tokens=1)
    requests = [Request(np.zeros(9, np.float32), options, vote=vote) for vote in votes]
    told = [(window.language, window.probabilities) for window in backend.run(requests)]
    assert told == [("de", heard[0]), ("de", heard[1]), ("en", heard[2])]
    assert settled == [heard[2]]  # short, and nobody votes with it
    requests[1] = replace(requests[1], language="es")
    told = [(window.language, window.probabilities) for window in backend.run(requests)]
    assert told == [("en", heard[0]), ("es", None), ("en", heard[2])]
    assert settled == [heard[2], heard[0], heard[2]]


@pytest.mark.parametrize("one", ["a.wav", Path("a.wav"), b"RIFF", np.zeros(9, np.float32), {"array": [0.0]}])
def test_one_recording_is_no_list(recognizer: Recognizer, one: Any) -> None:
    with pytest.raises(OptionError, match="give a list of them, or use transcribe"):
        next(recognizer.transcribe_many(one))


def test_options_that_are_none(recognizer: Recognizer) -> None:
    with pytest.raises(OptionError, match="options must be TranscriptionOptions, got dict"):
        recognizer.transcribe(noise(1.0), options={"beam_size": 2})  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="beam_size must be a whole number, got '5'"):
        recognizer.transcribe(noise(1.0), beam_size="5")
    with pytest.raises(OptionError, match="did you mean beam_size"):
        recognizer.transcribe(noise(1.0), beam_sise=5)


class FrugalEngine:
    """An engine to which windows of 6 s are the cheapest; it is only asked for that."""

    best_sound = 600
    name = "frugal"

    def place(self, samples: np.ndarray) -> np.ndarray:
        return samples


@pytest.mark.parametrize(("language", "longest"), [("en", 6.0), ("de", 10.0), (None, 10.0)])
def test_only_english_is_heard_in_the_cheapest_windows(
    folder: Path, root: Path, language: str | None, longest: float
) -> None:
    model = load_whisper(folder, name="m", weights=False)
    backend = WhisperBackend(model, FrugalEngine())  # type: ignore[arg-type]
    with open_audio(root / "examples" / "digits-long.flac") as source:
        job = backend.job(source, TranscriptionOptions(language=language), ahead=8)
        seconds = [len(request.samples) / SAMPLE_RATE for request in next(job)]
        job.close()
    assert max(seconds) <= longest
    assert max(seconds) > longest - 4.0
