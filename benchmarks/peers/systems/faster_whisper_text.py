"""faster-whisper as people use it: its defaults but for what is asked, samples in, text out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

PACKAGES = ["faster-whisper", "ctranslate2"]


def prepare(
    model: str, compute_type: str, threads: int, batch: int, beams: int, language: str = "en"
) -> Callable[[Sequence[Any]], list[str]]:
    """`BatchedInferencePipeline` where the batch is over 1, else `WhisperModel` with its voice activity filter.

    It knows no batches over several recordings: they come one after the other.
    """
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    whisper = WhisperModel(model, device="cpu", compute_type=compute_type, cpu_threads=threads)
    options: dict[str, Any] = {"language": language, "beam_size": beams}
    transcribe = whisper.transcribe
    if batch > 1:
        options["batch_size"] = batch
        transcribe = BatchedInferencePipeline(whisper).transcribe
    else:
        options["vad_filter"] = True

    def run(recordings: Sequence[Any]) -> list[str]:
        return [" ".join(segment.text for segment in transcribe(samples, **options)[0]) for samples in recordings]

    return run
