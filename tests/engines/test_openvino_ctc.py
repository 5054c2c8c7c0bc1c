"""CTC models on OpenVINO: random checkpoints, against the logits and texts of PyTorch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import linnet
from linnet.audio.types import SAMPLE_RATE, Audio
from linnet.engines.choice import EngineChoice, build_ctc
from linnet.engines.openvino.ctc import TOLERANCE, convert_ctc
from linnet.engines.openvino.formats import Precision
from linnet.errors import ModelError, OptionError
from linnet.models.resolve import resolve
from linnet.models.speech import SpeechModel, load_speech_model
from tests.support.tiny_speech import MAKERS

NAMES = ("wav2vec2-group", "wav2vec2-layer", "parakeet")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("ctc")
    for name in NAMES:
        torch.manual_seed(0)
        MAKERS[name](root / name)
    return {name: root / name for name in NAMES}


def on_torch(folder: Path) -> SpeechModel:
    return load_speech_model(resolve(str(folder)), device="cpu", dtype=torch.float32)


def on_openvino(folder: Path, number: str, told: list[str] | None = None) -> SpeechModel:
    told = [] if told is None else told
    return build_ctc(resolve(str(folder)), EngineChoice("openvino", number, threads=1), told.append)


def noise(seconds: float, seed: int = 1) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * SAMPLE_RATE)).astype(np.float32)


def logits(speech: SpeechModel, seconds: tuple[float, ...]) -> torch.Tensor:
    features = speech.family.features(speech.processor, [noise(each, seed) for seed, each in enumerate(seconds)])
    with torch.inference_mode():
        return speech.family.encode(speech.model, features)


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_those_of_torch_at_any_length_alone_and_together(folders: dict[str, Path], name: str) -> None:
    whole, converted = on_torch(folders[name]), on_openvino(folders[name], "f32")
    for seconds in ((1.0,), (0.31,), (3.3,), (0.5, 2.0, 1.3), (1.2, 1.2)):
        wanted, found = logits(whole, seconds), logits(converted, seconds)
        assert found.shape == wanted.shape
        assert (found - wanted).abs().max() <= 1e-4 * wanted.abs().max()  # measured: 5e-6, without AVX-512 4e-5
    first = logits(converted, (1.0,))
    kept = first.clone()
    logits(converted, (1.0, 1.0))
    assert torch.equal(first, kept)  # what was given is the caller's


@pytest.mark.parametrize("name", NAMES)
def test_frames_are_counted_without_the_weights(folders: dict[str, Path], name: str) -> None:
    whole, converted = on_torch(folders[name]), on_openvino(folders[name], "f32")
    lengths = torch.tensor([400, 1234, 16_000])
    count, same = (speech.family.frame_counter(speech.model) for speech in (whole, converted))
    assert count is not None
    assert same is not None
    assert same(lengths).tolist() == count(lengths).tolist()
    skeleton = load_speech_model(resolve(str(folders[name])), device="cpu", dtype=torch.float32, weights=False)
    assert {str(each.device) for each in skeleton.model.parameters()} == {"meta"}


@pytest.mark.parametrize("name", ["wav2vec2-layer", "parakeet"])
def test_a_recording_has_the_text_and_the_words_of_torch_and_is_converted_once(
    folders: dict[str, Path], name: str
) -> None:
    sound = Audio(noise(2.3), name="noise")
    for _ in range(2):
        told: list[str] = []
        recognizer = linnet.load(str(folders[name]), device="cpu", engine="openvino", threads=1, notify=told.append)
        assert recognizer.engine_name == "openvino ctc cpu f32"
        found = recognizer.transcribe(sound, vad=False, word_timestamps=True)
    assert not any("converting" in line for line in told)
    assert "compute type: f32 (exact)" in told
    plain = linnet.load(str(folders[name]), device="cpu")
    assert plain.engine_name == "transformers ctc cpu float32"
    wanted = plain.transcribe(sound, vad=False, word_timestamps=True)
    assert wanted.text
    assert found.text == wanted.text
    assert [(word.word, word.start, word.end) for word in found.words] == [
        (word.word, word.start, word.end) for word in wanted.words
    ]


@pytest.mark.parametrize("number", ["int8", "bf16"])
def test_fewer_bits_stay_near(folders: dict[str, Path], number: str) -> None:
    wanted = logits(on_torch(folders["parakeet"]), (1.0,))
    found = logits(on_openvino(folders["parakeet"], number), (1.0,))
    off = (found - wanted).norm() / wanted.norm()
    assert 1e-5 < off < 0.1


class Baked(torch.nn.Module):
    """A model that reads a number off its input, which tracing makes a constant."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.config = model, model.config

    def forward(self, **features: torch.Tensor) -> Any:
        made = self.model(**features)
        made.logits = made.logits * float(next(iter(features.values())).abs().sum())
        return made


class Strange(Baked):
    """A model that cannot be traced."""

    def forward(self, **features: torch.Tensor) -> Any:
        raise NotImplementedError("no such operation")


@pytest.mark.parametrize(
    ("kind", "message"), [(Baked, "its logits would differ by [0-9.]+%"), (Strange, "no such operation")]
)
def test_a_model_that_does_not_agree_is_refused(folders: dict[str, Path], kind: type[Baked], message: str) -> None:
    speech = on_torch(folders["wav2vec2-group"])
    assert 0 < TOLERANCE < 0.01
    with pytest.raises(OptionError, match=f"cannot be converted for OpenVINO \\({message}.*: use --engine torch"):
        convert_ctc(replace(speech, model=kind(speech.model)), Precision("f32", "f32"))


def test_what_a_ctc_model_cannot_do_on_openvino_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="w8a8 needs a Whisper-family model: for a CTC model use f32, bf16 or int8"):
        linnet.load(str(folders["parakeet"]), device="cpu", engine="openvino", compute_type="w8a8")
    (tmp_path / "config.json").write_text('{"architectures": ["Wav2Vec2ForCTC"], "model_type": "wav2vec2"}')
    with pytest.raises(ModelError):
        linnet.load(str(tmp_path), device="cpu", engine="openvino")
