"""The embedded model: Linnet's tokens are those of Transformers' `generate`, on real recordings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor
from transformers import WhisperForConditionalGeneration

from linnet.audio.mel import log_mel
from linnet.decoding.decoder import Decoder
from linnet.decoding.options import DecodingOptions
from linnet.decoding.prefix import build_prefix
from linnet.engines.torch import TorchEngine
from linnet.models.whisper import WhisperModel, load_whisper
from tests.support.places import DIGITS, EXAMPLES
from tests.support.tiny_whispers import generate

FOLDERS = [DIGITS]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of `generate`, about its own settings
PLAIN: dict[str, Any] = {
    "temperatures": (0.0,),
    "compression_ratio_threshold": None,
    "log_probability_threshold": None,
    "no_speech_threshold": None,
}


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda folder: folder.name)
def folder(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    if not (path / "model.safetensors").is_file():
        pytest.skip(f"the embedded model {path.name} has no weights yet")
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> WhisperModel:
    return load_whisper(folder, name=folder.name, device="cpu", dtype=torch.float32)


@pytest.fixture(scope="module")
def engine(model: WhisperModel) -> TorchEngine:
    return TorchEngine(model)


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    return WhisperForConditionalGeneration.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def features(model: WhisperModel) -> Tensor:
    """Four recordings, padded to whole windows."""
    paths = sorted(EXAMPLES.glob("*.flac"))[:4]
    if not paths:
        pytest.skip("examples/ holds no recordings yet")
    return log_mel(torch.stack([window(path, model.window_samples) for path in paths]), model.n_mels)


def window(path: Path, length: int) -> Tensor:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    assert rate == 16000
    padded = np.zeros(length, np.float32)
    cut = samples.mean(1)[:length]
    padded[: len(cut)] = cut
    return torch.from_numpy(padded)


def same(
    engine: TorchEngine, model: WhisperModel, theirs: Any, features: Tensor, languages: Sequence[str], **changes: Any
) -> None:
    options = DecodingOptions(**{**PLAIN, **changes})
    decoded = Decoder(engine, model.vocabulary, model.max_length).decode(
        engine.encode(features), options, languages=languages
    )
    prefix = [
        build_prefix(model.vocabulary, options, language=language, max_length=model.max_length)[0]
        for language in languages
    ]
    want = generate(
        theirs,
        features,
        prefix=prefix,
        language=list(languages),
        task="transcribe",
        return_timestamps=options.timestamps,
        num_beams=options.beam_size,
    )
    assert [d.tokens for d in decoded] == want


@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("beams", [1, 5])
@pytest.mark.parametrize("batch", [1, 4])
def test_the_tokens_of_generate(
    engine: TorchEngine,
    model: WhisperModel,
    theirs: Any,
    features: Tensor,
    batch: int,
    beams: int,
    timestamps: bool,
) -> None:
    languages = ["en", "de", "fr", "es"][: len(features[:batch])]
    same(engine, model, theirs, features[:batch], languages, beam_size=beams, timestamps=timestamps)


def test_the_language_heard(engine: TorchEngine, model: WhisperModel, theirs: Any, features: Tensor) -> None:
    heard = Decoder(engine, model.vocabulary, model.max_length).detect_language(engine.encode(features))
    best = [model.vocabulary.languages[max(row, key=row.__getitem__)] for row in heard]
    assert best == theirs.detect_language(features.transpose(1, 2)).tolist()
