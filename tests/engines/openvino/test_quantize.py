"""Compute type w8a8: products of 8 bits, near the exact ones; kept, found again, and never made without sound."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import jiwer
import pytest
import torch
from torch import Tensor

import linnet
from linnet.audio.mel import log_mel
from linnet.engines.choice import openvino_precision, openvino_source
from linnet.engines.openvino import OpenVinoEngine, cache, export
from linnet.engines.openvino.cache import (
    ConvertedModel,
    ModelSource,
    calibrate,
    compile_converted,
    keep,
    load_converted,
)
from linnet.engines.openvino.copies import copies_root, find_copies, model_key, remove_copies
from linnet.engines.openvino.engine import floats
from linnet.engines.openvino.formats import Precision
from linnet.engines.openvino.quantize import quantize
from linnet.engines.openvino.runtime import compile_model
from linnet.errors import ModelError, OptionError, OutputError
from linnet.models.resolve import resolve
from linnet.models.whisper import load_module, load_whisper
from tests.support.damaged_conversions import DAMAGES
from tests.support.digit_strings import heard, real_strings
from tests.support.tiny_whispers import random_features, save_whisper

W8A8 = Precision("w8a8", "f32")
CALIBRATION = 8  # windows
POINTS = 1.0  # of word error rate, in percent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("quantized"), seed=1)


@pytest.fixture(scope="module")
def source(folder: Path) -> ModelSource:
    return ModelSource(folder, "m", lambda: load_module(folder, name="m", dtype=torch.float32))


@pytest.fixture(scope="module")
def made(source: ModelSource) -> ConvertedModel:
    """Calibrated on 8 windows of several lengths."""
    windows = [random_features(1, seed=seed, frames=200 - 10 * seed)[0] for seed in range(8)]
    return calibrate(source, W8A8, windows)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this test's own."""
    monkeypatch.setenv("LINNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "openvino"


def encoded(converted: ConvertedModel, features: Tensor) -> list[Tensor]:
    cross = OpenVinoEngine(compile_converted(converted, 1), label="t").encode(features).cross
    return [torch.from_numpy(floats(each)) for each in cross]


def distance(got: list[Tensor], want: list[Tensor]) -> float:
    """The relative error of all results together."""
    assert [one.shape for one in got] == [one.shape for one in want]
    errors = sum((a.float() - b.float()).square().sum() for a, b in zip(got, want, strict=True))
    return float((errors / sum(one.float().square().sum() for one in want)) ** 0.5)


def test_products_of_the_encoder_are_of_8_bits(made: ConvertedModel) -> None:
    quantizers = [op for op in made.encoder.get_ops() if op.get_type_name() == "FakeQuantize"]
    products = [op for op in made.encoder.get_ops() if op.get_type_name() in ("MatMul", "Convolution")]
    assert len(products) == 2 + 2 * 4 + 2 * 2  # convolutions; qkv, out, fc1, fc2 of 2 layers; keys and values of 2
    assert len(quantizers) >= len(products)
    compiled = compile_model(made.encoder, "f32", 1)
    kinds: Counter[bool] = Counter()
    for node in compiled.get_runtime_model().get_ops():
        told = {key: node.get_rt_info()[key].value for key in ("layerType", "primitiveType")}
        if told["layerType"] in ("FullyConnected", "Convolution"):  # MatMul: inside attention, on some processors
            kinds["i8" in told["primitiveType"].lower()] += 1
    assert kinds == {True: len(products)}


def test_the_decoder_has_weights_of_8_bits_only(made: ConvertedModel, source: ModelSource, empty: Path) -> None:
    types = Counter(op.get_type_name() for op in made.decoder.get_ops())
    assert types["FakeQuantize"] == 0
    int8 = load_converted(source, Precision("int8", "f32"), lambda _: None)
    assert types == Counter(op.get_type_name() for op in int8.decoder.get_ops())


@pytest.mark.parametrize("frames", [200, 57])
def test_encoder_results_are_near_the_exact_ones(made: ConvertedModel, source: ModelSource, frames: int) -> None:
    features = random_features(2, seed=99, frames=frames)
    exact = load_converted(source, Precision("f32", "f32"), lambda _: None)
    assert distance(encoded(made, features), encoded(exact, features)) < 0.12  # measured: 0.038 and 0.096


def test_a_window_is_needed() -> None:
    with pytest.raises(ValueError, match="at least one window"):
        quantize(None, [])


def test_what_is_kept_is_found_again_and_replaced(made: ConvertedModel, source: ModelSource, empty: Path) -> None:
    place = keep(source, made)
    found = load_converted(source, W8A8, pytest.fail)
    assert (found.folder, found.shape, found.precision) == (place, made.shape, W8A8)
    features = random_features(1, seed=5)
    for got, want in zip(encoded(found, features), encoded(made, features), strict=True):
        assert torch.equal(got, want)
    before = place.stat().st_ino
    assert keep(source, made) == place
    assert place.stat().st_ino != before
    assert [path.name for path in empty.iterdir()] == [place.name]


def test_what_is_not_there_is_an_error_that_names_the_way(source: ModelSource, empty: Path) -> None:
    with pytest.raises(ModelError, match=r"model m is not quantized yet: .*w8a8 needs  `linnet models quantize m AUD"):
        load_converted(source, W8A8, pytest.fail)
    assert not empty.exists()


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_an_error_and_stays(
    made: ConvertedModel, source: ModelSource, empty: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, breaks, message = DAMAGES[damage]
    place = keep(source, made)
    breaks(place / name)
    monkeypatch.setattr(export, "convert", lambda *_, **__: pytest.fail("converted"))
    with pytest.raises(ModelError, match=message) as caught:
        load_converted(source, W8A8, pytest.fail)
    assert str(caught.value).endswith("make it again with  `linnet models quantize m AUDIO`")
    assert place.exists()


def test_other_versions_are_an_error(
    made: ConvertedModel, source: ModelSource, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = keep(source, made)
    monkeypatch.setattr(cache, "EXPORT_VERSION", 99)
    with pytest.raises(
        ModelError, match=r"quantized by other versions \(export 99, OpenVINO .* `linnet models quantize"
    ):
        load_converted(source, W8A8, pytest.fail)
    assert place.exists()
    keep(source, made)
    assert not place.exists()


def test_a_disk_that_cannot_be_written_is_told_before_the_work(
    made: ConvertedModel, source: ModelSource, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty.parent.mkdir(parents=True)
    empty.write_text("a file where the folder should be")
    monkeypatch.setattr(export, "convert", lambda *_, **__: pytest.fail("converted"))
    with pytest.raises(OutputError, match=re.escape(f"cannot be kept in {empty} (")):
        calibrate(source, W8A8, [random_features(1)[0]])
    with pytest.raises(OutputError, match="LINNET_CACHE"):
        keep(source, made)


def test_an_earlier_one_stays_where_a_new_one_cannot_be_written(
    made: ConvertedModel, source: ModelSource, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = keep(source, made)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "file_digest", full)
    with pytest.raises(OutputError, match="No space left on device"):
        keep(source, made)
    monkeypatch.undo()
    assert [path.name for path in place.parent.iterdir()] == [place.name]


def test_copies_of_a_model_are_found_and_removed(
    made: ConvertedModel, source: ModelSource, folder: Path, empty: Path
) -> None:
    assert copies_root() == empty
    assert find_copies(folder) == []
    place = keep(source, made)
    other = empty / f"{'0' * 16}-int8-bf16-{'0' * 8}"
    other.mkdir()
    (copy,) = find_copies(folder)
    assert (copy.folder, copy.precision) == (place, "w8a8-f32")
    assert place.name.startswith(model_key(folder))
    assert copy.size == sum(path.stat().st_size for path in place.iterdir())
    assert remove_copies([copy]) == copy.size
    assert list(empty.iterdir()) == [other]
    with pytest.raises(ModelError, match=f"cannot remove {place}"):
        remove_copies([copy])


def test_words_of_the_embedded_model(fsdd: Path) -> None:
    """Calibrated on the first strings, judged on the others, which are of the same speakers."""
    strings = real_strings(fsdd)
    reference = [text for _, text in strings]
    ref = resolve("digits")
    source, w8a8 = openvino_source(ref), openvino_precision("w8a8")
    model = load_whisper(ref.path, name="digits", device="cpu", dtype=torch.float32, weights=False)
    features = []
    for sound, _ in strings[: CALIBRATION + 4]:
        wave = torch.zeros(model.window_samples)
        wave[: len(sound.samples)] = torch.from_numpy(sound.samples)
        features.append(log_mel(wave, model.n_mels))
    made = calibrate(source, w8a8, features[:CALIBRATION])
    exact = load_converted(source, Precision("f32", "f32"), lambda _: None)
    unseen = torch.stack(features[CALIBRATION:])
    assert distance(encoded(made, unseen), encoded(exact, unseen)) < 0.08  # measured: 0.063
    keep(source, made)
    assert linnet.load("digits", device="cpu", compute_type="w8a8", threads=1).engine_name == "openvino cpu w8a8"
    rates = [
        jiwer.wer(reference[CALIBRATION:], heard("openvino", kind, fsdd)[CALIBRATION:]) for kind in ("f32", "w8a8")
    ]
    assert 100 * (rates[1] - rates[0]) <= POINTS


def test_torch_does_not_have_it() -> None:
    with pytest.raises(OptionError, match="w8a8 needs the openvino engine: use --engine openvino"):
        linnet.load("digits", device="cpu", engine="torch", compute_type="w8a8")
