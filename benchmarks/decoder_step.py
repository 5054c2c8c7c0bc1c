"""What a step of the decoder on OpenVINO spends its time on, and what a shortlist of the vocabulary could save of it.

    python benchmarks/decoder_step.py shares --model base                  # by operation, at 1, 4 and 8 rows
    python benchmarks/decoder_step.py shortlist --model base --audio ../shared/data/speech/libri_other/manifest.jsonl
    python benchmarks/decoder_step.py cross --model base                   # three ways to read cross-attention keys

`shares`: steps over random keys and values of full windows; of each operation the 10th percentile of its times, so that
other work on the machine counts little.

`shortlist`: the output layer is approximated by rank r (its singular value decomposition, weighted by the second moment
of the decoder's last states on half of the clips); the 32 tokens that are likeliest by that are scored exactly. On the
other half it tells how often the likeliest token is among them, how often a sound bound (Cauchy-Schwarz on what the
rank leaves out, in the weighted norm) proves it, and how far off the log-sum over the vocabulary is, of which
log-probabilities are made.

`cross`: the cross-attention of all layers alone, over keys and values in float32 as it is now; over the encoder's own
output, which all layers share, with the key and value weights in the queries and the results ("absorbed", equal but for
rounding); and over keys and values in 8 bits with queries and probabilities in 16, as two rows of 8 bits.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import openvino
import openvino.opset13 as op
import torch
from numpy.typing import NDArray
from torch import Tensor

from linnet.audio.mel import log_mel
from linnet.audio.source import load
from linnet.data.manifest import read_manifest
from linnet.decoding.decoder import Decoder
from linnet.decoding.options import DecodingOptions
from linnet.engines.choice import openvino_precision, openvino_source
from linnet.engines.openvino import OpenVinoEngine
from linnet.engines.openvino.cache import CompiledModel, load_converted
from linnet.engines.openvino.engine import OpenVinoEncoderOutput
from linnet.engines.openvino.runtime import compile_model, core
from linnet.engines.torch import TorchEngine
from linnet.models.json_files import read_json
from linnet.models.resolve import resolve
from linnet.models.whisper import load_whisper

ROWS = (1, 4, 8)
RANKS = (64, 128, 192, 256)
TOP = 32
POSITIONS = 1500
PRODUCTS = "FullyConnected"


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


# --- shares


def shares(args: argparse.Namespace) -> None:
    """Where the time of a step goes."""
    ref, precision = resolve(args.model, offline=True), openvino_precision(args.compute_type)
    converted = load_converted(openvino_source(ref), precision, say)
    core().set_property("CPU", {"PERF_COUNT": True})
    decoder = compile_model(converted.decoder, precision.compute, args.threads)
    shape, random = converted.shape, np.random.default_rng(0)
    engine = OpenVinoEngine(CompiledModel(None, decoder, shape, precision), label=args.compute_type)
    for rows in ROWS:
        sizes = (shape.channels, POSITIONS), (POSITIONS, shape.channels)
        cross = [random.normal(size=(rows, shape.heads, *sizes[i % 2])) for i in range(2 * shape.layers)]
        given = tuple(_as(precision.bits, values) for values in cross)
        state = engine.start(
            OpenVinoEncoderOutput(given, np.zeros((rows, POSITIONS), np.float32)), max_length=args.steps + 4
        )
        engine.step(state, np.zeros((rows, 4), np.int64))
        walls: list[float] = []
        times: dict[tuple[str, str], list[float]] = defaultdict(list)
        for _ in range(args.steps):
            begun = time.perf_counter()
            engine.step(state, random.integers(0, 50_000, (rows, 1)))
            walls.append(time.perf_counter() - begun)
            for node in state.request.profiling_info:
                times[node.node_name, node.node_type].append(1000 * node.real_time.total_seconds())
        _tell_shares(rows, walls, times)


def _as(bits: type[Any], values: NDArray[Any]) -> NDArray[Any]:
    """The precision of cross-attention keys: float32, or the bits of bfloat16."""
    single = values.astype(np.float32)
    return single if bits is np.float32 else (single.view(np.uint32) >> 16).astype(np.uint16)


def _tell_shares(rows: int, walls: Sequence[float], times: dict[tuple[str, str], list[float]]) -> None:
    by_kind: Counter[str] = Counter()
    for (name, kind), found in times.items():
        product = "vocabulary" if name.startswith("__module.output") else "layers' products"
        by_kind[product if kind.startswith(PRODUCTS) else kind] += float(np.quantile(found, 0.1))
    whole = sum(by_kind.values())
    told = ", ".join(f"{kind} {100 * spent / whole:.0f} %" for kind, spent in by_kind.most_common(8))
    wall = 1000 * float(np.quantile(walls, 0.1))
    say(f"{rows} rows: step {wall:.2f} ms, operations {whole:.2f} ms: {told}")


# --- shortlist


@torch.inference_mode()
def shortlist(args: argparse.Namespace) -> None:
    """What a low-rank shortlist proves, and what it gets wrong."""
    model = load_whisper(resolve(args.model, offline=True).path, name=args.model, dtype=torch.float32)
    states = _last_states(model, list(read_manifest(args.audio))[: args.clips])
    half = len(states) // 2
    taught, heard = torch.cat(states[:half]).double(), torch.cat(states[half:]).double()
    weight = model.module.proj_out.weight.double()
    moment = taught.T @ taught / len(taught)
    moment += 1e-3 * moment.diagonal().mean() * torch.eye(len(moment), dtype=torch.float64)
    lower = torch.linalg.cholesky(moment)
    rows = weight @ lower
    turned = torch.linalg.eigh(rows.T @ rows).eigenvectors.flip(1)
    tokens = rows @ turned  # [V, D], the most telling directions first
    inner = torch.linalg.solve_triangular(lower, heard.T, upper=False).T @ turned
    exact = heard @ weight.T
    say(f"{len(states)} clips, {len(taught)} steps to calibrate, {len(heard)} to try on")
    for rank in RANKS:
        if rank < weight.shape[1]:
            _tell_shortlist(rank, inner, tokens, exact)


def _last_states(model: Any, clips: Sequence[Any]) -> list[Tensor]:
    """For each clip the last decoder states [L, D] that its tokens are predicted from."""
    engine, told = TorchEngine(model), model.vocabulary
    decoder = Decoder(engine, told, model.max_length)
    options = DecodingOptions(language="en" if told.languages else None, timestamps=False, temperatures=(0.0,))
    prompt = [told.start, *((told.languages["en"], told.tasks["transcribe"]) if told.languages else ())]
    prompt.append(told.no_timestamps)
    found = []
    for clip in clips:
        samples = load(clip.audio).samples[: model.window_samples]
        window = torch.from_numpy(np.pad(samples, (0, model.window_samples - len(samples))))  # less would be looped on
        encoded = engine.encode(log_mel(window, model.n_mels)[None])
        said = decoder.decode(encoded, options)[0].tokens
        given = torch.tensor([[*prompt, *said]])
        made = model.module.model.decoder(input_ids=given, encoder_hidden_states=encoded.hidden)
        found.append(made.last_hidden_state[0, len(prompt) - 1 :])
    return found


def _tell_shortlist(rank: int, inner: Tensor, tokens: Tensor, exact: Tensor) -> None:
    """`inner` [L, D] and `tokens` [V, D] in directions by what they carry, `exact` logits [L, V]."""
    rough = inner[:, :rank] @ tokens[:, :rank].T
    bound = inner[:, rank:].norm(dim=1)[:, None] * tokens[:, rank:].norm(dim=1)
    among = rough.topk(TOP, 1).indices
    best = exact.gather(1, among).max(1).values
    hit = (among == exact.argmax(1)[:, None]).any(1)
    proven = best >= (rough + bound).scatter(1, among, -torch.inf).max(1).values
    mixed = rough.scatter(1, among, exact.gather(1, among)).logsumexp(1)
    off = (mixed - exact.logsumexp(1)).abs()
    say(
        f"rank {rank}: among the {TOP} {100 * hit.double().mean():.2f} %, proven {100 * proven.double().mean():.2f} %; "
        f"off by {(exact - rough).abs().max():.2f} at most, {(exact - rough).pow(2).mean().sqrt():.3f} (root mean "
        f"square), bound {bound.median():.2f} (median); log-sum off by {off.mean():.4f} (mean), {off.max():.3f} (most)"
    )


# --- cross


def cross(args: argparse.Namespace) -> None:
    """Time the three ways in turn."""
    config = read_json(resolve(args.model, offline=True).path / "config.json")
    sizes = config["d_model"], config["decoder_attention_heads"], config["decoder_layers"]
    random, idle = np.random.default_rng(0), np.zeros(15_000_000, np.float32)
    settings = {"NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32", "SNIPPETS_MODE": "DISABLE"}  # as in the step
    settings |= {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": args.threads}
    for windows in ROWS:
        ways: dict[str, Callable[[], object]] = {}
        for name, build in (("float32", _plain), ("absorbed", _absorbed), ("8 bits", _eight_bits)):
            model = build(windows, *sizes)
            given = [_values(port, random) for port in model.inputs]
            model.reshape({i: [-1, *(-1 if d == POSITIONS else d for d in v.shape[1:])] for i, v in enumerate(given)})
            request = core().compile_model(model, "CPU", settings).create_infer_request()
            for index, values in enumerate(given):
                request.set_input_tensor(index, openvino.Tensor(values))
            ways[name] = request.infer
        _time_ways(windows, ways, idle)


def _values(port: Any, random: np.random.Generator) -> NDArray[Any]:
    size, kind = list(port.shape), port.element_type.to_dtype()
    values = random.integers(-127, 128, size) if kind == np.int8 else random.normal(size=size)
    return np.ascontiguousarray(values, kind)


def _time_ways(windows: int, ways: dict[str, Callable[[], object]], idle: NDArray[np.float32]) -> None:
    walls: dict[str, list[float]] = defaultdict(list)
    works: dict[str, list[float]] = defaultdict(list)
    for _ in range(40):
        for name, run in ways.items():
            idle.sum()  # what the rest of a step reads pushes keys and values out of the caches
            wall, work = time.perf_counter(), time.process_time()
            run()
            walls[name].append(time.perf_counter() - wall)
            works[name].append(time.process_time() - work)
    told = [
        f"{name} {1000 * np.quantile(walls[name], 0.1):.2f} ({1000 * np.quantile(works[name], 0.1):.2f})"
        for name in ways
    ]
    say(f"{windows} windows, ms (of both cores together): " + ", ".join(told))


def _const(values: Any, kind: type[Any] = np.float32) -> Any:
    return op.constant(np.array(values, kind))


def _by_head(x: Any, heads: int, channels: int) -> Any:
    """[B, 1, H C] to [B, H, 1, C]."""
    split = op.reshape(x, _const([0, -1, heads, channels], np.int64), special_zero=True)
    return op.transpose(split, _const([0, 2, 1, 3], np.int64))


def _joined(x: Any, width: int) -> Any:
    """[B, H, 1, C] to [B, 1, H C]."""
    return op.reshape(
        op.transpose(x, _const([0, 2, 1, 3], np.int64)), _const([0, 0, width], np.int64), special_zero=True
    )


def _plain(windows: int, width: int, heads: int, layers: int) -> Any:
    """Keys [B, H, C, P] and values [B, H, P, C] of each layer in float32."""
    channels = width // heads
    x = first = op.parameter([windows, 1, width], np.float32)
    inputs = [first]
    for _ in range(layers):
        key = op.parameter([windows, heads, channels, POSITIONS], np.float32)
        value = op.parameter([windows, heads, POSITIONS, channels], np.float32)
        inputs += [key, value]
        looked = op.softmax(op.matmul(_by_head(x, heads, channels), key, False, False), -1)
        x = _joined(op.matmul(looked, value, False, False), width)
    return openvino.Model([op.result(x)], inputs)


def _absorbed(windows: int, width: int, heads: int, layers: int) -> Any:
    """The encoder's output, as [B, D, P] and as [B, P, D], for all layers."""
    channels, random = width // heads, np.random.default_rng(1)
    x = first = op.parameter([windows, 1, width], np.float32)
    turned = op.parameter([windows, width, POSITIONS], np.float32)
    straight = op.parameter([windows, POSITIONS, width], np.float32)
    for _ in range(layers):
        keys, values = (
            _const(random.normal(size=size)) for size in ((heads, channels, width), (heads, width, channels))
        )
        query = op.matmul(_by_head(x, heads, channels), keys, False, False)  # [B, H, 1, D]
        query = op.reshape(query, _const([0, -1, width], np.int64), special_zero=True)
        looked = op.softmax(op.matmul(query, turned, False, False), -1)  # [B, H, P]
        mixed = op.matmul(looked, straight, False, False)
        mixed = op.reshape(mixed, _const([0, heads, 1, width], np.int64), special_zero=True)
        x = _joined(op.matmul(mixed, values, False, False), width)
    return openvino.Model([op.result(x)], [first, turned, straight])


def _eight_bits(windows: int, width: int, heads: int, layers: int) -> Any:
    """Keys and values in 8 bits; what they are multiplied with in 16, as two rows."""
    channels = width // heads
    x = first = op.parameter([windows, 1, width], np.float32)
    inputs = [first]
    for _ in range(layers):
        key = op.parameter([windows, heads, channels, POSITIONS], np.int8)
        value = op.parameter([windows, heads, POSITIONS, channels], np.int8)
        inputs += [key, value]
        query = _by_head(x, heads, channels)
        most = op.reduce_max(op.abs(query), _const([3], np.int64), True)
        scores = op.multiply(_by_two_rows(op.divide(query, most), key), most)
        weights = op.exp(op.subtract(scores, op.reduce_max(scores, _const([3], np.int64), True)))
        mixed = op.divide(_by_two_rows(weights, value), op.reduce_sum(weights, _const([3], np.int64), True))
        x = _joined(mixed, width)
    return openvino.Model([op.result(x)], inputs)


def _by_two_rows(rows: Any, eight: Any) -> Any:
    """The product of rows in [-1, 1] with a matrix in 8 bits: of their upper 8 bits and of what these leave out."""
    upper = op.multiply(op.round(op.multiply(rows, _const(127.0)), "half_to_even"), _const(1 / 127.0))
    both = op.concat([upper, op.multiply(op.subtract(rows, upper), _const(254.0))], 2)
    low, high = _const(-128 / 127.0), _const(1.0)
    matrix = op.multiply(op.convert(eight, "f32"), _const([[[[1 / 127.0]]]]))
    made = op.matmul(op.fake_quantize(both, low, high, low, high, 256), matrix, False, False)
    first, second = op.split(made, _const(2, np.int64), 2).outputs()
    return op.add(first, op.multiply(second, _const(1 / 254.0)))


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("shares", "shortlist", "cross"))
    parser.add_argument("--model", default="base")
    parser.add_argument("--compute-type", default="int8")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--audio", help="a manifest, for the shortlist")
    parser.add_argument("--clips", type=int, default=40)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    {"shares": shares, "shortlist": shortlist, "cross": cross}[args.part](args)


if __name__ == "__main__":
    main()
