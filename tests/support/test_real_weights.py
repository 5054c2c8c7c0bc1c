"""Tests that need real weights find them where `make weights` or the tester put them, and else say what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.real_weights import find_weights, require_weights


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No named folder, an empty Hugging Face cache, and Linnet's cache in this folder."""
    monkeypatch.delenv("LINNET_TEST_WEIGHTS", raising=False)
    monkeypatch.setenv("LINNET_TEST_USER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def test_a_named_folder_is_taken(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (nowhere / "mine" / "base").mkdir(parents=True)
    (nowhere / "mine" / "base" / "model.safetensors").touch()
    monkeypatch.setenv("LINNET_TEST_WEIGHTS", str(nowhere / "mine"))
    assert require_weights("base") == nowhere / "mine" / "base"
    assert find_weights("tiny.en") is None


def test_what_was_pulled_is_found_in_the_users_cache(nowhere: Path) -> None:
    folder = nowhere / "cache" / "models" / "openai--whisper-tiny.en"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").touch()
    assert require_weights("tiny.en") == folder


def test_without_weights_the_skip_names_the_command(nowhere: Path) -> None:
    with pytest.raises(pytest.skip.Exception, match="make weights"):
        require_weights("tiny.en")
