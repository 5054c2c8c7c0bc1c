"""The encoder alone: time of one 30 s window, and its share of the rate of a bf16 product through OpenVINO.

    python encoder.py CHECKPOINT COMPUTE_TYPE THREADS

prints one JSON object. Products of several sizes and the encoder are measured in turn in one process; the fastest
product counts.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

POSITIONS, FRAMES = 1500, 3000
SIZES = (768, 2048, 4096)  # of the products [1500, N] x [N, N]
REPEATS = 5  # of a product, for one of the encoder
ROUNDS = 7


def operations(config: dict[str, Any]) -> float:
    """Multiplications and additions of one window: the encoder, and the keys and values of every decoder layer."""
    width, feed = config["d_model"], config["encoder_ffn_dim"]
    products = 4 * width * width + 2 * width * feed
    layer = 2 * POSITIONS * products + 4 * POSITIONS * POSITIONS * width
    convolutions = 2 * 3 * width * (FRAMES * config["num_mel_bins"] + POSITIONS * width)
    cross = config["decoder_layers"] * 2 * 2 * POSITIONS * width * width
    return config["encoder_layers"] * layer + convolutions + cross


def product(size: int, threads: int) -> Callable[[], Any]:
    """A bf16 product, compiled by OpenVINO as a model is."""
    import numpy as np
    import openvino
    from openvino import opset13 as op

    left = op.parameter([POSITIONS, size], np.float32)
    weights = np.random.default_rng(0).normal(0, 0.02, (size, size)).astype(np.float32)
    model = openvino.Model([op.matmul(left, op.constant(weights), False, True)], [left])
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": openvino.Type.bf16,
        "INFERENCE_NUM_THREADS": threads,
    }
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    request.set_tensor(left.output(0), openvino.Tensor(np.ones((POSITIONS, size), np.float32)))
    return request.infer


def seconds(run: Callable[[], Any]) -> float:
    """Of one call."""
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def main() -> None:
    """Measure and print."""
    checkpoint, compute_type, threads = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    import torch

    import linnet

    recognizer = linnet.load(
        str(checkpoint), engine="openvino", compute_type=compute_type, threads=threads, device="cpu"
    )
    engine = recognizer._backend._engine  # type: ignore[attr-defined]
    features = torch.randn(1, FRAMES, 80, generator=torch.Generator().manual_seed(0))
    runs: dict[int, Callable[[], Any]] = {size: product(size, threads) for size in SIZES}
    runs[0] = lambda: engine.encode(features)
    times: dict[int, list[float]] = {size: [] for size in runs}
    for run in runs.values():
        run()
    for _ in range(ROUNDS):
        for size, run in runs.items():
            times[size] += [seconds(run) for _ in range(REPEATS if size else 1)]
    encoding = statistics.median(times.pop(0))
    rates = {size: 2.0 * POSITIONS * size * size / statistics.median(each) for size, each in times.items()}
    rate = max(rates.values())
    done = operations(json.loads((checkpoint / "config.json").read_text()))
    result = {
        "engine": recognizer.engine_name,
        "milliseconds": 1000 * encoding,
        "gflop": done / 1e9,
        "gflops": done / encoding / 1e9,
        "product_gflops": {size: each / 1e9 for size, each in rates.items()},
        "share": done / encoding / rate,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
