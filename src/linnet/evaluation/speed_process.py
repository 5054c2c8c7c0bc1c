"""What a process that measures one setting does; see `evaluation.speed`."""

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
    from linnet.transcription.options import TranscriptionOptions
    from linnet.transcription.recognizer import Recognizer

LEAST_SECONDS = 3.0  # of work: what is faster is done again
MOST_PASSES = 5
WARM_SAMPLES = 30 * SAMPLE_RATE


@dataclass(frozen=True)
class SpeedTask:
    """One setting of one model, and what it is to transcribe."""

    model: str
    engine: str
    compute_type: str
    batch_size: int
    device: str
    threads: int | None
    offline: bool
    language: str | None
    pieces: tuple[Samples, ...]
    tokens: int | None  # of each piece; None: as heard
    end: int | None


@dataclass(frozen=True)
class Timing:
    """What was measured: the median of `passes` over all the sound, after 30 s of it to warm up."""

    audio_seconds: float
    work_seconds: float
    passes: int
    load_seconds: float
    peak_mb: float | None  # of memory, of the whole process
    engine_name: str
    notices: tuple[str, ...]

    @property
    def rtfx(self) -> float:
        """Seconds of audio per second of work."""
        return self.audio_seconds / self.work_seconds


def run(pipe: Connection, order: SpeedTask) -> None:
    """Send `None` when the model is loaded and warm, then a `Timing`; a text instead of either says what went wrong."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that a conversion cleans up behind itself
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    os.dup2(2, 1)  # stdout is for the result
    try:
        _run(pipe, order)
    except LinnetError as error:
        pipe.send(first_line(error))
    except (MemoryError, RuntimeError, OSError) as error:
        pipe.send(f"{type(error).__name__}: {first_line(error)}")


def _run(pipe: Connection, order: SpeedTask) -> None:
    from linnet.transcription.recognizer import load

    notices: list[str] = []
    begun = time.perf_counter()
    recognizer = load(
        order.model,
        device=order.device,
        engine=order.engine,
        compute_type=order.compute_type,
        threads=order.threads,
        offline=order.offline,
        notify=notices.append,
    )
    loaded = time.perf_counter() - begun
    pipe.send(None)
    options = _options(order)
    _transcribe(recognizer, (order.pieces[0][:WARM_SAMPLES],), order.batch_size, options)
    times: list[float] = []
    seconds = 0.0
    while len(times) < MOST_PASSES and sum(times) < LEAST_SECONDS:
        begun = time.perf_counter()
        seconds = _transcribe(recognizer, order.pieces, order.batch_size, options)
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


def _options(order: SpeedTask) -> TranscriptionOptions:
    from linnet.transcription.options import TranscriptionOptions

    if order.tokens is None or order.end is None:
        return TranscriptionOptions(language=order.language)
    return TranscriptionOptions(
        language=order.language,
        timestamps=False,
        max_new_tokens=order.tokens,
        suppress_tokens=(order.end,),
        temperatures=(0.0,),
        compression_ratio_threshold=None,
        log_probability_threshold=None,
        no_speech_threshold=None,
        vad=False,
    )


def _transcribe(
    recognizer: Recognizer, pieces: tuple[Samples, ...], batch_size: int, options: TranscriptionOptions
) -> float:
    """Seconds of audio that were transcribed. Raises what went wrong."""
    total = 0.0
    for result in recognizer.transcribe_many(pieces, options=options, batch_size=batch_size):
        if result.error is not None:
            raise result.error
        total += result.duration
    return total
