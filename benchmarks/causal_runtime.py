"""What a causal model costs as a stream goes on: milliseconds of a chunk with its decode, by its place in the segment.

    python benchmarks/causal_runtime.py tiny.en --engine torch --minutes 2
    python benchmarks/causal_runtime.py tiny.en --engine reencoding-int8   # the same text by re-encoding 30 s each time

One core, one session, chunks of 300 ms, each encoded and decoded at once; segments of 24 s. The model need not be
trained: its answers are steered, so that it writes a text at the rate of speech (3.3 tokens a second, each after its
end), and every token of a second ago is final. All that a trained model computes is computed. Times are of this
process's CPU (on a machine that does nothing else, the clock's), without log-mel of what came before.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from linnet.engines.causal import CausalEngine
from linnet.engines.choice import EngineChoice, build_engine, openvino_precision
from linnet.models.causal import CausalSpec
from linnet.models.resolve import resolve
from linnet.models.whisper import load_whisper
from linnet.streaming.causal import CausalModel
from linnet.streaming.protocol import Query
from linnet.streaming.reencoding import ReencodingModel
from linnet.transcription.whisper import WhisperBackend

TEXT = " It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness,"
RATE = 3.3  # tokens a second
SEGMENT, CHUNK, FINAL_AFTER = 24.0, 0.3, 1.0  # seconds
WARM = 1.0  # seconds in which a causal model may have no block yet


class Steered:
    """An engine whose logits are raised at the script's next token, or at the end where it has none yet."""

    def __init__(self, engine: CausalEngine, script: Sequence[int], end: int) -> None:
        self._engine, self._script, self._end = engine, script, end
        self.said = 0  # tokens
        self.steps = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def feed(self, state: Any, tokens: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]) -> Any:
        """See `CausalEngine`."""
        texts = [
            before + place - 1  # after <|startoftranscript|> and <|notimestamps|>
            for before, places in zip(state.columns.lengths, wanted, strict=True)
            for place in places
        ]
        logits = self._engine.feed(state, tokens, wanted)
        for row, text in enumerate(texts):
            logits[row, self._script[text] if 0 <= text < self.said else self._end] += 1e4
        self.steps += 1
        return logits


class SteeredSteps(Steered):
    """The same of an engine that steps tokens; one row."""

    def step(self, state: Any, tokens: Any) -> Any:
        """See `Engine`."""
        logits = self._engine.step(state, tokens)
        text = state.length - 2
        logits[0, self._script[text] if 0 <= text < self.said else self._end] += 1e4
        self.steps += 1
        return logits


def build(name: str, engine: str) -> tuple[Any, Any]:
    """A loaded model and a causal engine, or one that re-encodes."""
    ref = resolve(name)
    if engine.startswith("reencoding"):
        kind = engine.partition("-")[2] or "f32"
        return build_engine(ref, "cpu", EngineChoice("openvino", kind, threads=1), lambda _: None)
    model = load_whisper(ref.path, name=name)
    if engine == "torch":
        import torch

        from linnet.engines.torch.causal import TorchCausalEngine

        torch.set_num_threads(1)
        return model, TorchCausalEngine(model)
    from linnet.engines.openvino.causal import open_causal

    kind = engine.partition("-")[2] or "f32"
    return model, open_causal(model.module, openvino_precision(kind), label=kind, threads=1)


def serve(model: Any, engine: Any, script: Sequence[int]) -> tuple[Any, Steered]:
    """The model of streams, and the steering of it."""
    if hasattr(engine, "feed"):
        steered = Steered(engine, script, model.vocabulary.end)
        return CausalModel(model, steered, CausalSpec(base=model.name), block=CHUNK), steered
    steps = SteeredSteps(engine, script, model.vocabulary.end)
    return ReencodingModel(WhisperBackend(model, steps), model.name), steps


def measure(model: Any, engine: Any, minutes: float, sessions: int) -> dict[str, Any]:
    """Run segments of so many sessions in step; milliseconds of each chunk and session, by its place."""
    script = model.vocabulary.tokenizer(TEXT * 8, add_special_tokens=False)["input_ids"]
    served, steered = serve(model, engine, script)
    samples = np.random.default_rng(0).normal(0, 0.05, round(SEGMENT * 16000)).astype(np.float32)
    size = round(CHUNK * 16000)
    rows: list[tuple[float, ...]] = []
    resident = []
    for segment in range(max(2, round(minutes * 60 / SEGMENT))):
        memories = [served.begin(language=None) for _ in range(sessions)]
        for start in range(0, len(samples) - size + 1, size):
            now = (start + size) / 16000
            steered.said, steered.steps = int(now * RATE), 0
            committed = tuple(script[: max(0, int((now - FINAL_AFTER) * RATE))])
            wall, begun = time.perf_counter(), time.process_time()
            for memory in memories:
                served.add_audio(memory, samples[start : start + size])
            heard_at = time.process_time()
            answers = served.answer([Query(memory, committed) for memory in memories])
            done = time.process_time()
            if segment:  # the first one warms up
                said = script[: steered.said]
                assert now < WARM or all([*committed, *heard.tokens] == said for heard in answers), answers
                seconds = (heard_at - begun) / sessions, (done - heard_at) / sessions
                rows.append((segment, now, *seconds, steered.steps, (time.perf_counter() - wall) / sessions))
        resident.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return report(np.array(rows), resident, engine.name)


def report(rows: np.ndarray, resident: Sequence[float], name: str) -> dict[str, Any]:
    """Figures of rows (segment, place, seconds of encoding, of decoding, steps, wall)."""
    each = (rows[:, 2] + rows[:, 3]) * 1000
    third = SEGMENT / 3
    places = {
        f"{low:g}-{low + third:g} s": [round(float(np.percentile(each[mask], q)), 1) for q in (50, 95)]
        for low in (0.0, third, 2 * third)
        if (mask := (rows[:, 1] > low) & (rows[:, 1] <= low + third)).any()
    }
    quartiles = np.array_split(each, 4)
    return {
        "engine": name,
        "chunks": len(rows),
        "ms p50, p95": [round(float(np.percentile(each, q)), 1) for q in (50, 95)],
        "of it encoding p50": round(float(np.median(rows[:, 2]) * 1000), 1),
        "decoder steps mean": round(float(rows[:, 4].mean()), 2),
        "wall ms p50, p95": [round(float(np.percentile(rows[:, 5] * 1000, q)), 1) for q in (50, 95)],
        "ms p50, p95 by place in the segment": places,
        "ms p50 by quarter of the run": [round(float(np.median(part)), 1) for part in quartiles],
        "most MB resident after each segment": [round(one) for one in resident],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="tiny.en")
    parser.add_argument("--engine", default="torch", help="torch, openvino-f32, -bf16 or -int8, reencoding-int8")
    parser.add_argument("--minutes", type=float, default=2.0, help="of audio")
    parser.add_argument("--sessions", type=int, default=1, help="decoded together; times are of each")
    options = parser.parse_args()
    model, engine = build(options.model, options.engine)
    print(json.dumps(measure(model, engine, options.minutes, options.sessions), indent=1))


if __name__ == "__main__":
    main()
