"""One window of 30 s from features to tokens: a model with a low-rank decoder, encoder or both, beside the dense one.

    python benchmarks/compress_window.py base --engine int8 --tokens 60
    python benchmarks/compress_window.py nano --rounds 2

The models have the shape that is named and random weights: times depend on ranks, not on values. The encoder has the
published ranks of LiteASR's `fast` (`compress_speed.published`); in the decoder every layer keeps `--decoder` of its
parameters, in the form that `--form` names. The dense model and each other one take turns within one run, through the
same engine, for as many tokens as are asked for. Nothing else may run beside it.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, get_args

import numpy as np
import torch
from compress_speed import SHAPES, STEP, Encoder, Plan, in_place, published, random_whisper, sites_of
from torch import nn

from linnet.compression.sites import Site
from linnet.engines.choice import openvino_precision
from linnet.engines.openvino import OpenVinoEngine
from linnet.engines.openvino.cache import ConvertedModel, compile_converted
from linnet.engines.openvino.export import convert
from linnet.engines.openvino.formats import ModelShape
from linnet.models.lowrank.layers import Form, replace_layers
from linnet.timing import time_in_turn

VOCABULARY = 51865


def decoder_sites(module: Any) -> list[Site]:
    """The linear layers of the decoder's blocks."""
    return [
        Site(name, layer.in_features, layer.out_features, "attention" if "attn" in name else "mlp", name)
        for name, layer in module.named_modules()
        if ".decoder.layers." in name and isinstance(layer, nn.Linear)
    ]


def rank_of(site: Site, share: float, form: Form) -> int:
    """The largest multiple of 16 that keeps at most this share of a layer's parameters."""
    both, room = site.inputs + site.outputs, share * site.weights
    exact = room / both if form == "pair" else (both - math.sqrt(both**2 - 4 * room)) / 2
    return max(STEP, int(exact) // STEP * STEP)


def plans_of(module: Any, share: float, form: Form) -> Iterator[tuple[str, list[Site], Plan]]:
    """The three ways to make it smaller."""
    encoder, decoder = sites_of(module), decoder_sites(module)
    narrow = published(encoder)
    small: Plan = {site.name: (rank_of(site, share, form), form) for site in decoder}
    yield f"decoder at {share:g}", decoder, small
    yield "encoder at the ranks of fast", encoder, narrow
    yield "both", [*encoder, *decoder], {**narrow, **small}


def hear_with(module: Any, args: argparse.Namespace) -> Callable[[int], object]:
    """What encodes one window of noise and decodes so many tokens of it."""
    config, kind = module.config, openvino_precision(args.engine)
    made = ConvertedModel(*convert(module, kind), ModelShape.of(module), kind, None)
    engine = OpenVinoEngine(compile_converted(made, args.threads), label=args.engine)
    frames = 2 * config.max_source_positions
    features = 0.3 * np.random.default_rng(0).standard_normal((1, frames, config.num_mel_bins), np.float32)

    def hear(_: int) -> None:
        state, given = engine.start(engine.encode(features), max_length=args.tokens + 4), np.ones((1, 4), np.int32)
        for _token in range(args.tokens):
            given = engine.step(state, given).argmax(-1)[:, None].astype(np.int32)

    return hear


@torch.no_grad()
def run(args: argparse.Namespace) -> None:
    """Print a row for each way."""
    module = random_whisper(args.shape, decoder_layers=SHAPES[args.shape][1], vocabulary=VOCABULARY)
    dense = hear_with(module, args)
    print("| low-rank | dense, ms | low-rank, ms | times as fast |\n|---|---|---|---|", flush=True)
    for name, sites, plan in plans_of(module, args.decoder, args.form):
        kept = in_place(Encoder(args.shape, module, sites, module.config.max_source_positions), plan)
        made = hear_with(module, args)
        replace_layers(module, kept)
        found = time_in_turn(dense, made, args.rounds)
        before, after = (1000 * seconds for seconds in found.medians)
        print(f"| {name} | {before:.1f} | {after:.1f} | {found.speedup:.2f} |", flush=True)


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=list(SHAPES))
    parser.add_argument("--engine", choices=("f32", "bf16", "int8"), default="int8")
    parser.add_argument("--decoder", type=float, default=0.8, help="share of a layer's parameters")
    parser.add_argument("--form", choices=get_args(Form), default="pivot")
    parser.add_argument("--tokens", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    begun = time.perf_counter()
    run(args)
    print(f"{time.perf_counter() - begun:.0f} s in all, {args.engine}, {args.threads} threads", file=sys.stderr)


if __name__ == "__main__":
    main()
