"""Linnet as people use it: its defaults but for what is asked, samples in, text out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

PACKAGES = ["linnet", "openvino", "nncf", "torch", "transformers"]


def prepare(
    model: str,
    compute_type: str,
    threads: int,
    batch: int,
    beams: int,
    language: str = "en",
) -> Callable[[Sequence[Any]], list[str]]:
    """One recording goes through `transcribe_many` alone; several share its batches."""
    import linnet
    from linnet.decoding.options import DecodingOptions

    recognizer = linnet.load(model, compute_type=compute_type, threads=threads, device="cpu")
    known = language if recognizer.languages else None
    options = DecodingOptions(language=known, beam_size=beams)

    def run(recordings: Sequence[Any]) -> list[str]:
        texts = [""] * len(recordings)
        for result in recognizer.transcribe_many(recordings, options=options, batch_size=batch):
            if result.error is not None or result.transcript is None:
                raise result.error or AssertionError("a result holds a transcript or an error")
            texts[result.index] = result.transcript.text
        return texts

    return run
