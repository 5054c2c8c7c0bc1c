"""Linnet through its front door. The tokens are counted where the decoder gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

PACKAGES = ["linnet", "openvino", "nncf", "torch", "transformers"]
WINDOW = 30 * 16_000
SPECIAL = 50257  # this token and those after it are no text


def convert(checkpoint: str, output: str, engine: str, compute_type: str) -> None:
    """A first load, which converts the model and keeps the result in Linnet's cache."""
    import linnet

    del output
    linnet.load(checkpoint, engine=engine, compute_type=compute_type, device="cpu")


def prepare(
    model: str, engine: str, compute_type: str, threads: int, batch: int, beams: int, whole: bool = False
) -> Callable[[Any], list[int]]:
    """Windows of 30 s exactly, side by side; with `whole` the recording as one, cut into windows as by default."""
    import linnet
    from linnet.decoding.decoder import Decoder
    from linnet.transcription.options import TranscriptionOptions

    written: list[int] = []
    decode = Decoder.decode

    def counting(self: Any, *arguments: Any, **more: Any) -> Any:
        results = decode(self, *arguments, **more)
        written.extend(sum(token < SPECIAL for token in result.tokens) for result in results)
        return results

    Decoder.decode = counting  # type: ignore[method-assign]
    recognizer = linnet.load(model, engine=engine, compute_type=compute_type, threads=threads, device="cpu")
    options = TranscriptionOptions(
        language="en",
        timestamps=False,
        beam_size=beams,
        temperatures=(0.0,),
        compression_ratio_threshold=None,
        log_probability_threshold=None,
        no_speech_threshold=None,
        vad=False,
    )

    def run(samples: Any) -> list[int]:
        written.clear()
        starts = [0] if whole else range(0, len(samples), WINDOW)
        parts = [samples if whole else samples[start : start + WINDOW] for start in starts]
        for result in recognizer.transcribe_many(parts, options=options, batch_size=batch):
            if result.error is not None:
                raise result.error
        return list(written)

    return run
