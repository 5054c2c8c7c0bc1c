"""Tokenizers that are rebuilt from vocabularies alone, and real Whispers in every format."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from tokenizers import Tokenizer

from linnet.models.importing import import_model
from linnet.models.importing.layout import Dimensions
from linnet.models.importing.pieces import build_tokenizer, recover_merges, special_tokens
from linnet.models.importing.published import PUBLISHED, of_dimensions
from tests.support.real_weights import require_weights
from tests.support.tiny_imports import text_pieces, whisper_folder, write_ctranslate2, write_ggml, write_pt
from tests.support.tiny_whispers import small_tokenizer

TEXTS = (
    "Hello, world!  It's 10 o'clock; she'd said \"no\".\n\n\tTabs and   spaces ",
    "Über die Straße – l'été, niño, czerwień, Ελλάδα, Привет мир, مرحبا, नमस्ते दुनिया",
    "今日は天気がいいですね。 你好，世界 안녕하세요 ภาษาไทย 🎵♪♫ 👩‍👩‍👧 \u200b\ufeff\x00\x7f",
)
REAL = ("tiny.en", "base")


def real_tokenizer(name: Any) -> Tokenizer:
    found: Tokenizer = Tokenizer.from_file(str(require_weights(name) / "tokenizer.json"))
    return found


def pieces_of(tokenizer: Tokenizer) -> list[bytes]:
    class _Named:
        get_vocab = staticmethod(tokenizer.get_vocab)

    return text_pieces(_Named())


@pytest.mark.parametrize("name", REAL)
def test_merges_of_a_real_vocabulary(name: str) -> None:
    tokenizer = real_tokenizer(name)
    said = json.loads(tokenizer.to_str())["model"]["merges"]
    pairs = [tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in said]
    pieces = pieces_of(tokenizer)
    size = {"tiny.en": 51864, "base": 51865}[name]
    rebuilt = Tokenizer.from_str(build_tokenizer(pieces, special_tokens(len(pieces), size, 1501), Path("x")))
    assert [tuple(pair) for pair in json.loads(rebuilt.to_str())["model"]["merges"]] == pairs
    named = {name: token for name, token in tokenizer.get_vocab().items() if not name.startswith("<|unused")}
    known = rebuilt.get_vocab()
    old = {"<|iw|>": "<|he|>"}  # tiny.en, which writes no language, calls Hebrew by its old code
    assert {name: known[old.get(name, name)] for name in named} == named
    texts = [*TEXTS, *("".join(map(chr, row)) for row in np.random.default_rng(5).integers(1, 0x2FFF, (300, 12)))]
    for text in texts:
        assert rebuilt.encode(text).ids == tokenizer.encode(text).ids
        assert rebuilt.decode(rebuilt.encode(text).ids) == tokenizer.decode(tokenizer.encode(text).ids)


@cache
def twins(folder: Path) -> tuple[Tokenizer, Tokenizer]:
    """A tokenizer and its twin from bytes alone."""
    tokenizer: Tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    pieces, ids = pieces_of(tokenizer), tokenizer.get_vocab()
    size = ids["<|notimestamps|>"] + 1 + 1501
    return tokenizer, Tokenizer.from_str(build_tokenizer(pieces, special_tokens(len(pieces), size, 1501), Path("x")))


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=60))
def test_any_text_has_the_same_ids(whisper_tokenizer: Path, text: str) -> None:
    original, twin = twins(whisper_tokenizer)
    ids = [one.encode(text, add_special_tokens=False).ids for one in (original, twin)]  # each adds its own
    assert ids[0] == ids[1]


def test_what_is_no_bpe_vocabulary() -> None:
    alphabet = [bytes([byte]) for byte in range(256)]
    assert recover_merges([*alphabet, b"ab", b"abc"]) == [(b"a", b"b"), (b"ab", b"c")]
    for more, said in (
        ([b"abc"], "cannot be merged"),
        ([b"ab", b"ab"], "are equal"),
        ([bytes(range(256)) * 50], "longer"),
    ):
        with pytest.raises(ValueError, match=said):
            recover_merges([*alphabet, *more])
    with pytest.raises(ValueError, match="byte 255"):
        recover_merges(alphabet[:-1])


def test_published_heads_are_those_of_openai_whisper() -> None:
    """CTranslate2 keeps the same table by itself: two sources, one truth."""
    transformers = pytest.importorskip("ctranslate2.converters.transformers")
    table = transformers._WHISPER_ALIGNMENT_HEADS
    names = {"large-v1": "large"}
    for one in PUBLISHED:
        if (listed := table.get(f"openai/whisper-{names.get(one.name, one.name)}")) is not None:
            assert list(one.alignment_heads) == [tuple(pair) for pair in listed], one.name
    large = Dimensions(80, 1280, 1500, 20, 32, 5120, 51865, 448, 20, 32, 5120)
    assert of_dimensions(large, "model.pt") is None  # large-v1 or large-v2: not to be guessed
    found = of_dimensions(large, "ggml-large-v2.bin")
    assert found is not None
    assert found.name == "large-v2"


@pytest.mark.parametrize("name", REAL)
def test_a_real_whisper_in_ctranslate2_and_whisper_cpp(tmp_path: Path, name: Any) -> None:
    """The same weights bit for bit and the same settings, by two ways that know nothing of each other."""
    folder = require_weights(name)
    weights = load_file(folder / "model.safetensors")
    heads = json.loads((folder / "config.json").read_text())["decoder_attention_heads"]
    pieces = pieces_of(real_tokenizer(name))
    import_model(write_ggml(tmp_path / "ggml.bin", weights, pieces, heads=heads), tmp_path / "ggml")
    found = load_file(tmp_path / "ggml" / "model.safetensors")
    assert all(torch.equal(found[key], weights[key]) and found[key].dtype == weights[key].dtype for key in weights)
    import_model(write_ctranslate2(tmp_path / "ct2", folder, "float16"), tmp_path / "out")
    again = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(again[key], weights[key]) for key in weights)
    said, told = (json.loads((tmp_path / one / "generation_config.json").read_text()) for one in ("ggml", "out"))
    assert said == told


def test_an_openai_checkpoint_takes_a_tokenizer_of_the_installed_openai_whisper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its vocabulary is a data file of a package that is found and never imported."""
    import base64
    import sys

    monkeypatch.setenv("LINNET_CACHE", str(tmp_path / "cache"))
    original = whisper_folder(tmp_path / "original")
    pieces = text_pieces(small_tokenizer(languages=("en", "zh", "de", "es", "ru")))
    assets = tmp_path / "site" / "whisper" / "assets"
    assets.mkdir(parents=True)
    (assets.parent / "__init__.py").write_text("raise RuntimeError('imported')")
    lines = [f"{base64.b64encode(piece).decode()} {rank}\n" for rank, piece in enumerate(pieces)]
    (assets / "multilingual.tiktoken").write_text("".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    sys.modules.pop("whisper", None)
    source = write_pt(tmp_path / "a.pt", load_file(original / "model.safetensors"))
    report = import_model(source, tmp_path / "out")
    assert "openai-whisper" in report.tokenizer
    made, expected = (Tokenizer.from_file(str(f / "tokenizer.json")) for f in (tmp_path / "out", original))
    assert made.get_vocab() == expected.get_vocab()
