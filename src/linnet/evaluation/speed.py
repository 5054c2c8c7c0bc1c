"""Speed of a model on this machine, by engine, compute type and batch size.

Each setting is measured in its own process with a time limit, so that settings cannot affect each other and peak memory
is measured separately.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.engines.choice import require_engine, short_compute_type
from linnet.errors import OptionError
from linnet.evaluation.speed_process import Timing, run
from linnet.models.resolve import ModelRef

LOADING_SECONDS = 900.0  # limit for loading a model and converting it on first use
POSITION_SECONDS = 0.02  # per encoder position of Whisper models
TOKENS_PER_SECOND = 3  # of fast speech

_TYPES = {"torch": ("f32", "bf16"), "openvino": ("f32", "bf16", "int8")}


@dataclass(frozen=True)
class Setting:
    """Options of `linnet transcribe` to be measured.

    >>> Setting("openvino", "int8", 8).options
    '--engine openvino --compute-type int8 --batch-size 8'
    """

    engine: str
    compute_type: str
    batch_size: int

    @property
    def options(self) -> str:
        """The setting as command line options."""
        return f"--engine {self.engine} --compute-type {self.compute_type} --batch-size {self.batch_size}"

    def __str__(self) -> str:
        return f"{self.engine} {self.compute_type}, batch {self.batch_size}"


@dataclass(frozen=True)
class Speed:
    """A setting with its timing, or the reason why it could not be measured."""

    setting: Setting
    timing: Timing | None = None
    reason: str | None = None

    @property
    def rtfx(self) -> float | None:
        """Seconds of audio per second of computation, without model loading."""
        return None if self.timing is None else self.timing.rtfx

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        measured = None if self.timing is None else {**asdict(self.timing), "rtfx": self.rtfx}
        return {**asdict(self.setting), "measured": measured, "reason": self.reason}


@dataclass(frozen=True)
class Workload:
    """The audio to transcribe, in pieces at 16 kHz, and the forced number of tokens of each (None: as decoded)."""

    name: str
    pieces: tuple[Samples, ...]
    tokens: int | None = None
    end: int | None = None  # the end token, which is then suppressed

    @property
    def seconds(self) -> float:
        """Seconds of audio."""
        return sum(len(piece) for piece in self.pieces) / SAMPLE_RATE

    @property
    def description(self) -> str:
        """One line for a report."""
        if self.tokens is None:
            return f"{self.name}, {self.seconds:.1f} s"
        each = len(self.pieces[0]) / SAMPLE_RATE
        return f"{self.name}, {len(self.pieces)} windows of {each:g} s with {self.tokens} tokens each"


def settings(engines: Sequence[str], compute_types: Sequence[str], batch_sizes: Sequence[int]) -> list[Setting]:
    """All requested combinations; `auto` is every engine, and every compute type of an engine.

    Raises `OptionError` for an unknown name or a batch size below 1.
    """
    for name in engines:
        require_engine(name)
    compute_types = [short_compute_type(name) for name in compute_types]
    if any(size < 1 for size in batch_sizes):
        raise OptionError(f"batch sizes must be at least 1, got {', '.join(map(str, batch_sizes))}")
    chosen = list(_TYPES) if "auto" in engines else list(dict.fromkeys(engines))
    found = []
    for engine in chosen:
        types = _TYPES[engine] if "auto" in compute_types else tuple(dict.fromkeys(compute_types))
        found += [Setting(engine, *rest) for rest in product(types, dict.fromkeys(batch_sizes))]
    return found


def synthetic(ref: ModelRef, seconds: float, *, windows: int) -> Workload:
    """At least `windows` windows of synthetic, speech-like audio, with as many tokens as fast speech has.

    The end token is suppressed and the number of tokens fixed, so that the computation is that of speech; only for
    Whisper models.
    """
    from linnet.models.families import WHISPER, family_of
    from linnet.models.json_files import read_json

    if family_of(ref.path) is not WHISPER:
        count = max(windows, round(seconds / 30))
        return Workload("synthetic audio", (_hum(30.0),) * count)
    config = read_json(ref.path / "config.json")
    length = config["max_source_positions"] * POSITION_SECONDS
    generation = ref.path / "generation_config.json"
    end = (read_json(generation) if generation.is_file() else {}).get("eos_token_id", config["eos_token_id"])
    count = max(windows, round(seconds / length))
    tokens = round(length * TOKENS_PER_SECOND)
    return Workload("synthetic audio", (_hum(length),) * count, tokens, end[0] if isinstance(end, list) else end)


def _hum(seconds: float) -> Samples:
    """A harmonic tone, modulated four times per second, with a little noise."""
    import numpy as np

    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    voice = sum((np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 9)), np.zeros(len(time)))
    noise = np.random.default_rng(0).normal(0, 0.01, len(time))
    sound: Samples = (0.1 * voice * np.clip(np.sin(8 * np.pi * time), 0, 1) + noise).astype(np.float32)
    return sound


def recorded(recording: Any, seconds: float, *, channel: str = "mix") -> Workload:
    """The first `seconds` of a recording. Raises `AudioError`."""
    from linnet.audio.source import open_audio

    with open_audio(recording, channel=channel) as source:
        return Workload(source.name, (source.read(0, round(seconds * SAMPLE_RATE)),))


@dataclass(frozen=True)
class Bench:
    """The model to measure, its workload, and the time limit of a setting in seconds, without loading."""

    model: str
    workload: Workload
    device: str = "auto"
    threads: int | None = None
    offline: bool = False
    language: str | None = None
    limit: float = 120.0

    def measure(self, chosen: Sequence[Setting]) -> Iterator[Speed]:
        """Measure each setting in turn."""
        for setting in chosen:
            yield self._measure(setting)

    def _measure(self, setting: Setting) -> Speed:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=run, args=(theirs, self, setting), daemon=True, name=f"linnet bench {setting}")
        process.start()
        theirs.close()
        try:
            return self._follow(setting, ours, process)
        finally:
            _end(process)
            ours.close()

    def _follow(self, setting: Setting, pipe: Connection, process: BaseProcess) -> Speed:
        """Wait for `None` (loaded), then for the timing; a text is an error."""
        message: Any = None
        for limit, what in ((LOADING_SECONDS, "loading and converting took"), (self.limit, "it took")):
            begun = time.perf_counter()
            try:
                if pipe.poll(limit):
                    message = pipe.recv()
                else:
                    message = f"{what} more than {time.perf_counter() - begun:.0f} s"
                    process.terminate()
            except EOFError:
                process.join(5)
                message = f"its process ended (status {process.exitcode}): perhaps there is too little memory"
            if isinstance(message, str):
                return Speed(setting, reason=message)
        return Speed(setting, timing=message)


def _end(process: BaseProcess) -> None:
    """Terminate the process, and kill it after a while."""
    process.join(1)
    if process.is_alive():
        process.terminate()
        process.join(5)
    if process.is_alive():
        process.kill()
        process.join()


def fastest(speeds: Sequence[Speed]) -> Speed | None:
    """The setting with the largest RTFx; None if nothing was measured."""
    return max((one for one in speeds if one.timing is not None), key=lambda one: one.rtfx or 0.0, default=None)
