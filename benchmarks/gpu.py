"""The torch engine on a GPU beside Transformers' `generate` with a static cache and `torch.compile`.

    python benchmarks/gpu.py [--shape large-v3-turbo] [--tokens 90] [--batches 1 8 32] [--dtype bfloat16]

Random weights, 30 s windows, forced tokens, greedy. For each batch size: tokens per second and RTFx of both sides
(turn by turn in one process, median ratio), the encoder's share of the matrix rate that this GPU reaches on one
large product, and the decoder's share of the memory bandwidth that it reaches on one large copy (bytes of decoder
weights and cross-attention keys and values that a step must read / its time). Both sides must give the same tokens
in float32; in half precision the share of equal tokens is shown. `--device cpu --shape tiny` tries the script out.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import Tensor
from torch_decode import SHAPES, generate_side, linnet_side, random_model

from linnet.engines.torch import TorchEngine
from linnet.models.whisper import WhisperModel

WINDOW = 30.0  # seconds


def wait(device: torch.device) -> None:
    """Until the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(run: Callable[[], Any], device: torch.device, times: int = 1) -> float:
    """Median seconds of one call."""
    found = []
    for _ in range(times):
        wait(device)
        start = time.perf_counter()
        run()
        wait(device)
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def matrix_rate(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """FLOP/s of one square product."""
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds(lambda: left @ right, device)
    return 2 * size**3 / seconds(lambda: left @ right, device, 10)


def bandwidth(device: torch.device, size: int) -> float:
    """Bytes per second that a large copy reads and writes."""
    source = torch.zeros(size, device=device, dtype=torch.uint8)
    target = torch.empty_like(source)
    seconds(lambda: target.copy_(source), device)
    return 2 * size / seconds(lambda: target.copy_(source), device, 10)


def encoder_work(config: Any) -> float:
    """FLOPs of the encoder for one window: products and attention, convolutions left out."""
    positions, width = config.max_source_positions, config.d_model
    layer = 2 * positions * (4 * width**2 + 2 * width * config.encoder_ffn_dim) + 4 * positions**2 * width
    return float(config.encoder_layers * layer)


def step_bytes(module: Any, batch: int) -> float:
    """Bytes that one decoder step must read: its weights once, and each window's cross-attention keys and values."""
    config, size = module.config, next(module.parameters()).element_size()
    weights = sum(parameter.numel() for parameter in module.model.decoder.parameters())
    cross = 2 * config.decoder_layers * config.max_source_positions * config.d_model * batch
    return float(size * (weights + cross))


def compiled(module: Any) -> None:
    """Let `generate` use a static cache and a compiled step, as Transformers' documentation advises."""
    module.generation_config.cache_implementation = "static"
    module.forward = torch.compile(module.forward, mode="reduce-overhead", fullgraph=True)


def row(module: Any, features: Tensor, tokens: int, pairs: int) -> str:
    """Compare both sides on one batch; a line of the table."""
    device, batch = features.device, len(features)
    ours, theirs = linnet_side(module, features, tokens, 1), generate_side(module, features, tokens, 1)
    results = [side() for _ in range(2) for side in (ours, theirs)][-2:]  # twice: compiles and warms up
    pairs_of_tokens = [(a, b) for x, y in zip(*results, strict=True) for a, b in zip(x, y, strict=True)]
    same = sum(a == b for a, b in pairs_of_tokens) / len(pairs_of_tokens)
    taken = [(seconds(ours, device), seconds(theirs, device)) for _ in range(pairs)]
    mine = statistics.median(a for a, _ in taken)
    ratio = statistics.median(b / a for a, b in taken)
    return f"| {batch} | {batch * tokens / mine:.0f} | {batch * WINDOW / mine:.0f} | {ratio:.2f} | {100 * same:.1f} % |"


def shares(module: Any, features: Tensor, tokens: int, rates: tuple[float, float]) -> str:
    """How much of the measured rates the encoder and the decoder's steps use; a line of the table."""
    device, batch = features.device, len(features)
    model = WhisperModel(
        module, None, "random", n_mels=module.config.num_mel_bins, window_samples=480000, max_length=448
    )
    engine = TorchEngine(model)
    encoded = engine.encode(features)
    encoding = seconds(lambda: engine.encode(features), device, 5)
    token = torch.full((batch, 1), 100, device=device)

    def decode() -> None:
        state = engine.start(encoded, max_length=tokens + 1)
        for _ in range(tokens):
            engine.step(state, token)

    decode()
    step = seconds(decode, device, 5) / tokens
    work = batch * encoder_work(module.config) / encoding / rates[0]
    read = step_bytes(module, batch) / step / rates[1]
    return f"| {batch} | {1000 * encoding:.1f} | {100 * work:.0f} % | {1000 * step:.3f} | {100 * read:.0f} % |"


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="large-v3-turbo")
    parser.add_argument("--tokens", type=int, default=90)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="bfloat16")
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no GPU is to be seen here: --device cpu --shape tiny tries the script out")
    transformers.logging.set_verbosity_error()
    small = device.type == "cpu"
    rates = matrix_rate(device, dtype, 1024 if small else 8192), bandwidth(device, 2**26 if small else 2**32)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, transformers {transformers.__version__}; {vars(args)}")
    print(f"one large product: {rates[0] / 1e12:.1f} TFLOP/s; one large copy: {rates[1] / 1e9:.0f} GB/s\n")
    module = random_model(args.shape).to(device, dtype)
    bands = module.config.num_mel_bins
    draws = [torch.randn(n, 3000, bands, generator=torch.Generator().manual_seed(0)) for n in args.batches]
    batches = [features.to(device) for features in draws]
    print("| windows | encoder, ms | of the product's rate | step, ms | of the copy's rate |\n|---|---|---|---|---|")
    for features in batches:
        print(shares(module, features, args.tokens, rates), flush=True)
    if device.type == "cuda":
        compiled(module)
    print("\n| windows | tokens/s | RTFx | generate's time / Linnet's | same tokens |\n|---|---|---|---|---|")
    for features in batches:
        print(row(module, features, args.tokens, args.pairs), flush=True)


if __name__ == "__main__":
    main()
