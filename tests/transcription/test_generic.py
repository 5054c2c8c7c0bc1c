"""Speech models other than Whisper against Transformers' own forward pass, generate and pipeline."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCTC,
    AutoModelForSpeechSeq2Seq,
    AutoProcessor,
    Speech2TextFeatureExtractor,
    pipeline,
)

from linnet.audio.detectors import quietest_point
from linnet.errors import ModelError, OptionError
from linnet.models.families import family_of
from linnet.models.resolve import resolve
from linnet.models.speech import load_speech_model
from linnet.transcription.backend import Outcome, Request
from linnet.transcription.generic import GenericBackend, load_generic
from linnet.transcription.options import TranscriptionOptions
from tests.support.calling import make_call
from tests.support.hub_cache import add_to_cache
from tests.support.tiny_speech import letters, save_all

Sound = npt.NDArray[np.float32]
CTC = ("wav2vec2-group", "wav2vec2-layer", "parakeet")
SEQ2SEQ = ("moonshine", "speech2text")
SPECIAL = re.compile(r"<[^<>]+>")
SHORT = TranscriptionOptions(max_new_tokens=8, vad=False)


class Recording:
    """An `AudioSource` over an array that holds to its contract: forward only."""

    name = "recording"
    duration = None
    notices = ()

    def __init__(self, samples: Sound) -> None:
        self._samples = samples
        self._start = 0

    def read(self, start: int, count: int) -> Sound:
        assert start >= self._start
        self._start = start
        return self._samples[start : start + count]

    def close(self) -> None:
        pass


def sound(seconds: float, seed: int = 0) -> Sound:
    """Noise whose level changes every 100 ms."""
    generator = np.random.default_rng(seed)
    count = round(seconds * 16_000)
    level = np.repeat(generator.uniform(0.05, 0.5, count // 1600 + 1), 1600)[:count]
    return (generator.standard_normal(count) * level).astype(np.float32)


def recognize(
    backend: GenericBackend, samples: Sound, options: TranscriptionOptions | None = None
) -> tuple[Outcome, list[Request]]:
    """Drive one job to its end; also the requests that it made."""
    if options is None:
        options = SHORT if "seq2seq" in backend.engine_name else TranscriptionOptions(vad=False)
    job = backend.job(Recording(samples), options)
    requests: list[Request] = []
    answer: Any = None
    while True:
        try:
            asked = job.send(answer)
        except StopIteration as stop:
            return stop.value, requests
        requests += asked
        answer = backend.run(asked)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """For models as small as these a second thread only waits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return save_all(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def backends(folders: dict[str, Path]) -> dict[str, GenericBackend]:
    cpu = "cpu"
    return {n: load_generic(resolve(str(f)), device=cpu, dtype=torch.float32) for n, f in folders.items()}


def features(name: str, folder: Path, windows: list[Sound]) -> Any:
    """What the model's own processor makes of windows."""
    asked: dict[str, Any] = {"sampling_rate": 16_000, "return_tensors": "pt", "padding": True}
    if name == "speech2text":
        return Speech2TextFeatureExtractor.from_pretrained(folder)(windows, **asked)
    return AutoProcessor.from_pretrained(folder)(windows, **asked)


@pytest.mark.parametrize("name", CTC)
def test_ctc_is_argmax_and_decode(name: str, folders: dict[str, Path], backends: dict[str, GenericBackend]) -> None:
    assert family_of(folders[name]).name == "ctc"
    window = sound(2.3)
    model = AutoModelForCTC.from_pretrained(folders[name]).eval()
    with torch.no_grad():
        logits = model(**features(name, folders[name], [window])).logits[0]
    processor = AutoProcessor.from_pretrained(folders[name])
    expected = SPECIAL.sub("", processor.decode(logits.argmax(-1)))
    (heard,) = backends[name].run([Request(window, SHORT)])
    assert heard.text == expected
    assert len(expected) > 1
    plain = processor.tokenizer.decode(heard.tokens, **({} if name == "parakeet" else {"group_tokens": False}))
    assert plain == expected
    assert processor.tokenizer.pad_token_id not in heard.tokens
    twin = logits.double().log_softmax(-1).max(-1).values.mean()
    assert heard.avg_logprob == pytest.approx(float(twin), abs=1e-5)


@pytest.mark.parametrize("name", CTC)
def test_ctc_tells_when_the_first_and_last_letters_were(
    name: str, folders: dict[str, Path], backends: dict[str, GenericBackend]
) -> None:
    backend = backends[name]
    blank = AutoConfig.from_pretrained(folders[name]).pad_token_id
    tokens = torch.full((50,), blank)
    tokens[10], tokens[11], tokens[13], tokens[30] = 9, 9, 9, 12
    heard = backend.ctc_window(tokens, torch.zeros(50), 1.0)
    assert (heard.start, heard.end) == (pytest.approx(0.2), pytest.approx(0.62))
    letters_heard = heard.text.replace(" ", "")
    assert len(letters_heard) == 3  # repeats are one letter, unless a blank lies between them
    assert letters_heard[0] == letters_heard[1]
    assert backend.ctc_window(torch.full((50,), blank), torch.zeros(50), 1.0).text == ""


@pytest.mark.parametrize("name", SEQ2SEQ)
@pytest.mark.parametrize(("beams", "penalty"), [(1, 1.0), (3, 1.0), (3, 0.5)])
def test_seq2seq_is_generate(
    name: str, beams: int, penalty: float, folders: dict[str, Path], backends: dict[str, GenericBackend]
) -> None:
    assert family_of(folders[name]).name == "seq2seq"
    window = sound(1.7, seed=1)
    model = AutoModelForSpeechSeq2Seq.from_pretrained(folders[name]).eval()
    chosen: dict[str, Any] = {"num_beams": beams, "max_new_tokens": 8, "do_sample": False}
    chosen |= {"length_penalty": penalty} if beams > 1 else {}
    made = model.generate(
        **features(name, folders[name], [window]), **chosen, return_dict_in_generate=True, output_scores=True
    )
    options = TranscriptionOptions(beam_size=beams, length_penalty=penalty, max_new_tokens=8)
    (heard,) = backends[name].run([Request(window, options)])
    assert heard.text == letters().decode(made.sequences[0], skip_special_tokens=True)
    assert heard.text
    special = letters().all_special_ids
    assert list(heard.tokens) == [token for token in made.sequences[0].tolist() if token not in special]
    assert letters().decode(heard.tokens) == heard.text
    indices = made.beam_indices if beams > 1 else None
    scores = model.compute_transition_scores(made.sequences, made.scores, indices, normalize_logits=beams == 1)[0]
    assert heard.avg_logprob == pytest.approx(float(scores[scores < 0].mean()), abs=1e-4)


@pytest.mark.parametrize("name", [*CTC, *SEQ2SEQ])
def test_a_batch_gives_what_its_windows_give_alone(name: str, backends: dict[str, GenericBackend]) -> None:
    backend = backends[name]
    windows = [sound(2.0, seed=2), sound(1.1, seed=3), sound(1.63, seed=4), sound(2.0, seed=5)]
    requests = [recognize(backend, window)[1][0] for window in windows]
    for group in {request.group for request in requests}:
        batch = [request for request in requests if request.group == group]
        for together, request in zip(backend.run(batch), batch, strict=True):
            (alone,) = backend.run([request])
            assert (together.text, together.tokens) == (alone.text, alone.tokens)
            assert together.avg_logprob == pytest.approx(alone.avg_logprob, abs=1e-4)
    mixed = len({request.group for request in requests}) == 1
    assert mixed == (name in ("wav2vec2-layer", "parakeet"))  # the others cannot tell padding from sound
    assert requests[0].group == requests[3].group


@pytest.mark.parametrize("name", ["wav2vec2-group", "wav2vec2-layer", "parakeet", "moonshine"])
def test_the_stock_pipeline_gives_the_same_text(
    name: str, folders: dict[str, Path], backends: dict[str, GenericBackend]
) -> None:
    window = sound(1.9, seed=6)
    stock = pipeline("automatic-speech-recognition", str(folders[name]))
    given = {"generate_kwargs": {"max_new_tokens": 8, "num_beams": 1}} if name == "moonshine" else {}
    expected = stock({"raw": window, "sampling_rate": 16_000}, **given)["text"]
    segments = recognize(backends[name], window)[0].segments
    assert " ".join(segment.text for segment in segments) == SPECIAL.sub("", expected).strip()


def test_long_audio_is_cut_in_its_pauses(backends: dict[str, GenericBackend]) -> None:
    samples = sound(8.0)
    for pause in (1.9, 4.4, 6.2):  # 3 s windows: each is sought in the last half of one
        samples[round(pause * 16_000) :][:800] *= 1e-3
    outcome, requests = recognize(backends["speech2text"], samples)
    begins = [segment.start for segment in outcome.segments]
    assert begins == pytest.approx([0.0, 1.925, 4.425, 6.225], abs=0.03)
    assert [segment.end for segment in outcome.segments] == [*begins[1:], 8.0]
    assert [request.position for request in requests] == pytest.approx(begins, abs=1e-3)
    assert sum(len(request.samples) for request in requests) == len(samples)


def test_each_cut_window_is_recognized_like_a_recording_of_its_own(backends: dict[str, GenericBackend]) -> None:
    backend = backends["speech2text"]
    outcome, requests = recognize(backend, sound(4.0, seed=8))
    assert len(requests) == 2
    for segment, request in zip(outcome.segments, requests, strict=True):
        assert recognize(backend, request.samples)[0].segments[0].text == segment.text


def test_the_quietest_point() -> None:
    samples = np.ones(10 * 16_000, np.float32)
    assert quietest_point(samples) == len(samples) - 160  # all alike: the last
    samples[16_000 : 2 * 16_000] = 0  # too early
    samples[7 * 16_000 : 7 * 16_000 + 320] = 0.5
    assert quietest_point(samples) == 7 * 16_000 + 160
    assert quietest_point(np.ones(3, np.float32)) == 3


@pytest.mark.parametrize("name", [*CTC, *SEQ2SEQ])
@pytest.mark.parametrize("count", [0, 1, 399, 1599])
def test_very_short_recordings(name: str, count: int, backends: dict[str, GenericBackend]) -> None:
    outcome, requests = recognize(backends[name], np.ones(count, np.float32))
    assert len(requests) == (1 if count else 0)
    assert all(0 <= segment.start <= segment.end <= round(count / 16_000, 3) for segment in outcome.segments)


@pytest.mark.parametrize("name", [*CTC, *SEQ2SEQ])
def test_digital_silence_has_no_words_and_costs_nothing(name: str, backends: dict[str, GenericBackend]) -> None:
    outcome, requests = recognize(backends[name], np.zeros(50_000, np.float32))
    assert (outcome.segments, requests) == ((), [])


@pytest.mark.parametrize("name", SEQ2SEQ)
def test_without_a_limit_generation_ends_within_the_positions(name: str, backends: dict[str, GenericBackend]) -> None:
    outcome, _ = recognize(backends[name], sound(1.0), TranscriptionOptions(vad=False))
    assert 1 < len(outcome.segments[0].text.replace(" ", "")) <= 64


@pytest.mark.parametrize("name", ["wav2vec2-layer", "parakeet", "moonshine", "speech2text"])
def test_bfloat16(name: str, folders: dict[str, Path]) -> None:
    backend = load_generic(resolve(str(folders[name])), device="cpu", dtype=torch.bfloat16)
    assert backend.engine_name.endswith("cpu bfloat16")
    assert recognize(backend, sound(1.0))[0].segments[0].avg_logprob is not None


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("moonshine", {"language": "de"}, "language='de': it has no language option"),
        ("moonshine", {"task": "translate"}, "task='translate': it only transcribes"),
        ("speech2text", {"prompt": "Ada"}, "prompt='Ada': it takes no prompt"),
        ("speech2text", {"condition_on_previous": True}, "condition_on_previous=True: sequence-to-sequence models"),
        ("moonshine", {"language_per_segment": True}, "language_per_segment=True: it does not detect languages"),
        ("parakeet", {"beam_size": 5}, "beam_size=5: CTC models other than Whisper have no such option"),
        ("parakeet", {"max_new_tokens": 5}, "max_new_tokens=5"),
        ("parakeet", {"temperatures": (0.4,)}, "temperatures="),
        ("wav2vec2-group", {"no_speech_threshold": 0.9}, "no_speech_threshold=0.9"),
    ],
)
def test_options_that_a_model_cannot_honor(
    name: str, change: dict[str, Any], said: str, backends: dict[str, GenericBackend]
) -> None:
    with pytest.raises(OptionError) as caught:
        backends[name].job(Recording(sound(1.0)), TranscriptionOptions(**change))
    assert said in str(caught.value)
    assert name in str(caught.value)


def test_options_without_meaning_are_no_error(backends: dict[str, GenericBackend]) -> None:
    options = TranscriptionOptions(timestamps=False, seed=3, temperatures=(0.0,), compression_ratio_threshold=None)
    backends["parakeet"].job(Recording(sound(1.0)), options).close()
    assert backends["parakeet"].languages == ()


def copy(folder: Path, to: Path, *, without: tuple[str, ...] = ()) -> Path:
    to.mkdir()
    for file in folder.iterdir():
        if file.name not in without:
            (to / file.name).write_bytes(file.read_bytes())
    return to


@pytest.mark.parametrize(
    ("name", "lost", "said"),
    [
        ("wav2vec2-group", ("vocab.json",), "has no tokenizer (tokenizer.json or vocab.json in"),
        ("moonshine", ("tokenizer.json",), "has no tokenizer"),
        (
            "moonshine",
            ("processor_config.json",),
            "has no processor (preprocessor_config.json or processor_config.json in",
        ),
        ("speech2text", ("preprocessor_config.json",), "has no processor"),
        ("parakeet", ("model.safetensors",), "holds no model.safetensors, or a shard of it is missing"),
    ],
)
def test_a_folder_that_lacks_a_part(
    name: str, lost: tuple[str, ...], said: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = copy(folders[name], tmp_path / "part", without=lost)
    with pytest.raises(ModelError) as caught:
        load_generic(resolve(str(folder)), device="cpu", dtype=torch.float32)
    assert said in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "save model and processor with save_pretrained again" in str(caught.value)


def test_damaged_weights(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = copy(folders["parakeet"], tmp_path / "torn")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged .*: save model and processor"):
        load_generic(resolve(str(folder)), device="cpu", dtype=torch.float32)


def test_weights_without_a_head_would_answer_at_random(folders: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = copy(folders["wav2vec2-layer"], tmp_path / "headless")
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("lm_head.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lack 1 tensors of Wav2Vec2ForCTC \(the first: lm_head.weight\)"):
        load_generic(resolve(str(folder)), device="cpu", dtype=torch.float32)


def test_a_model_that_wants_more_than_sound(folders: dict[str, Path]) -> None:
    def processor(windows: list[Sound], *, language: str, **others: Any) -> None:
        """As those of models that are told the language."""

    whole = load_speech_model(resolve(str(folders["moonshine"])), device="cpu", dtype=torch.float32)
    speech = replace(whole, processor=processor)
    with pytest.raises(ModelError, match=r"moonshine needs more than audio, which Linnet does .*: .*'language'"):
        GenericBackend(speech)


def test_a_cached_model_needs_no_network_and_says_nothing(folders: dict[str, Path], tmp_path: Path) -> None:
    """Sockets are blocked and nothing sets an offline mode: no try to reach the Hub may be made, nothing be printed."""
    files = {file.name: file.read_bytes() for file in folders["moonshine"].iterdir()}
    add_to_cache(tmp_path, "acme/moonshine", files)
    code = f"""
import os, socket
for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_ENDPOINT"): os.environ.pop(name, None)
os.environ["HF_HUB_CACHE"] = {str(tmp_path)!r}
def refuse(*arguments, **options): raise SystemExit("the network was used")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse
import torch
from linnet.models.resolve import embedded_names, resolve
from linnet.transcription.generic import load_generic
for name in embedded_names(): print(resolve(name).origin)
backend = load_generic(resolve("acme/moonshine"), device="cpu", dtype=torch.float32)
print(backend.engine_name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "transformers seq2seq cpu float32"


def test_models_info_tells_the_window(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = make_call(monkeypatch, capsys)("models", "info", folders["speech2text"])
    assert "16000 Hz, windows of at most 3 s" in done.out


def test_nothing_is_heard_where_nobody_speaks_however_short(backends: dict[str, GenericBackend]) -> None:
    silence = np.zeros(16_000, np.float32)
    for backend in backends.values():
        outcome, _ = recognize(backend, silence, TranscriptionOptions())
        assert outcome.segments == ()
        assert outcome.counts is not None
        assert outcome.counts.nonspeech_seconds == 1.0
