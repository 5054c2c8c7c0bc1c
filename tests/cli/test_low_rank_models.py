"""A low-rank Whisper is one for everything that Linnet does: the embedded model, low-rank, beside its dense twin."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import WhisperForConditionalGeneration

import linnet
from linnet.models.catalog import count_parameters, info
from linnet.models.families import WHISPER, family_of
from linnet.models.lowrank.layers import is_low_rank, plan_of
from linnet.models.lowrank.saving import materialize, save_low_rank
from linnet.models.resize import resize
from linnet.models.resolve import resolve
from linnet.models.whisper import load_module
from linnet.training.loop import run_recipe
from tests.support.calling import Call, make_call
from tests.support.low_rank_models import compress
from tests.support.tiny_recipes import fusion_recipe, speech_recipe, tone_corpus

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The encoder of `digits` at 7/8 of its ranks, in both forms and in 16 bits; and the same written dense."""
    root = tmp_path_factory.mktemp("digits")
    source = resolve("digits").path
    model = WhisperForConditionalGeneration.from_pretrained(source, dtype=torch.float32)
    compress(model, ".encoder.", rank=112, bias=True)
    save_low_rank(model, source, root / "low", dtype=torch.float16)
    materialize(root / "low", root / "dense")
    return {"low": root / "low", "dense": root / "dense"}


def test_it_hears_as_the_dense_model_does(folders: dict[str, Path]) -> None:
    """One window, word times, beams and a long recording, in both engines."""
    for engine in ("torch", "openvino"):
        low, dense = (linnet.load(str(folders[n]), device="cpu", engine=engine, compute_type="f32") for n in folders)
        short, long = EXAMPLES / "digits-en.flac", EXAMPLES / "digits-long.flac"
        for sound, options in (
            (short, {}),
            (short, {"word_timestamps": True}),
            (short, {"beam_size": 3}),
            (long, {"language": "en"}),
        ):
            found, expected = (each.transcribe(sound, **options) for each in (low, dense))
            assert found.text == expected.text
            assert len(found.text.split()) > 3
            assert found.language == expected.language
            pieces = [each.words if "word_timestamps" in options else each.segments for each in (found, expected)]
            assert pieces[0]
            times = [[time for piece in each for time in (piece.start, piece.end)] for each in pieces]
            assert times[0] == pytest.approx(times[1], abs=0.05)


def test_it_is_described_as_a_whisper(folders: dict[str, Path]) -> None:
    assert family_of(folders["low"]) is WHISPER
    low, dense = (info(str(folders[name])) for name in ("low", "dense"))
    assert (low.family, low.window, low.languages, low.takes_prompt) == ("whisper", dense.window, dense.languages, True)
    assert low.weight_dtypes == ("F16",)
    assert low.parameters is not None
    assert low.parameters == count_parameters(folders["low"])[0]


def test_the_command_line_takes_it(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    call: Call = make_call(monkeypatch, capsys)
    done = call("transcribe", EXAMPLES / "digits-en.flac", "--model", folders["low"])
    assert done.status == 0, done.err
    assert done.out.strip()
    told = call("models", "info", folders["low"])
    assert (told.status, "LowRankWhisperForConditionalGeneration" in told.out) == (0, True)
    manifest = tone_corpus(tmp_path / "corpus", 4)
    rated = call("evaluate", manifest, "--model", folders["low"], "--output", tmp_path / "report")
    assert rated.status == 0, rated.err


def test_layers_may_be_taken_out(folders: dict[str, Path], tmp_path: Path) -> None:
    resize(str(folders["low"]), tmp_path / "small", encoder_layers=3, decoder_layers=None)
    config = json.loads((tmp_path / "small" / "config.json").read_text())
    assert {name.split(".")[3] for name in config["linnet_low_rank"]["layers"]} == {"0", "1", "2"}
    assert linnet.load(str(tmp_path / "small"), device="cpu").transcribe(EXAMPLES / "digits-en.flac").language


@pytest.mark.parametrize(
    "policy",
    [{"model.encoder": "all", "model.decoder": "frozen"}, {"model.encoder": "lora(r=2, targets=first+second+rest)"}],
    ids=str,
)
def test_it_is_trained(folders: dict[str, Path], tmp_path: Path, policy: dict[str, str]) -> None:
    """All of it, or adapters of both halves, which are folded in; it stays low-rank, and is another model after."""
    folder, manifest = folders["low"], tone_corpus(tmp_path / "corpus", 8)
    content = fusion_recipe({"hubert": folder, "llama": folder}, manifest, tmp_path / "out")
    content |= {"model": {"checkpoint": str(folder), "language": "en"}, "freeze": policy}
    content["optimization"] = {"steps": 2, "learning_rate": 0.003}
    del content["data"]["validation"], content["data"]["validation_limit"]
    content["data"]["batching"] = {"budget": 60.0}
    del content["run"]["validate_every"]
    assert len(list(run_recipe(speech_recipe(tmp_path / "recipe.yaml", content)))) == 2
    before, after = (
        load_module(place, name="m", dtype=torch.float32) for place in (folder, tmp_path / "out" / "model")
    )
    assert plan_of(after) == plan_of(before)
    assert is_low_rank(after)
    name = next(iter(plan_of(before)))
    assert not torch.equal(before.get_submodule(name).first.weight, after.get_submodule(name).first.weight)
