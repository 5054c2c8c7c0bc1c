"""What each family says of its models, held to the models themselves."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers.models.auto import modeling_auto

from linnet.errors import ModelError
from linnet.models.families import CTC, FUSION, SEQ2SEQ, WHISPER, family_of, family_of_model
from linnet.models.families.known import known
from linnet.models.resolve import resolve
from linnet.models.speech import SpeechModel, load_speech_model
from tests.support.tiny_fusion import fusion
from tests.support.tiny_fusion import save_all as save_bases
from tests.support.tiny_speech import save_all
from tests.support.tiny_whispers import save_whisper


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SpeechModel]:
    root = tmp_path_factory.mktemp("families")
    folders = {**save_all(root), "whisper": save_whisper(root / "whisper", seed=3)}
    return {n: load_speech_model(resolve(str(f)), device="cpu", dtype=torch.float32) for n, f in folders.items()}


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("whisper", WHISPER),
        ("moonshine", SEQ2SEQ),
        ("speech2text", SEQ2SEQ),
        ("parakeet", CTC),
        ("wav2vec2-group", CTC),
    ],
)
def test_a_loaded_model_is_of_the_family_of_its_folder(models: dict[str, SpeechModel], name: str, family: Any) -> None:
    speech = models[name]
    assert speech.family is family
    assert family_of_model(speech.model) is family
    assert family_of(Path(speech.model.name_or_path)) is family


@pytest.mark.parametrize("table", ["MODEL_FOR_CTC_MAPPING_NAMES", "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES"])
def test_the_tables_of_transformers_are_read_as_they_are(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = dict(getattr(modeling_auto, table))
    assert known(table) == names
    monkeypatch.delitem(sys.modules, modeling_auto.__name__)
    monkeypatch.setattr(importlib, "import_module", lambda name: pytest.fail(f"{name} is imported"))
    assert known(table) == {kind: name for kind, name in names.items() if not kind.startswith("linnet")}


def test_a_table_that_is_written_in_another_way_is_asked_of_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, modeling_auto.__name__)
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "TABLE = dict(a='b')")
    monkeypatch.setattr(importlib, "import_module", lambda _: SimpleNamespace(TABLE={"a": "c"}))
    assert known("TABLE") == {"a": "c"}


@pytest.mark.parametrize("name", ["wav2vec2-layer", "parakeet"])
def test_ctc_frames_are_those_of_the_encoder(models: dict[str, SpeechModel], name: str) -> None:
    speech = models[name]
    features = CTC.features(speech.processor, [np.zeros(16000, np.float32), np.ones(9000, np.float32)])
    count = CTC.frame_counter(speech.model)
    assert count is not None
    lengths = count(features["attention_mask"].sum(-1))
    with torch.no_grad():
        logits = CTC.encode(speech.model, features)
        states = CTC.encoder(speech.model)(**features).last_hidden_state
    assert logits.shape[:2] == states.shape[:2] == (2, max(lengths))
    assert CTC.clip_frames(speech.model) is None
    assert CTC.encoder_config(speech.model.config) is None


def test_whisper_has_a_frame_for_every_20_ms(models: dict[str, SpeechModel]) -> None:
    model = models["whisper"].model
    assert WHISPER.clip_frames(model)(16000) == 50
    assert WHISPER.encoder(model) is model.model.encoder
    assert WHISPER.decoder(model) is model.model.decoder
    assert WHISPER.window_seconds({}, {"chunk_length": 2}) == 2.0


def test_a_fusion_model_tells_its_parts(tmp_path: Path) -> None:
    model, _ = fusion(save_bases(tmp_path, ["hubert", "llama"]), "hubert", "llama")
    assert family_of_model(model) is FUSION
    assert FUSION.encoder(model) is model.encoder
    assert FUSION.decoder(model) is model.language_model.model
    assert FUSION.encoder_config(model.config) is model.config.audio_config
    with torch.no_grad():
        (frames,) = model.encode_audio(torch.zeros(1, 20000))
    assert FUSION.clip_frames(model)(20000) == len(frames)


def test_a_model_of_no_family_is_named() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    narrow = LlamaConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=8)
    with pytest.raises(ModelError, match="LlamaForCausalLM: model type 'llama' is not a speech recognition model"):
        family_of_model(LlamaForCausalLM(narrow))
