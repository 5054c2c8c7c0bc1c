"""`linnet models` as a person runs it, against a Hub on loopback and a cache of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.hub_cache import COMMIT, add_to_cache, hub, linnet, model_files, write_files

WHISPER = model_files("WhisperForConditionalGeneration", "whisper")


def test_a_model_from_pull_to_rm(tmp_path: Path) -> None:
    extras = {"pytorch_model.bin": b"x", "onnx/model.onnx": b"x", "model.fp32-00001-of-00002.safetensors": b"x"}
    with hub({"acme/tiny": {**WHISPER, **extras}}) as (endpoint, downloaded):
        pulled = linnet("models", "pull", "acme/tiny", cache=tmp_path, endpoint=endpoint)
        typed = linnet("models", "pull", "acme/tyny", cache=tmp_path, endpoint=endpoint)
    assert (pulled.returncode, pulled.stderr) == (0, "linnet: fetching acme/tiny from the Hub\n")
    assert pulled.stdout.splitlines()[:2] == ["model       acme/tiny", f"revision    {COMMIT}"]
    assert sorted(downloaded) == sorted(WHISPER)  # safetensors are there: no .bin, no copies, no other formats
    assert typed.returncode == 1
    assert typed.stderr == (
        "linnet: cannot fetch acme/tyny (did you mean acme/tiny?): the Hub has no such model "
        "(if it is private: log in with `hf auth login`)\n"
    )
    # from here on there is no Hub
    listed = linnet("models", "list", cache=tmp_path)
    assert listed.stdout.splitlines()[-1].split()[:2] == ["acme/tiny", "whisper"]
    assert linnet("models", "path", "acme/tiny", cache=tmp_path).stdout.strip().endswith(f"snapshots/{COMMIT}")
    assert "apache-2.0" in linnet("models", "info", "acme/tiny", cache=tmp_path).stdout
    removed = linnet("models", "rm", "acme/tiny", cache=tmp_path)
    assert (removed.returncode, removed.stdout.startswith("removed acme/tiny: 4.")) == (0, True)
    assert not list(tmp_path.glob("models--*"))


def test_bin_weights_are_taken_where_there_are_no_others(tmp_path: Path) -> None:
    files = {**WHISPER, "pytorch_model.bin": b"weights"}
    files.pop("model.safetensors")
    with hub({"acme/old": files, "acme/ct2": {"config.json": b"{}", "model.bin": b"x"}}) as (endpoint, downloaded):
        assert linnet("models", "pull", "acme/old", cache=tmp_path, endpoint=endpoint).returncode == 0
        assert "pytorch_model.bin" in downloaded
        ct2 = linnet("models", "pull", "acme/ct2", cache=tmp_path, endpoint=endpoint)
    assert "its model.bin is not in CTranslate2's format: use the original model" in ct2.stderr


@pytest.mark.parametrize(
    ("status", "said"),
    [(403, "cannot fetch acme/shy: it is gated: accept its terms at http"), (503, "answered with status 503")],
)
def test_a_hub_that_refuses(tmp_path: Path, status: int, said: str) -> None:
    with hub({}, status) as (endpoint, _):
        done = linnet("models", "pull", "acme/shy", cache=tmp_path, endpoint=endpoint)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_hub_that_is_not_there(tmp_path: Path) -> None:
    done = linnet("models", "pull", "small", cache=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "linnet: cannot fetch openai/whisper-small: "
        "the Hub cannot be reached (http://127.0.0.1:9: Connection refused)\n"
    )
    offline = linnet("models", "pull", "small", "--offline", cache=tmp_path)
    assert offline.stderr == "linnet: cannot fetch openai/whisper-small: offline mode was requested\n"


def test_the_list_as_json_and_what_it_hides(tmp_path: Path) -> None:
    add_to_cache(tmp_path, "openai/whisper-tiny", WHISPER)
    add_to_cache(tmp_path, "acme/text", model_files("GPT2LMHeadModel", "gpt2"))
    done = linnet("models", "list", "--json", cache=tmp_path)
    (tiny,) = [entry for entry in json.loads(done.stdout) if entry["origin"] == "hub"]
    assert (tiny["name"], tiny["kind"], tiny["revision"]) == ("openai/whisper-tiny", "whisper", COMMIT)
    assert done.stderr == "1 more in the cache that are not for speech recognition: --all shows them\n"
    imports = linnet("models", "list", cache=tmp_path, PYTHONPROFILEIMPORTTIME="1").stderr
    assert " linnet.models.catalog\n" in imports
    assert " torch\n" not in imports  # nor Transformers, which knows the architectures of both
    assert " transformers\n" not in imports


def test_info_of_a_damaged_model(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "mine", {**WHISPER, "model.safetensors": b"broken"})
    done = linnet("models", "info", str(folder), cache=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"linnet: {folder / 'model.safetensors'} is damaged")
