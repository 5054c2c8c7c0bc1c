"""Transformers' pipeline: windows of 30 s side by side, one or several at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

PACKAGES = ["transformers", "torch"]
SPECIAL = 50257  # this token and those after it are no text


def prepare(model: str, dtype: str, threads: int, batch: int, beams: int) -> Callable[[Any], list[int]]:
    """`pipeline("automatic-speech-recognition")` on chunks of 30 s without overlap, so that nothing is read twice."""
    import torch
    import transformers

    torch.set_num_threads(threads)
    pipe = transformers.pipeline(
        "automatic-speech-recognition", model=model, dtype=getattr(torch, dtype), device="cpu", batch_size=batch
    )
    written: list[int] = []
    generate = pipe.model.generate

    def counting(*arguments: Any, **more: Any) -> Any:
        result = generate(*arguments, **more)
        rows = result if torch.is_tensor(result) else result["sequences"]
        written.extend((rows < SPECIAL).sum(1).tolist())
        return result

    pipe.model.generate = counting
    options = {"language": "en", "task": "transcribe", "num_beams": beams}

    def run(samples: Any) -> list[int]:
        written.clear()
        sound = {"raw": samples, "sampling_rate": 16_000}
        pipe(sound, chunk_length_s=30, stride_length_s=0, generate_kwargs=options)
        return list(written)

    return run
