"""Times of layers: what is timed, what lies between, that a budget holds, and that nothing slower is factored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from linnet.compression import engine_times as engines
from linnet.compression import latency
from linnet.compression.engine_times import engine_times, openvino_runner, torch_runner
from linnet.compression.job import Compressed, CompressOptions, Study, compress
from linnet.compression.latency import FASTER, LayerTimes, Shape, in_turn
from linnet.compression.report import Account, card, figures
from linnet.compression.sites import Site
from linnet.engines.choice import EngineChoice
from linnet.engines.openvino.formats import Precision
from linnet.errors import OptionError
from linnet.models.lowrank.layers import PivotLinear
from linnet.models.resolve import resolve
from tests.support.tiny_subjects import audio_of, whisper_subject
from tests.support.tiny_whispers import save_whisper


def seconds(layer: nn.Module, begun: float = 100.0) -> float:
    """A machine whose time is the weights read, and so much for each product that is begun."""
    products = sum(isinstance(one, nn.Linear) for one in layer.modules())
    return begun * products + sum(value.numel() for value in layer.parameters() if value.ndim == 2)


def machine(begun: float = 100.0, step: int = 4) -> LayerTimes:
    """The times of layers on it."""
    return LayerTimes(lambda dense, made, _: (seconds(dense, begun), seconds(made, begun)), "a machine", step=step)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    subject = whisper_subject(tmp_path_factory.mktemp("w") / "w")
    return Study(subject, audio_of(subject), CompressOptions(latency=0.6, step=4))


def times_of(study: Study, made: Compressed, begun: float) -> list[tuple[float, float]]:
    """Of each layer the seconds dense and as it was made."""
    layers = [(study.subject.model.get_submodule(one.name), one.name) for one in made.reports]
    return [(seconds(dense, begun), seconds(made.layers.get(name, dense), begun)) for dense, name in layers]


def test_times_between_those_measured_lie_on_a_line() -> None:
    site, times = Site("a", 64, 96, "attention", "a"), machine()
    assert times.dense(site) == 100 + 64 * 96
    for rank in (12, 30, 62):
        assert times.seconds(site, rank, "pair") == pytest.approx(200 + rank * (64 + 96))


def test_a_rank_is_never_faster_than_a_lower_one() -> None:
    shares = iter([0.9, 0.3, 0.5, 0.4, 0.4, 0.4, 0.7, 0.8])
    site = Site("a", 64, 64, "attention", "a")
    times = LayerTimes(lambda *_: (2.0, 2.0 * next(shares)), "a machine", step=4)
    found = [times.seconds(site, rank, "pair") for rank in range(4, 64)]
    assert found == sorted(found)
    assert found[0] == 2.0 * 0.3  # what disturbed the first measurement is not believed


def test_a_rank_in_doubt_is_timed_itself() -> None:
    asked: list[int] = []

    def measure(_: nn.Module, made: Any, __: bool) -> tuple[float, float]:
        asked.append(made.rank)
        return 1.0, 2.0 if made.rank == 50 else made.rank / 64

    site, times = Site("a", 64, 64, "attention", "a"), LayerTimes(measure, "a machine", step=4)
    assert times.is_faster(site, 50, "pair")  # by what lies around it
    assert times.settle([(site, rank, "pair") for rank in (16, 40, 50)]) == 1
    assert asked[-1] == 50  # 16 and 40 take less than 0.7 of the dense layer's time
    assert not times.is_faster(site, 50, "pair")
    assert times.settle([(site, 50, "pair")]) == 0


@pytest.mark.parametrize("form", ["pair", "pivot"])
def test_the_time_is_kept(study: Study, form: Any) -> None:
    made = compress(study, CompressOptions(latency=0.6, step=4, form=form), machine())
    dense, now = (sum(column) for column in zip(*times_of(study, made, 100.0), strict=True))
    assert 0.5 < now / dense <= 0.6 * (1.01 if form == "pivot" else 1.0)  # between ranks pivots bend the line
    with pytest.raises(OptionError, match=r"a budget of 0\.01 of the time cannot be met: .* take 0\.\d+ of it"):
        compress(study, CompressOptions(latency=0.01, step=4), machine())
    with pytest.raises(OptionError, match="takes the times of layers"):
        compress(study, CompressOptions(latency=0.6, step=4))


@pytest.mark.parametrize("begun", [100.0, 1500.0])
def test_no_layer_is_factored_that_is_not_faster(study: Study, begun: float) -> None:
    """Where beginning a product takes long some layers stay dense, and others make up for them in size."""
    options = CompressOptions(budget=0.7, step=4)
    free, made = compress(study, options), compress(study, options, machine(begun))
    assert made.share <= 0.7
    assert made.layers
    assert made.timed_on == "a machine"
    slower = [
        name for name, (dense, now) in zip(free.layers, times_of(study, free, begun), strict=False) if now > dense
    ]
    for one, (dense, now) in zip(made.reports, times_of(study, made, begun), strict=True):
        assert now <= (dense if one.rank is None else FASTER * dense)
        assert one.seconds is not None
        assert one.seconds == pytest.approx((dense, now), rel=0.02)
    if begun > 1000:
        assert slower
        assert len(made.layers) < len(free.layers)
        analyses = study.analyses(priced=True, weighted=True)
        lost = [sum(analyses[o.name].loss(o.rank) for o in m.reports if o.rank is not None) for m in (free, made)]
        assert lost[0] < lost[1]  # the price of it


def test_thresholds_keep_dense_what_is_not_faster(study: Study) -> None:
    options = CompressOptions(thresholds=(0.9, 0.95))
    free, made = compress(study, options), compress(study, options, machine(2000.0))
    assert 0 < len(made.layers) < len(free.layers)
    assert {one.rank for one in made.reports} <= {one.rank for one in free.reports} | {None}


def test_a_budget_that_only_slower_layers_could_meet_is_refused(study: Study) -> None:
    with pytest.raises(OptionError, match=r"--for size  \(12 of 12 layers are faster dense at every rank on a machine"):
        compress(study, CompressOptions(budget=0.7, step=4), machine(1e6))


def test_the_card_tells_the_times(study: Study) -> None:
    made = compress(study, CompressOptions(budget=0.7, step=4), machine())
    told, text = dict(figures(Account("m", made, "s"))), card(Account("m", made, "s"))
    dense, now = (1000 * sum(column) for column in zip(*times_of(study, made, 100.0), strict=True))
    assert told["layers are timed"].startswith(f"on a machine: {dense:.1f} ms dense, ")
    assert float(told["layers are timed"].split("dense, ")[1].split()[0]) == pytest.approx(now, rel=0.02)
    assert "| layer | size | rank | form | dense, ms | low-rank, ms |\n|---|---|---|---|---|---|\n" in text


# --- engines


def test_layers_are_timed_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, order = [0.0], []
    monkeypatch.setattr(latency.time, "perf_counter", lambda: clock[0])

    def prepare(layer: Any, _: bool) -> Any:
        def run() -> None:
            order.append(layer.out_features)
            clock[0] += layer.out_features + (100.0 if len(order) < 5 else 0.0)  # the machine is busy at first

        return run

    assert in_turn(prepare, rounds=3)(nn.Linear(1, 3), nn.Linear(1, 2), False) == (3.0, 2.0)
    assert order == [2, 3, 3, 2, 2, 3, 3, 2]


@pytest.mark.parametrize(("form", "rank"), [("pair", 12), ("pivot", 12), ("pivot", 60)])
@pytest.mark.parametrize("activated", [False, True])
def test_what_openvino_runs_is_the_layer(form: Any, rank: int, activated: bool) -> None:
    shape = Shape(64, 128 if activated else 64, activated)
    layer = shape.factored(rank, form).requires_grad_(False)
    run: Any = openvino_runner(Precision("f32", "f32"), 7, 1)(layer, activated)
    found = torch.from_numpy(next(iter(run().values())))
    given = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 7, 64), np.float32))
    want = layer(given)
    torch.testing.assert_close(found, nn.functional.gelu(want) if activated else want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("engine", [False, True])
def test_what_pytorch_runs_is_the_layer(engine: bool) -> None:
    layer: Any = Shape(64, 64, False).factored(20, "pivot")
    assert isinstance(layer, PivotLinear)
    torch.manual_seed(5)
    given = torch.randn(1, 9, 64)
    torch.manual_seed(5)
    run = torch_runner(9, engine=engine)(layer, False)
    torch.testing.assert_close(run(), layer(given), atol=1e-5, rtol=1e-5)


def test_layers_are_timed_in_the_engine_that_runs_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = resolve(str(save_whisper(tmp_path / "w")))
    assert engine_times(ref, "int8", 8).where == "openvino cpu int8"
    times, site = engine_times(ref, "f32", 8, threads=1, step=16), Site("fc1", 64, 96, "mlp", "fc1")
    assert times.where == "openvino cpu f32"
    assert 0 < times.seconds(site, 16, "pivot") <= times.seconds(site, 48, "pivot") < 1.0
    with pytest.raises(OptionError, match="layers are timed in auto, f32, bf16 or int8, not in w8a8"):
        engine_times(ref, "w8a8", 8)
    monkeypatch.setattr(engines, "family_of", lambda _: None)
    monkeypatch.setattr(engines, "choose", lambda *_: EngineChoice("torch", "float32"))
    assert engine_times(ref, "f32", 8).where == "torch cpu float32"
