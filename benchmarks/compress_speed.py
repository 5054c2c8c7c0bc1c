"""The speed mode of `compress.py`: low-rank encoders beside dense ones, taking turns, and what calibration takes.

Models are shapes with random weights, but a name that is on this disk (base, tiny.en), which is compressed for real on
a few clips. Small has 8 of its 12 encoder layers, large-v3-turbo 4 of its 32, as many from each quarter of the depth,
so that all takes about ten minutes on two cores; random models have a decoder of one layer, of which only what the
encoder makes for it is computed. `calibration` is of small with all its layers. Ranks:

- fast: those that were published of LiteASR's preset `fast` (Kamahori et al., arXiv 2502.20583, figure 6, large-v3),
  as shares of the width in each quarter of the depth; pairs, as published.
- fast-faster: the same, but a layer that is not faster by the table of times stays dense.
- budget: 0.7 of the encoder's parameters, the published profile scaled to that (real models: `linnet compress`'s own
  choice), layers dense that are not faster.

Engines (`--precisions` names some of them): OpenVINO in f32, bf16 (products in f32 where the CPU has none) and int8 by
the engine's own path, and Linnet's PyTorch encoder in f32. `allowed` is the ratio of multiply-adds of the whole
encoder, in which a pivot layer counts k (D + O) - k^2 for each frame.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import WhisperConfig, WhisperForConditionalGeneration

import linnet.compression.subject
from linnet.audio.types import SAMPLE_RATE
from linnet.compression.engine_times import openvino_runner, torch_runner
from linnet.compression.job import CompressOptions, Study, compress
from linnet.compression.latency import LayerTimes, in_turn
from linnet.compression.sites import Site
from linnet.compression.subject import WhisperSubject, load_subject
from linnet.compression.windows import Audio
from linnet.engines.choice import openvino_precision
from linnet.engines.openvino import OpenVinoEngine
from linnet.engines.openvino.cache import ConvertedModel, compile_converted
from linnet.engines.openvino.export import convert
from linnet.engines.openvino.formats import ModelShape
from linnet.engines.torch.encoder import TorchEncoder
from linnet.errors import ModelError, OptionError
from linnet.models.lowrank.layers import Form, PivotLinear, is_low_rank, low_rank_linear, parameters_of, replace_layers
from linnet.models.resolve import resolve
from linnet.timing import time_in_turn

SHAPES = {  # width, encoder layers, heads, mel bins
    "nano": (64, 2, 2, 80),
    "tiny": (384, 4, 6, 80),
    "base": (512, 6, 8, 80),
    "small": (768, 8, 12, 80),
    "whole small": (768, 12, 12, 80),
    "large-v3-turbo": (1280, 4, 20, 128),
}
SITES = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
PROFILE = {  # rank / outputs, in each quarter of the depth: the middle ones so that the published means hold
    "q_proj": (0.05, 0.07, 0.07, 0.17),
    "k_proj": (0.04, 0.06, 0.06, 0.12),
    "v_proj": (0.15, 0.285, 0.285, 0.44),
    "out_proj": (0.11, 0.225, 0.225, 0.36),
    "fc1": (0.04, 0.095, 0.095, 0.17),
    "fc2": (0.16, 0.53, 0.53, 0.78),
}
PRECISIONS = ("f32", "bf16", "int8", "torch f32")
ROUNDS, BUDGET, STEP = 5, 0.7, 16
VOCABULARY = 1000

Plan = dict[str, tuple[int, Form]]  # of low-rank layers


@dataclass(frozen=True)
class Encoder:
    """A model to time: the dense module, its linear layers, and positions of a window."""

    name: str
    module: Any
    sites: list[Site]
    positions: int
    study: Study | None = None  # of a real one


def random_whisper(shape: str, *, decoder_layers: int = 1, vocabulary: int = VOCABULARY) -> Any:
    """A Whisper of this shape with random weights."""
    width, layers, heads, mels = SHAPES[shape]
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=width,
        encoder_layers=layers,
        decoder_layers=decoder_layers,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        num_mel_bins=mels,
        vocab_size=vocabulary,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        decoder_start_token_id=1,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    return WhisperForConditionalGeneration(config).eval().requires_grad_(False)


def sites_of(module: Any) -> list[Site]:
    """The linear layers of the encoder's blocks."""
    found = []
    for name, layer in module.named_modules():
        own = name.rpartition(".")[2]
        if ".encoder.layers." in name and own in SITES:
            kind: Any = "mlp" if own.startswith("fc") else "attention"
            found.append(Site(name, layer.in_features, layer.out_features, kind, name))
    return found


# --- ranks


def published(sites: list[Site], scale: float = 1.0, form: Form = "pair") -> Plan:
    """The ranks of `fast`; a layer stays dense above 0.5 of the width in attention, 0.8 in the MLP, as published.

    With another scale it stays dense only where a pivot layer of that rank would be no smaller.
    """
    depth = len(sites) // len(SITES)
    plan: Plan = {}
    for index, site in enumerate(sites):
        quarter = 4 * (index // len(SITES)) // depth
        share = PROFILE[site.name.rpartition(".")[2]][quarter] * scale
        rank = max(STEP, STEP * round(share * site.outputs / STEP))
        narrow = min(site.inputs, site.outputs)
        most = (0.5 if site.kind == "attention" else 0.8) * narrow if scale == 1.0 else narrow - 1
        if rank <= most:
            plan[site.name] = rank, form
    return plan


def scaled(sites: list[Site], fits: Callable[[Site, int, Form], bool]) -> Plan:
    """The largest multiple of the published ranks, as pivots where they are faster, within the budget."""
    whole = sum(site.weights for site in sites)
    found: Plan = {}
    for scale in np.arange(0.3, 5.0, 0.05):
        if scale == 1.0:
            continue
        plan = {
            name: told
            for name, told in published(sites, float(scale), "pivot").items()
            if fits(next(site for site in sites if site.name == name), *told)
        }
        if parameters(sites, plan) <= BUDGET * whole:
            found = plan
    return found


def faster(sites: list[Site], plan: Plan, times: LayerTimes) -> Plan:
    """The layers of a plan that are faster than dense, those in doubt timed themselves."""
    by_name = {site.name: site for site in sites}
    times.settle((by_name[name], *told) for name, told in plan.items())
    return {name: told for name, told in plan.items() if times.is_faster(by_name[name], *told)}


def parameters(sites: list[Site], plan: Plan) -> int:
    """Weights of these layers, and multiply-adds for a frame."""
    return sum(
        site.weights if site.name not in plan else parameters_of(site.inputs, site.outputs, *plan[site.name])
        for site in sites
    )


def multiply_adds(one: Encoder, plan: Plan) -> int:
    """Those of the whole encoder for a window: convolutions, linear layers, attention, what the decoder looks at."""
    config, positions = one.module.config, one.positions
    width = config.d_model
    convolutions = 3 * width * (2 * positions * config.num_mel_bins + positions * width)
    attention = 2 * positions**2 * width * config.encoder_layers
    across = 2 * positions * width**2 * config.decoder_layers
    total: int = convolutions + attention + across + positions * parameters(one.sites, plan)
    return total


# --- times


def layer_times(one: Encoder, precision: str) -> LayerTimes:
    """The table of times that decides what stays dense."""
    runner = torch_runner(one.positions, engine=True)
    if precision != "torch f32":
        runner = openvino_runner(openvino_precision(precision), one.positions)
    return LayerTimes(in_turn(runner, rounds=4), precision, step=STEP)


def encode_with(module: Any, precision: str) -> Callable[[int], object]:
    """What encodes one window of noise with an engine."""
    config = module.config
    frames = 2 * config.max_source_positions
    features = 0.3 * np.random.default_rng(0).standard_normal((1, frames, config.num_mel_bins), np.float32)
    if precision == "torch f32":
        encoder, given = TorchEncoder(module.model.encoder), torch.from_numpy(features)
        return lambda _: encoder(given)
    kind = openvino_precision(precision)
    made = ConvertedModel(*convert(module, kind), ModelShape.of(module), kind, None)
    engine = OpenVinoEngine(compile_converted(made), label=precision)
    return lambda _: engine.encode(features)


def in_place(one: Encoder, plan: Plan, layers: Mapping[str, nn.Module] | None = None) -> dict[str, nn.Module]:
    """Put low-rank layers of random weights, or `layers`, into the module; those that were there."""
    dense = {name: one.module.get_submodule(name) for name in plan}
    if layers is None:
        layers = {}
        for site in one.sites:
            if site.name in plan:
                rank, form = plan[site.name]
                made = low_rank_linear(site.inputs, site.outputs, rank, form).requires_grad_(False)
                if isinstance(made, PivotLinear):
                    made.order.copy_(torch.randperm(site.outputs))
                layers[site.name] = made
    replace_layers(one.module, layers)
    return dense


@torch.no_grad()
def measure(
    one: Encoder, rounds: int, say: Callable[[str], None], precisions: Sequence[str] = PRECISIONS
) -> Iterator[dict[str, Any]]:
    """All rows of a model."""
    for precision in precisions:
        say(f"{one.name} {precision}: timing layers")
        times = layer_times(one, precision)
        fast = published(one.sites)
        plans: dict[str, tuple[Plan, Mapping[str, nn.Module] | None]] = {"fast": (fast, None)}
        plans["fast-faster"] = faster(one.sites, fast, times), None
        plans["budget"] = _budget(one, times)
        dense = encode_with(one.module, precision)
        for name, (plan, layers) in plans.items():
            kept = in_place(one, plan, layers)
            made = encode_with(one.module, precision)
            replace_layers(one.module, kept)
            found = time_in_turn(dense, made, rounds)
            allowed = multiply_adds(one, {}) / multiply_adds(one, plan)
            yield {
                "model": one.name,
                "ranks": name,
                "precision": precision,
                "low_rank": len(plan),
                "layers": len(one.sites),
                "share": parameters(one.sites, plan) / parameters(one.sites, {}),
                "ms": [1000 * value for value in found.medians],
                "ratio": found.speedup,
                "ratios": found.ratios,
                "allowed": allowed,
            }
            del made
            gc.collect()


def _budget(one: Encoder, times: LayerTimes) -> tuple[Plan, Mapping[str, nn.Module] | None]:
    if one.study is None:
        return faster(one.sites, scaled(one.sites, times.is_faster), times), None
    try:
        made = compress(one.study, CompressOptions(budget=BUDGET), times)
    except OptionError:  # only slower layers could meet it: all stay dense
        return {}, {}
    plan: Plan = {o.name: (o.rank, o.form) for o in made.reports if o.rank is not None and o.form is not None}
    return plan, made.layers


def encoder_of(name: str, audio: Callable[[WhisperSubject], Audio] | None) -> Encoder:
    """A real model where it is on this disk and there is `audio` to calibrate on, else one of random weights."""
    if audio is not None:
        with suppress(ModelError):
            subject: Any = load_subject(resolve(name, offline=True))
            if not is_low_rank(subject.model):
                study = Study(subject, audio(subject), CompressOptions(budget=BUDGET, fisher_windows=12))
                positions = subject.model.config.max_source_positions
                return Encoder(name, subject.model, sites_of(subject.model), positions, study)
    module = random_whisper(name)
    return Encoder(f"{name} (random)", module, sites_of(module), module.config.max_source_positions)


def row_text(row: Mapping[str, Any]) -> str:
    """A row in Markdown."""
    dense, made = row["ms"]
    return (
        f"| {row['model']} | {row['ranks']} | {row['precision']} | {row['low_rank']}/{row['layers']} "
        f"| {row['share']:.2f} | {dense:.1f} | {made:.1f} | {row['ratio']:.2f} | {row['allowed']:.2f} "
        f"| {row['ratio'] / row['allowed']:.0%} |"
    )


HEAD = (
    "| model | ranks | engine | low-rank | weights | dense, ms | low-rank, ms | ratio | allowed | share |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


# --- calibration


def calibrate(shape: str, windows: int, *, fisher: int = 64, say: Callable[[str], None]) -> dict[str, Any]:
    """Seconds and peak memory of measuring a random model on windows of noise, and of its Fisher information.

    It does not end a transcript by itself: each is cut after 40 tokens.
    """
    linnet.compression.subject.MOST_TOKENS = 40
    module = random_whisper(shape, decoder_layers=SHAPES[shape][1], vocabulary=51865)
    config = module.config
    vocabulary: Any = SimpleNamespace(
        start=1, end=0, no_timestamps=2, languages={}, tasks={}, suppress=(), begin_suppress=()
    )
    seconds = config.max_source_positions * 2 * 160 / SAMPLE_RATE
    subject = WhisperSubject(shape, module, vocabulary, n_mels=config.num_mel_bins, window=int(seconds * SAMPLE_RATE))
    random = np.random.default_rng(0)

    class Noise:
        """Windows that are made when they are read, as those of files are."""

        def __init__(self, count: int) -> None:
            self.count = count

        def __len__(self) -> int:
            return self.count

        def __getitem__(self, index: int) -> Any:
            sound = 0.1 * random.standard_normal(subject.window).astype(np.float32)
            return subject.example(sound)

        def __iter__(self) -> Iterator[Any]:
            return (self[index] for index in range(self.count))

    options = CompressOptions(budget=BUDGET, fisher_windows=fisher)
    found: dict[str, Any] = {"model": shape, "windows": windows}
    for count in (max(10, windows // 4), windows):
        teaching: Any = Noise(count - count // 5)
        held_out: Any = Noise(count // 5)
        begun = time.perf_counter()
        study = Study(subject, Audio(teaching, held_out), options)
        measured = time.perf_counter() - begun
        say(f"{shape}: {count} windows measured in {measured:.0f} s, peak {_peak():.2f} GB")
        found[f"measured_s_{count}"], found[f"peak_gb_{count}"] = measured, _peak()
    begun = time.perf_counter()
    _ = study.fisher
    found |= {"fisher_windows": fisher, "fisher_s": time.perf_counter() - begun, "peak_gb_fisher": _peak()}
    begun = time.perf_counter()
    compress(study, options)
    return found | {"compress_s": time.perf_counter() - begun, "peak_gb_compress": _peak()}


def _peak() -> float:
    """GB that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def run(args: argparse.Namespace, audio: Callable[[WhisperSubject], Audio] | None, say: Callable[[str], None]) -> None:
    """Print the table of all models, and a line for `calibration`."""
    begun = time.perf_counter()
    print(HEAD, flush=True)
    for name in args.speed:
        if name.startswith("calibration"):
            continue
        for row in measure(encoder_of(name, audio), args.rounds, say, args.precisions or PRECISIONS):
            print(row_text(row), flush=True)
        gc.collect()
    for name in args.speed:
        if name.startswith("calibration"):
            _, _, shape = name.partition(":")
            print(json.dumps(calibrate(shape or "whole small", args.windows, say=say)), flush=True)
    say(f"{time.perf_counter() - begun:.0f} s in all, {torch.get_num_threads()} threads")
