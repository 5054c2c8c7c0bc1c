"""Model folders: whole ones of several ages, and broken ones with the message that a person reads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from linnet.engines.torch import TorchEngine
from linnet.errors import ModelError
from linnet.models.vocabulary import WhisperVocabulary, build_vocabulary
from linnet.models.whisper import WhisperModel, load_whisper
from tests.support.tiny_whispers import LANGUAGES, edit_json, random_features, save_whisper, small_tokenizer


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("good"), seed=0)


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "model"))


def load(folder: Path, dtype: torch.dtype = torch.float32) -> WhisperModel:
    return load_whisper(folder, name="some/model", device="cpu", dtype=dtype)


def test_a_folder_becomes_a_model(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = load(folder)
    assert (model.n_mels, model.window_samples, model.max_length, model.name) == (16, 32000, 64, "some/model")
    assert model.pads_window
    assert not model.module.training
    assert not any(parameter.requires_grad for parameter in model.module.parameters())
    assert (model.device, model.dtype) == ("cpu", torch.float32)
    assert list(model.vocabulary.languages) == list(LANGUAGES)
    assert sorted(model.vocabulary.tasks) == ["transcribe", "translate"]
    assert model.vocabulary.seconds_per_timestamp == 0.02
    assert model.vocabulary.max_initial_timestamp_index == 20
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_dtype_is_the_one_asked_for(folder: Path, dtype: torch.dtype) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({k: v.half() for k, v in weights.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    edit_json(folder / "config.json", dtype="float16")
    model = load(folder, dtype)
    assert {parameter.dtype for parameter in model.module.parameters()} == {dtype}
    assert TorchEngine(model).encode(random_features(1)).hidden.dtype == dtype


def test_a_model_may_say_that_it_pads_no_windows(folder: Path) -> None:
    edit_json(folder / "config.json", linnet={"pads_window": False})
    assert not load(folder).pads_window


def test_a_processor_config_serves_as_well(folder: Path) -> None:
    extractor = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps({"feature_extractor": extractor}))
    assert load(folder).window_samples == 32000


def test_an_older_checkpoint_without_generation_config(good: Path, folder: Path) -> None:
    generation = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").unlink()
    edit_json(folder / "config.json", suppress_tokens=generation["suppress_tokens"], begin_suppress_tokens=[220, 293])
    old, new = load(folder).vocabulary, load(good).vocabulary
    for name in WhisperVocabulary.__dataclass_fields__.keys() - {"tokenizer", "max_initial_timestamp_index"}:
        assert getattr(old, name) == getattr(new, name), name
    assert old.max_initial_timestamp_index is None


def test_an_english_only_checkpoint(folder: Path) -> None:
    edit_json(folder / "generation_config.json", is_multilingual=False, lang_to_id=..., task_to_id=...)
    vocabulary = load(folder).vocabulary
    assert vocabulary.languages == vocabulary.tasks == {}


def test_english_only_checkpoints_of_before_that_setting_are_known_by_their_size() -> None:
    tokenizer = small_tokenizer()
    for size, languages in ((51864, 0), (51865, 5), (51866, 5)):
        vocabulary = build_vocabulary(tokenizer, {"vocab_size": size}, {}, seconds_per_timestamp=0.02)
        assert len(vocabulary.languages) == languages


def test_the_public_tokenizer(whisper_tokenizer: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(whisper_tokenizer)
    config = {"vocab_size": 51865, "suppress_tokens": [-1, 1, 50258], "begin_suppress_tokens": None}
    vocabulary = build_vocabulary(tokenizer, config, {}, seconds_per_timestamp=0.02)
    assert (vocabulary.start, vocabulary.end, vocabulary.no_timestamps) == (50258, 50257, 50363)
    assert (vocabulary.timestamp_begin, vocabulary.start_of_previous, vocabulary.no_speech) == (50364, 50361, 50362)
    assert len(vocabulary.languages) == 99
    assert (vocabulary.languages["en"], vocabulary.languages["haw"]) == (50259, 50352)
    assert vocabulary.tasks == {"transcribe": 50359, "translate": 50358}
    assert (vocabulary.suppress, vocabulary.begin_suppress) == ((1, 50258), ())
    tokens = vocabulary.prompt("Grüße aus München")
    assert vocabulary.text([50364, *tokens, 50400, 50257]) == " Grüße aus München"


def cut(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])


def drop_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.encoder.conv1.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), r"config\.json is missing: run `linnet models pull` again"),
    "config cut": (
        lambda f: cut(f / "config.json", 40),
        r"config\.json is not valid JSON .*fetch or save the model again",
    ),
    "config list": (
        lambda f: (f / "config.json").write_text("[1]"),
        r"config\.json must hold a JSON object, but holds list",
    ),
    "other family": (
        lambda f: edit_json(f / "config.json", model_type="wav2vec2"),
        r"config\.json is for a wav2vec2 model, not for a whisper model",
    ),
    "nonsense config": (
        lambda f: edit_json(f / "config.json", d_model="wide"),
        r"config\.json does not describe a whisper model",
    ),
    "no tokenizer": (
        lambda f: (f / "tokenizer.json").unlink(),
        r"tokenizer\.json is missing: copy tokenizer\.json from the model that this one is derived from",
    ),
    "tokenizer cut": (lambda f: cut(f / "tokenizer.json", 500), r"tokenizer\.json is damaged .*copy it again"),
    "no processor": (
        lambda f: (f / "preprocessor_config.json").unlink(),
        r"processor_config\.json is missing: copy it from the model",
    ),
    "other window": (
        lambda f: edit_json(f / "preprocessor_config.json", chunk_length=30),
        r"makes windows of 30 s, its encoder takes 2 s: make chunk_length and max_source_positions agree",
    ),
    "other bands": (
        lambda f: edit_json(f / "preprocessor_config.json", feature_size=80),
        r"makes 80 mel bins, but its encoder takes 16",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), r"model\.safetensors is missing"),
    "weights cut": (
        lambda f: cut(f / "model.safetensors", 30_000),
        r"model\.safetensors is damaged .*run `linnet models pull` again",
    ),
    "weights empty": (lambda f: cut(f / "model.safetensors", 0), r"model\.safetensors is damaged"),
    "a weight missing": (drop_weight, r"1 weights are missing, such as model\.encoder\.conv1\.weight"),
    "fewer layers": (
        lambda f: edit_json(f / "config.json", encoder_layers=1),
        r"weights are unexpected, such as .*encoder\.layers\.1",
    ),
    "other width": (lambda f: edit_json(f / "config.json", encoder_ffn_dim=32), r"does not fit config\.json"),
    "a short vocabulary": (
        lambda f: edit_json(f / "config.json", vocab_size=100),
        r"its tokenizer has token \d+, but the model only 100",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_folder_says_what_is_wrong(folder: Path, fault: str, capfd: pytest.CaptureFixture[str]) -> None:
    breaks, message = BROKEN[fault]
    breaks(folder)
    with pytest.raises(ModelError, match=message) as caught:
        load(folder)
    assert str(caught.value).startswith(f"model some/model in {folder} cannot be used: ")
    assert capfd.readouterr().err == ""


def test_a_tokenizer_of_another_family(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    (folder / "generation_config.json").unlink()
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text.replace("<|notimestamps|>", "<|nothing|>"))
    assert "<|notimestamps|>" in tokenizer.get_vocab()
    with pytest.raises(ModelError, match=r"its tokenizer has no .*<\|notimestamps\|> token"):
        load(folder)
