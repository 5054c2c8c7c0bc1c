"""What moving parameters from the decoder into the encoder does to speed: Whisper-small's width, other layers.

    python benchmarks/shapes.py                                    # three minutes on two cores
    python benchmarks/shapes.py --engines openvino --shapes 12+12 24+3 --batch 8

Random weights, 30 s windows, greedy, exactly 90 tokens a window, without timestamps. An encoder layer has 12 width^2
weights and a decoder layer 16, so 24 + 3 layers have the parameters of 12 + 12, and 25 + 2 have 1 % less; 12 + 2 is
what `linnet models resize --decoder-layers 2` makes. All shapes run in turn, A B C A B C, in one process with the first
round thrown away. The ratio is the median over the rounds of (time of the first shape / time of this one), `best` that
of the shortest times, which other work on the machine disturbs least.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from torch import Tensor
from torch_decode import SHAPES, random_model, vocabulary

from linnet.decoding.decoder import Decoder
from linnet.decoding.options import DecodingOptions
from linnet.engines.protocol import Engine
from linnet.engines.torch import TorchEngine
from linnet.models.whisper import WhisperModel

WIDTH, HEADS, MELS, WINDOW = 768, 12, 80, 30.0
Times = tuple[float, float]  # seconds of the encoder, of the decoder


def engine(module: Any, kind: str, threads: int) -> Engine:
    """The module on Linnet's torch engine (float32 on a CPU, bfloat16 on a GPU) or on OpenVINO (int8, the default)."""
    if kind == "torch":
        words = vocabulary(module.config.vocab_size)
        return TorchEngine(WhisperModel(module, words, "random", n_mels=MELS, window_samples=480000, max_length=448))
    from linnet.engines.choice import openvino_precision
    from linnet.engines.openvino import OpenVinoEngine
    from linnet.engines.openvino.cache import ConvertedModel, compile_converted
    from linnet.engines.openvino.export import convert
    from linnet.engines.openvino.formats import ModelShape

    numbers = openvino_precision("int8")
    converted = ConvertedModel(*convert(module, numbers, ()), ModelShape.of(module), numbers, None)
    return OpenVinoEngine(compile_converted(converted, threads), label="int8")


def decoding(module: Any, one: Engine, features: Tensor, tokens: int) -> Callable[[], Times]:
    """A function that decodes the windows once and tells how long encoder and decoder took."""
    decoder = Decoder(one, vocabulary(module.config.vocab_size), 448)
    options = DecodingOptions(language="en", timestamps=False, max_new_tokens=tokens, temperatures=(0.0,))
    gpu = torch.cuda.synchronize if features.is_cuda else lambda: None

    def run() -> Times:
        begun = time.perf_counter()
        encoded = one.encode(features)
        gpu()
        middle = time.perf_counter()
        found = decoder.decode(encoded, options)  # the tokens are on the host: nothing is still running
        ended = time.perf_counter()
        if {len(row.tokens) for row in found} != {tokens}:
            raise SystemExit(f"not all windows have {tokens} tokens")
        return middle - begun, ended - middle

    return run


def measure(kind: str, options: argparse.Namespace) -> None:
    """All shapes in turn on one engine; prints a table."""
    features = torch.randn(options.batch, 3000, MELS, generator=torch.Generator().manual_seed(0)).to(options.device)
    runs, parameters = [], []
    for shape in options.shapes:
        layers = tuple(map(int, shape.split("+")))
        SHAPES[shape] = (WIDTH, *layers, HEADS, MELS)
        module = random_model(shape).to(options.device, torch.float32 if options.device == "cpu" else torch.bfloat16)
        runs.append(decoding(module, engine(module, kind, options.threads), features, options.tokens))
        parameters.append(sum(parameter.numel() for parameter in module.parameters()))
    rounds = [[run() for run in runs] for _ in range(options.rounds + 1)][1:]
    print(f"\n{kind}, {options.batch} windows at once\nlayers   parameters   encoder   decoder   RTFx   best   ratio")
    for index, shape in enumerate(options.shapes):
        print_row(shape, parameters[index], [(row[0], row[index]) for row in rounds], options.batch)


def print_row(shape: str, parameters: int, pairs: Sequence[tuple[Times, Times]], batch: int) -> None:
    """Medians of one shape, and the first shape's time over its."""
    encoder, decoder = (statistics.median(times[part] for _, times in pairs) for part in (0, 1))
    totals = [(sum(first), sum(times)) for first, times in pairs]
    ratios = [first / own for first, own in totals]
    best = min(first for first, _ in totals) / min(own for _, own in totals)
    rtfx = batch * WINDOW / statistics.median(own for _, own in totals)
    spread = f"{best:6.2f}   {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    print(f"{shape:<8} {parameters / 1e6:8.1f} M {encoder:7.2f} s {decoder:7.2f} s {rtfx:6.1f} {spread}")


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["12+12", "25+2", "12+2"], help="encoder + decoder layers")
    parser.add_argument("--engines", nargs="+", default=["openvino", "torch"], choices=("openvino", "torch"))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=90)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cuda runs the torch engine alone")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    where = f"{os.cpu_count()} cores, {options.threads} threads, torch {torch.__version__} on {options.device}"
    print(f"{where}; {options.tokens} tokens a window")
    for kind in options.engines if options.device == "cpu" else ("torch",):
        measure(kind, options)


if __name__ == "__main__":
    main()
