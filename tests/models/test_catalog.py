"""What is on this disk, what it can do, and its end."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from linnet.errors import ModelError
from linnet.models import catalog
from linnet.models import resolve as resolve_module
from tests.support.hub_cache import COMMIT, add_to_cache, model_files, write_files


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_files(tmp_path / "embedded" / "digits", model_files("WhisperForConditionalGeneration", "whisper"))
    monkeypatch.setattr(resolve_module, "EMBEDDED_ROOT", tmp_path / "embedded")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.utils._cache_manager.HF_HUB_CACHE", str(tmp_path / "cache"), raising=False)
    return tmp_path / "cache"


def test_the_list_without_a_cache(cache: Path) -> None:
    (only,) = catalog.list_models()
    assert (only.name, only.origin, only.kind) == ("digits", "embedded", "whisper")


def test_the_list_with_a_cache(cache: Path) -> None:
    snapshot = add_to_cache(cache, "openai/whisper-tiny", model_files("WhisperForConditionalGeneration", "whisper"))
    add_to_cache(cache, "acme/ctc", model_files())
    add_to_cache(cache, "acme/text", model_files("GPT2LMHeadModel", "gpt2"))
    half = model_files()
    half.pop("model.safetensors")
    add_to_cache(cache, "acme/half", half)
    found = {entry.name: entry for entry in catalog.list_models()}
    kinds = {name: entry.kind for name, entry in found.items()}
    assert kinds == {
        "digits": "whisper",
        "acme/ctc": "ctc",
        "acme/half": "incomplete",
        "acme/text": "other",
        "openai/whisper-tiny": "whisper",
    }
    tiny = found["openai/whisper-tiny"]
    assert (tiny.origin, tiny.revision, tiny.path) == ("hub", COMMIT, snapshot)
    assert tiny.size == sum(map(len, model_files("WhisperForConditionalGeneration", "whisper").values()))


def test_info_of_a_whisper_model(cache: Path) -> None:
    found = catalog.info("digits")
    assert (found.family, found.parameters, found.weight_dtypes) == ("whisper", 1000, ("F32",))
    assert (found.languages, found.takes_language, found.translates) == (("en", "de"), True, True)
    assert (found.takes_prompt, found.timestamps, found.window, found.sampling_rate) == (True, "phrases", 30.0, 16000)
    assert found.license == "apache-2.0"


def test_info_of_a_ctc_model(cache: Path) -> None:
    add_to_cache(cache, "acme/ctc", model_files())
    found = catalog.info("acme/ctc")
    assert (found.family, found.architecture, found.revision) == ("ctc", "Wav2Vec2ForCTC", COMMIT)
    assert (found.languages, found.takes_language, found.translates) == (("en",), False, False)
    assert (found.takes_prompt, found.timestamps) == (False, "windows")


def test_info_without_card_and_with_an_odd_one(cache: Path, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "mine", {**model_files(), "README.md": b"---\n: : [\n---\n"})
    assert catalog.info(str(folder)).license is None
    (folder / "README.md").unlink()
    assert catalog.info(str(folder)).languages == ()


def test_what_is_not_there(cache: Path) -> None:
    with pytest.raises(
        ModelError, match="openai/whisper-base is not on this disk: fetch it with `linnet models pull base`"
    ):
        catalog.path("base")
    with pytest.raises(ModelError, match="openai/whisper-base is not in the cache"):
        catalog.remove("base")


def test_remove_takes_all_of_one_model_and_nothing_else(cache: Path) -> None:
    add_to_cache(cache, "openai/whisper-base", model_files())
    other = add_to_cache(cache, "acme/ctc", model_files())
    assert catalog.path("base").name == COMMIT
    assert catalog.remove("base") == sum(map(len, model_files().values()))
    assert sorted(path.name for path in cache.glob("models--*")) == ["models--acme--ctc"]
    assert (other / "config.json").exists()


def test_what_is_not_ours_is_not_removed(cache: Path, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "mine", model_files())
    with pytest.raises(ModelError, match="digits is part of Linnet and cannot be removed"):
        catalog.remove("digits")
    with pytest.raises(ModelError, match="is your own folder"):
        catalog.remove(str(folder))
    assert (folder / "config.json").exists()


def test_pull_has_nothing_to_do_for_what_is_no_hub_model(cache: Path) -> None:
    ref, here = catalog.pull("digits")
    assert (ref.origin, here) == ("embedded", True)


def test_pull_never_uses_the_network_when_offline(cache: Path) -> None:
    with pytest.raises(ModelError, match="cannot fetch openai/whisper-small: HF_HUB_OFFLINE is set"):
        catalog.pull("small")
