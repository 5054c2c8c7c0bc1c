"""Students made of some of a teacher's layers."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import WhisperForConditionalGeneration

from linnet.decoding.decoder import Decoder
from linnet.decoding.options import DecodingOptions
from linnet.engines.torch import TorchEngine
from linnet.errors import OptionError, OutputError
from linnet.models.resize import choose_layers, resize
from linnet.models.whisper import load_whisper
from tests.support.tiny_whispers import (
    edit_json,
    generate,
    random_features,
    random_whisper,
    save_whisper,
    small_tokenizer,
)

HEADS = [[0, 1], [1, 0], [3, 3], [4, 2]]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four encoder and five decoder layers, all different."""
    folder = save_whisper(tmp_path_factory.mktemp("teacher") / "m", seed=2)
    model = random_whisper(small_tokenizer(), seed=2)
    config = model.config
    config.encoder_layers, config.decoder_layers = 4, 5
    torch.manual_seed(5)
    deep = WhisperForConditionalGeneration(config)
    deep.load_state_dict(model.state_dict(), strict=False)
    generation = (folder / "generation_config.json").read_text()
    deep.save_pretrained(folder)
    (folder / "generation_config.json").write_text(generation)
    edit_json(folder / "generation_config.json", alignment_heads=HEADS)
    edit_json(folder / "config.json", linnet={"pads_window": False})
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    return folder


def read_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / name).read_text())
    return found


@given(have=st.integers(1, 64), data=st.data())
def test_layers_are_spaced_as_evenly_as_they_can(have: int, data: st.DataObject) -> None:
    want = data.draw(st.integers(1, have))
    chosen = choose_layers(have, want)
    assert len(chosen) == want
    assert chosen[-1] == have - 1
    if want == 1:
        return
    assert chosen[0] == 0
    ideal = (have - 1) / (want - 1)
    assert all(abs(layer - step * ideal) <= 0.5 + 1e-9 for step, layer in enumerate(chosen))
    assert {after - before for before, after in pairwise(chosen)} <= {int(ideal), int(ideal) + 1}


@pytest.mark.parametrize(
    ("have", "want", "chosen"),
    [(32, 2, (0, 31)), (12, 3, (0, 6, 11)), (12, 12, tuple(range(12))), (24, 4, (0, 8, 15, 23)), (6, 1, (5,))],
)
def test_chosen_layers_of_known_models(have: int, want: int, chosen: tuple[int, ...]) -> None:
    assert choose_layers(have, want) == chosen


@pytest.mark.parametrize("want", [0, -1, 5])
def test_layers_that_are_not_there(want: int) -> None:
    with pytest.raises(ValueError, match=f"{want} of 4 layers cannot be chosen"):
        choose_layers(4, want)


def test_a_student_has_its_teachers_weights_bit_for_bit(teacher: Path, tmp_path: Path) -> None:
    made = resize(str(teacher), tmp_path / "s", encoder_layers=3, decoder_layers=2)
    assert (made.encoder, made.decoder) == ((0, 2, 3), (0, 4))
    student = WhisperForConditionalGeneration.from_pretrained(tmp_path / "s")
    whole = WhisperForConditionalGeneration.from_pretrained(teacher)
    wanted = whole.state_dict()
    places = {"model.encoder.layers.": made.encoder, "model.decoder.layers.": made.decoder}
    seen = set()
    for name, weight in student.state_dict().items():
        original = name
        if stack := next((stack for stack in places if name.startswith(stack)), ""):
            index, _, rest = name.removeprefix(stack).partition(".")
            original = f"{stack}{places[stack][int(index)]}.{rest}"
        assert torch.equal(weight, wanted[original]), name
        seen.add(original)
    left_out = {".".join(name.split(".")[1:4]) for name in set(wanted) - seen}
    assert left_out == {"encoder.layers.1", "decoder.layers.1", "decoder.layers.2", "decoder.layers.3"}
    assert made.parameters == tuple(sum(p.numel() for p in model.parameters()) for model in (whole, student))
    assert student.config.num_hidden_layers == 3


def test_everything_else_goes_along(teacher: Path, tmp_path: Path) -> None:
    made = resize(str(teacher), tmp_path / "s", encoder_layers=None, decoder_layers=2)
    assert (made.encoder, made.heads) == ((0, 1, 2, 3), (4, 2))
    generation = read_config(teacher, "generation_config.json")
    assert read_config(tmp_path / "s", "generation_config.json") == {**generation, "alignment_heads": [[0, 1], [1, 2]]}
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json", "README.md"):
        assert (tmp_path / "s" / name).read_bytes() == (teacher / name).read_bytes()
    config, old = read_config(tmp_path / "s"), read_config(teacher)
    said = config.pop("linnet")
    assert (said["pads_window"], said["made_from"]["model"]) == (False, str(teacher))
    assert said["layers"] == {"encoder": [0, 1, 2, 3], "decoder": [0, 4]}
    assert {**old, "linnet": ..., "decoder_layers": 2} == {**config, "linnet": ...}
    heads = load_whisper(tmp_path / "s", name="s", device="cpu", dtype=torch.float32).alignment_heads
    assert (heads.pairs, heads.source) == (((0, 1), (1, 2)), "model")
    assert made.notice is not None
    assert made.notice.startswith("2 of 4 alignment heads remain: run `linnet models align-heads`")


def test_heads_of_layers_that_are_gone_are_dropped(teacher: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(teacher, source)
    edit_json(source / "generation_config.json", alignment_heads=[[1, 0], [2, 1]])
    (source / "alignment_heads.json").write_text('{"alignment_heads": [[1, 0]]}')
    made = resize(str(source), tmp_path / "s", encoder_layers=2, decoder_layers=2)
    assert "alignment_heads" not in read_config(tmp_path / "s", "generation_config.json")
    assert not (tmp_path / "s" / "alignment_heads.json").exists()
    assert made.notice is not None
    assert made.notice.startswith("0 of 2 alignment heads remain, and calibrated heads are not kept")
    same = resize(str(source), tmp_path / "t", encoder_layers=2, decoder_layers=None)
    assert (same.notice, same.heads) == (None, (2, 2))
    assert (tmp_path / "t" / "alignment_heads.json").is_file()


def test_linnet_and_generate_write_the_same_tokens(teacher: Path, tmp_path: Path) -> None:
    resize(str(teacher), tmp_path / "s", encoder_layers=1, decoder_layers=3)
    model = load_whisper(tmp_path / "s", name="s", device="cpu", dtype=torch.float32)
    engine, features = TorchEngine(model), random_features(3)
    options = DecodingOptions(language="de", timestamps=False, max_new_tokens=20, temperatures=(0.0,))
    found = Decoder(engine, model.vocabulary, model.max_length).decode(engine.encode(features), options)
    vocabulary = model.vocabulary
    prefix = (vocabulary.start, vocabulary.languages["de"], vocabulary.tasks["transcribe"], vocabulary.no_timestamps)
    stock = WhisperForConditionalGeneration.from_pretrained(tmp_path / "s").eval()
    wanted = generate(stock, features, prefix=[prefix] * 3, language="de", task="transcribe", max_new_tokens=20)
    assert [one.tokens for one in found] == wanted


@pytest.mark.parametrize(
    ("encoder", "decoder", "said"),
    [
        (9, None, r"the encoder of \S+ has 4 layers, not 9: choose 1 to 4"),
        (None, 6, r"the decoder of \S+ has 5 layers, not 6: choose 1 to 5"),
        (0, 2, "layers, not 0: choose 1 to"),
        (None, None, r"has only 4 \+ 5 layers: choose fewer"),
        (4, 5, r"has only 4 \+ 5 layers: choose fewer"),
    ],
)
def test_layers_that_cannot_be_chosen(
    teacher: Path, tmp_path: Path, encoder: int | None, decoder: int | None, said: str
) -> None:
    with pytest.raises(OptionError, match=said):
        resize(str(teacher), tmp_path / "s", encoder_layers=encoder, decoder_layers=decoder)
    assert list(tmp_path.iterdir()) == []


def test_models_and_folders_that_do_not_do(teacher: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(teacher, other)
    edit_json(other / "config.json", model_type="wav2vec2", architectures=["Wav2Vec2ForCTC"])
    with pytest.raises(OptionError, match="is of another family: only Whisper-family models can be resized"):
        resize(str(other), tmp_path / "s", encoder_layers=1, decoder_layers=1)
    with pytest.raises(OutputError, match="already exists"):
        resize(str(teacher), other, encoder_layers=1, decoder_layers=1)
