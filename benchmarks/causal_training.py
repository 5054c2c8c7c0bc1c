"""What causal training gives: a Whisper offline, without padding, under the mask as it is, and trained for it.

    linnet data align ../shared/data/speech/libri_other/manifest.jsonl --model base --output libri_other.jsonl
    python benchmarks/causal_training.py tiny.en libri_other.jsonl --trained runs/causal/best --blocks 50 16

Prints a JSON object for each row. Streams are decoded as training's validation does it, so lags are of the audio clock:
how long after its end a word became final, without the time of computing.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from linnet.models.causal import read_causal_spec
from linnet.models.resolve import resolve
from linnet.models.whisper import WhisperModel, load_whisper
from linnet.notices import ignore
from linnet.scoring.validation import ValidationScore
from linnet.training.causal.batches import Shape
from linnet.training.causal.corpus import validation_examples
from linnet.training.causal.options import CausalOptions
from linnet.training.causal.recipe import CausalData
from linnet.training.causal.validate import StreamValidation
from linnet.training.context import ALONE

OPEN = 1500  # frames: a first block that sees the whole recording


def base_rows(whisper: WhisperModel, manifest: Path, blocks: list[int], limit: int) -> Iterator[dict[str, Any]]:
    """The rows of a model as it is."""
    validated = scored(whisper, manifest, limit, CausalOptions())
    yield {"row": "offline", "wer": validated.whole(whisper.module)}
    unpadded = replace(CausalOptions(), first_block=OPEN)
    yield {"row": "no padding", **scored(whisper, manifest, limit, unpadded).streamed(whisper.module, OPEN)}
    for block in blocks:
        yield {"row": "untrained mask", "block": block, **validated.streamed(whisper.module, block)}


def trained_rows(
    whisper: WhisperModel, folders: list[Path], manifest: Path, blocks: list[int], limit: int
) -> Iterator[dict[str, Any]]:
    """The rows of each adapter of a model, or model trained from it."""
    for folder in folders:
        spec = read_causal_spec(folder)
        options = CausalOptions(
            first_block=spec.first_block, tail_pad=spec.tail_pad, speech_peak=spec.speech_peak, sure=spec.sure
        )
        made = trained_whisper(folder, whisper)
        own = scored(made, manifest, limit, options)
        for block in blocks:
            yield {"row": str(folder), "block": block, **own.streamed(made.module, block)}
        yield {"row": str(folder), "wer": own.whole(made.module), "window": "whole, no mask"}


def trained_whisper(folder: Path, base: WhisperModel) -> WhisperModel:
    """The model of a folder with an adapter on `base`, merged, or with all its weights."""
    if not (folder / "adapter_config.json").is_file():
        return load_whisper(folder, name=str(folder))
    from peft import PeftModel

    fresh: Any = load_whisper(resolve(base.name).path, name=base.name)
    module = PeftModel.from_pretrained(fresh.module, folder).merge_and_unload()
    return replace(fresh, module=module.eval())


def scored(whisper: WhisperModel, manifest: Path, limit: int, options: CausalOptions) -> StreamValidation:
    """The validation of training on a manifest."""
    data = CausalData(validation=str(manifest), validation_limit=limit)
    found = validation_examples(data, whisper, "en", ALONE)
    shape = Shape(whisper.n_mels, whisper.window_samples, whisper.max_length, whisper.vocabulary.end)
    score = ValidationScore("english", ignore)
    languages = [language for _, language in found]
    return StreamValidation(whisper.vocabulary, shape, [one for one, _ in found], options, score, languages)


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("manifest", type=Path, help="word times by `linnet data align`")
    parser.add_argument("--trained", type=Path, nargs="*", default=[])
    parser.add_argument("--blocks", type=int, nargs="+", default=[50, 16], help="encoder frames of 20 ms")
    parser.add_argument("--limit", type=int, default=0, help="only the first recordings")
    parser.add_argument("--skip-base", action="store_true", help="only the rows of what was trained")
    options = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.process_time()
    whisper = load_whisper(resolve(options.model).path, name=options.model)
    base = iter(()) if options.skip_base else base_rows(whisper, options.manifest, options.blocks, options.limit)
    trained = trained_rows(whisper, options.trained, options.manifest, options.blocks, options.limit)
    for row in chain(base, trained):
        print(json.dumps({**row, "cpu_seconds": round(time.process_time() - begun, 1)}), flush=True)


if __name__ == "__main__":
    main()
