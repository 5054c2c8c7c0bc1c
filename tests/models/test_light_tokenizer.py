"""The light tokenizer says what Transformers' own says; a folder is read without Transformers as with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, WhisperConfig

import linnet
from linnet.errors import ModelError
from linnet.models import whisper
from linnet.models.light_tokenizer import LightTokenizer
from tests.support.tiny_whispers import save_whisper


@pytest.fixture(scope="module")
def both(whisper_tokenizer: Path) -> tuple[LightTokenizer, Any]:
    return LightTokenizer(whisper_tokenizer / "tokenizer.json"), AutoTokenizer.from_pretrained(whisper_tokenizer)


def test_the_vocabulary(both: tuple[LightTokenizer, Any]) -> None:
    light, whole = both
    assert light.get_vocab() == whole.get_vocab()
    assert light.get_added_vocab() == whole.get_added_vocab()
    assert light.convert_ids_to_tokens([50257, 50258, 300]) == whole.convert_ids_to_tokens([50257, 50258, 300])


@given(st.lists(st.integers(0, 50363), max_size=12))
def test_any_tokens_have_the_same_text(both: tuple[LightTokenizer, Any], tokens: list[int]) -> None:
    light, whole = both
    for skipping in (True, False):
        texts = [
            one.decode(tokens, skip_special_tokens=skipping, clean_up_tokenization_spaces=False)
            for one in (light, whole)
        ]
        assert texts[0] == texts[1]


@given(st.text(max_size=20))
def test_any_text_has_the_same_tokens(both: tuple[LightTokenizer, Any], text: str) -> None:
    light, whole = both
    assert (
        light(f" {text}", add_special_tokens=False)["input_ids"]
        == (whole(f" {text}", add_special_tokens=False)["input_ids"])
    )


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"tokenizer\.json is damaged .*: copy it again"):
        LightTokenizer(tmp_path / "tokenizer.json")


def test_the_defaults_are_those_of_transformers() -> None:
    config = WhisperConfig().to_dict()
    for name, value in whisper.DEFAULTS.items():
        assert list(config[name]) == list(value) if isinstance(value, tuple) else config[name] == value


def test_recognition_on_openvino_imports_no_transformers(tmp_path: Path) -> None:
    code = """
import sys, numpy, linnet
model = linnet.load(sys.argv[1], engine="openvino", device="cpu")
model.transcribe(numpy.zeros(16000, numpy.float32), language="en", vad=False, max_new_tokens=2, temperatures=(0.0,))
assert "transformers" not in sys.modules, sorted(name for name in sys.modules if "transformers" in name)
"""
    model = save_whisper(tmp_path, seed=3)
    linnet.load(str(model), engine="openvino", device="cpu")  # converts the weights, which needs it
    done = subprocess.run([sys.executable, "-c", code, str(model)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
