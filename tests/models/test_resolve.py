"""A name becomes a folder: order, cache, messages; the family of what is in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from linnet.errors import LinnetError, ModelError
from linnet.models import resolve as module
from linnet.models.families import family_of
from linnet.models.resolve import default_model, embedded_names, find, resolve
from tests.support.hub_cache import COMMIT, NOWHERE, add_to_cache, model_files, write_files


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(place))
    return place


@pytest.fixture(autouse=True)
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Path:
    """An embedded model of our own, so that these tests do not wait for a training."""
    files = model_files("WhisperForConditionalGeneration", "whisper")
    monkeypatch.setattr(module, "EMBEDDED_ROOT", tmp_path / "embedded")
    monkeypatch.chdir(tmp_path)
    return write_files(tmp_path / "embedded" / "digits", files)


def message(name: str, **options: object) -> str:
    with pytest.raises(ModelError) as caught:
        resolve(name, **options)  # type: ignore[arg-type]
    assert isinstance(caught.value, LinnetError)
    return str(caught.value)


def test_an_embedded_name(embedded: Path) -> None:
    ref = resolve("digits")
    assert (ref.name, ref.path, ref.origin) == ("digits", embedded, "embedded")
    assert embedded_names() == ("digits",)
    assert len(ref.revision) == 12
    assert int(ref.revision, 16) >= 0


def test_a_folder_comes_before_an_embedded_name_if_it_is_a_model(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    assert resolve("digits").origin == "embedded"  # a folder of recordings, say
    write_files(tmp_path / "digits", model_files())
    assert resolve("digits").origin == "folder"


@pytest.mark.parametrize("form", ["runs/mine", "./runs/mine", "{}/runs/mine"])
def test_a_folder_by_any_path(tmp_path: Path, form: str) -> None:
    write_files(tmp_path / "runs" / "mine", model_files())
    ref = resolve(form.format(tmp_path))
    assert ref.origin == "folder"
    assert ref.path.resolve() == tmp_path / "runs" / "mine"


def test_a_cached_model_by_id_short_name_and_revision(cache: Path) -> None:
    snapshot = add_to_cache(cache, "openai/whisper-small", model_files())
    for name, revision in (("openai/whisper-small", None), ("small", None), ("small", "main"), ("small", COMMIT)):
        ref = resolve(name, revision=revision)
        assert (ref.name, ref.path, ref.revision, ref.origin) == (name, snapshot, COMMIT, "hub")
    assert "is not in the local cache" in message("small", revision="other")


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors"])
def test_a_cached_model_without_config_or_weights_is_not_there(cache: Path, lost: str) -> None:
    files = model_files()
    files.pop(lost)
    add_to_cache(cache, "acme/part", files)
    assert find("acme/part") is None
    assert "is not in the local cache" in message("acme/part")


def test_a_cached_model_without_tokenizer_is_given_to_its_loader(cache: Path) -> None:
    files = model_files()
    files.pop("vocab.json")
    snapshot = add_to_cache(cache, "acme/part", files)
    assert resolve("acme/part").path == snapshot  # offline: nothing better can be had


def test_a_cached_model_whose_blob_is_gone_is_not_there(cache: Path) -> None:
    snapshot = add_to_cache(cache, "acme/part", model_files())
    (snapshot / "model.safetensors").resolve().unlink()
    assert find("acme/part") is None


def test_the_message_when_offline() -> None:
    assert message("small", offline=True) == (
        "model openai/whisper-small is not in the local cache, and offline mode was requested; use the embedded model, "
        "which works offline, with `--model digits`, or fetch this one with a network connection: "
        "`linnet models pull openai/whisper-small`"
    )
    assert "and HF_HUB_OFFLINE is set;" in message("small")


def test_linnet_offline_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("LINNET_OFFLINE", "true")
    assert "and LINNET_OFFLINE is set;" in message("small")


def test_the_message_when_the_hub_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "from linnet.models.resolve import resolve\n"
        "try: resolve('large-v3')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    english = (
        Path(module.__file__).parent / "embedded" / "en" / "config.json"
    )  # the process has the package's own models
    assert done.stdout == (
        "ModelError model openai/whisper-large-v3 is not in the local cache, and the Hub cannot be reached "
        "(http://127.0.0.1:9: Connection refused); use the embedded model, which works offline, with "
        f"`--model {'en' if english.exists() else 'digits'}`, "
        "or fetch this one with a network connection: `linnet models pull openai/whisper-large-v3`\n"
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("digts", "no model 'digts' (did you mean digits?): it is neither a folder, an embedded model nor a Hub id"),
        ("larg-v3", "did you mean large-v3 or"),
        ("openai/whisper-smal", "model openai/whisper-smal (did you mean openai/whisper-small or"),
        ("acme/speach", "model acme/speach (did you mean acme/speech?) is not"),
        ("zzzzzz", "no model 'zzzzzz': it is neither"),
    ],
)
def test_near_names_are_suggested(cache: Path, name: str, expected: str) -> None:
    add_to_cache(cache, "acme/speech", model_files())
    assert expected in message(name)


@pytest.mark.parametrize("name", ["../up", "./here", "~/home", "/abs/olute", "a/b/c", "slash/"])
def test_a_path_that_is_not_there(name: str) -> None:
    assert message(name) == f"model folder {name} does not exist"


def test_a_file_is_no_model(tmp_path: Path) -> None:
    write_files(tmp_path, {"model.safetensors": b""})
    assert message("./model.safetensors") == (
        "model folder ./model.safetensors is a file, but not of openai-whisper (*.pt) or whisper.cpp (ggml)"
    )


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    write_files(tmp_path / "sounds", {"a.wav": b""})
    assert message("sounds").startswith("folder sounds holds no config.json and so no model: a model folder is")
    write_files(tmp_path / "lora", {"adapter_config.json": b"{}"})
    assert "it is an adapter: merge it into its model first" in message("lora")


def test_a_revision_of_a_folder_is_its_fingerprint() -> None:
    found = resolve("digits").revision
    assert resolve("digits", revision=found).revision == found
    assert message("digits", revision="abc") == f"model digits is on this disk at revision {found}, not abc"


def test_the_default_model(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_model(True)[0] == "openai/whisper-large-v3-turbo"
    why = "the default on a CPU: good accuracy at a usable speed"
    assert default_model(False) == ("openai/whisper-small", why, False)
    monkeypatch.setenv("LINNET_MODEL", "digits")
    assert default_model(True) == ("digits", "named by LINNET_MODEL", True)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper"}, "whisper"),
        ({"model_type": "whisper"}, "whisper"),
        ({"architectures": ["MoonshineForConditionalGeneration"], "model_type": "moonshine"}, "seq2seq"),
        ({"model_type": "speech_to_text"}, "seq2seq"),
        ({"architectures": ["Wav2Vec2ForCTC"], "model_type": "wav2vec2"}, "ctc"),
        ({"architectures": ["ParakeetForCTC"], "model_type": "parakeet_ctc"}, "ctc"),
        ({"model_type": "hubert"}, "ctc"),
    ],
)
def test_families(tmp_path: Path, config: dict[str, object], expected: str) -> None:
    write_files(tmp_path, {"config.json": json.dumps(config).encode()})
    assert family_of(tmp_path).name == expected


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({"architectures": ["Wav2Vec2ForPreTraining"], "model_type": "wav2vec2"}, "Wav2Vec2ForPreTraining"),
        (
            {"architectures": ["WhisperForAudioClassification"], "model_type": "whisper"},
            "WhisperForAudioClassification",
        ),
        ({"architectures": ["DiaForConditionalGeneration"], "model_type": "dia"}, "DiaForConditionalGeneration"),
        ({"model_type": "gpt2"}, "model type 'gpt2'"),
        ({}, "model type ''"),
    ],
)
def test_what_is_no_recognition_model(tmp_path: Path, config: dict[str, object], what: str) -> None:
    write_files(tmp_path, {"config.json": json.dumps(config).encode()})
    with pytest.raises(ModelError) as caught:
        family_of(tmp_path)
    said = str(caught.value)
    assert f"{what} is not a speech recognition model that Linnet can run; supported are Whisper" in said
    assert "moonshine" in said
    assert "wav2vec2-bert" in said


@pytest.mark.parametrize(("content", "said"), [(b"{oops", "is not valid JSON"), (b"[1]", "must hold a JSON object")])
def test_a_damaged_config(tmp_path: Path, content: bytes, said: str) -> None:
    write_files(tmp_path, {"config.json": content})
    with pytest.raises(ModelError, match=said) as caught:
        family_of(tmp_path)
    assert str(tmp_path / "config.json") in str(caught.value)
