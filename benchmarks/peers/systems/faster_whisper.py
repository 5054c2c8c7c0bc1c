"""faster-whisper on CTranslate2, from its own conversion, one window after the other or in batches."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACKAGES = ["faster-whisper", "ctranslate2"]
COMMON = {
    "language": "en",
    "task": "transcribe",
    "temperature": 0.0,
    "without_timestamps": True,
    "condition_on_previous_text": False,
    "compression_ratio_threshold": None,
    "log_prob_threshold": None,
    "no_speech_threshold": None,
    "vad_filter": False,
}
WINDOW = 30


def convert(checkpoint: str, output: str, compute_type: str) -> None:
    """What `ct2-transformers-converter` does."""
    from ctranslate2.converters import TransformersConverter

    files = ["tokenizer.json", "preprocessor_config.json"]
    shutil.rmtree(output, ignore_errors=True)
    TransformersConverter(checkpoint, copy_files=files).convert(output, quantization=compute_type)


def prepare(model: str, compute_type: str, threads: int, batch: int, beams: int) -> Callable[[Any], list[int]]:
    """`WhisperModel`, or `BatchedInferencePipeline` where the batch is over 1."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    whisper = WhisperModel(str(Path(model)), device="cpu", compute_type=compute_type, cpu_threads=threads)
    if batch == 1:
        options = {**COMMON, "beam_size": beams}
        return lambda samples: [len(segment.tokens) for segment in whisper.transcribe(samples, **options)[0]]
    pipeline = BatchedInferencePipeline(whisper)

    def run(samples: Any) -> list[int]:
        seconds = len(samples) / 16_000
        starts = range(0, int(-(-seconds // WINDOW)) * WINDOW, WINDOW)
        windows = [{"start": start, "end": min(start + WINDOW, seconds)} for start in starts]
        options = {**COMMON, "beam_size": beams, "batch_size": batch, "clip_timestamps": windows}
        return [len(segment.tokens) for segment in pipeline.transcribe(samples, **options)[0]]

    return run
