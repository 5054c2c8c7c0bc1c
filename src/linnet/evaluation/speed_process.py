"""The process that measures one setting; see `evaluation.speed`."""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.errors import LinnetError
from linnet.machine import peak_memory
from linnet.models.loading import first_line

if TYPE_CHECKING:
    from linnet.evaluation.speed import Bench, Setting
    from linnet.transcription.options import TranscriptionOptions
    from linnet.transcription.recognizer import Recognizer

LEAST_SECONDS = 3.0  # of computation; faster passes are repeated
MOST_PASSES = 5
WARM_SAMPLES = 30 * SAMPLE_RATE


@dataclass(frozen=True)
class Timing:
    """The measurement: the median of `passes` over all the audio, after 30 s of it to warm up."""

    audio_seconds: float
    work_seconds: float
    passes: int
    load_seconds: float
    peak_mb: float | None  # peak memory of the process
    engine_name: str
    notices: tuple[str, ...]

    @property
    def rtfx(self) -> float:
        """Seconds of audio per second of computation."""
        return self.audio_seconds / self.work_seconds


def run(pipe: Connection, bench: Bench, setting: Setting) -> None:
    """Send `None` when the model is loaded, then a `Timing`; a text instead of either is an error."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that a conversion cleans up
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    os.dup2(2, 1)  # stdout is for results
    try:
        _run(pipe, bench, setting)
    except LinnetError as error:
        pipe.send(first_line(error))
    except (MemoryError, RuntimeError, OSError) as error:
        pipe.send(f"{type(error).__name__}: {first_line(error)}")


def _run(pipe: Connection, bench: Bench, setting: Setting) -> None:
    from linnet.transcription.recognizer import load

    notices: list[str] = []
    begun = time.perf_counter()
    recognizer = load(
        bench.model,
        device=bench.device,
        engine=setting.engine,
        compute_type=setting.compute_type,
        threads=bench.threads,
        offline=bench.offline,
        notify=notices.append,
    )
    loaded = time.perf_counter() - begun
    pipe.send(None)
    options = _options(bench)
    _transcribe(recognizer, (bench.workload.pieces[0][:WARM_SAMPLES],), setting.batch_size, options)
    times: list[float] = []
    seconds = 0.0
    while len(times) < MOST_PASSES and sum(times) < LEAST_SECONDS:
        begun = time.perf_counter()
        seconds = _transcribe(recognizer, bench.workload.pieces, setting.batch_size, options)
        times.append(time.perf_counter() - begun)
    peak = peak_memory()
    pipe.send(
        Timing(
            audio_seconds=seconds,
            work_seconds=statistics.median(times),
            passes=len(times),
            load_seconds=loaded,
            peak_mb=None if peak is None else peak / 2**20,
            engine_name=recognizer.engine_name,
            notices=tuple(notices),
        )
    )


def _options(bench: Bench) -> TranscriptionOptions:
    from linnet.transcription.options import TranscriptionOptions

    if bench.workload.tokens is None or bench.workload.end is None:
        return TranscriptionOptions(language=bench.language)
    return TranscriptionOptions(
        language=bench.language,
        timestamps=False,
        max_new_tokens=bench.workload.tokens,
        suppress_tokens=(bench.workload.end,),
        temperatures=(0.0,),
        compression_ratio_threshold=None,
        log_probability_threshold=None,
        no_speech_threshold=None,
        vad=False,
    )


def _transcribe(
    recognizer: Recognizer, pieces: tuple[Samples, ...], batch_size: int, options: TranscriptionOptions
) -> float:
    """Transcribe; returns the seconds of audio. Raises the first error."""
    total = 0.0
    for result in recognizer.transcribe_many(pieces, options=options, batch_size=batch_size):
        if result.error is not None:
            raise result.error
        total += result.duration
    return total
