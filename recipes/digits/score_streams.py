"""Score a causal digits model as a stream, beside whole windows of any model, on strings whose word ends are known.

    python -m recipes.digits.score_streams digits-stream --fsdd ../shared/data/fsdd --speakers theo

The streams are decoded as training's validation does it: frames of the block-causal mask, words final when complete and
sure or seen twice. Lags are from the end of each clip to the end of the block at which its word became final, so the
time of computing is not in them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from linnet.models.causal import SPEC, read_causal_spec
from linnet.models.resolve import resolve
from linnet.models.whisper import load_whisper
from linnet.training.causal.batches import Shape
from linnet.training.causal.decode import decode_stream
from linnet.training.causal.options import CausalOptions
from linnet.training.causal.targets import CausalExample
from linnet.training.causal.validate import StreamValidation

from .bank import Voices, load_fsdd
from .causal_run import error_rate, prefix_of, strings
from .tokens import Vocabulary
from .validate import nothing


def score(
    name: str, fsdd: Path, speakers: tuple[str, ...], count: int, blocks: list[int], *, sure: float | None = None
) -> dict[str, Any]:
    """Error rates and lags of `count` strings of each speaker in blocks of these frames, and of whole windows.

    `invented` are the clips of silence and noise in which a word became final.
    """
    reference = resolve(name)
    whisper = load_whisper(reference.path, name=name)
    module: Any = whisper.module.eval()
    shape = Shape(whisper.n_mels, whisper.window_samples, whisper.max_length, whisper.vocabulary.end)
    voices: Voices = {}
    load_fsdd(fsdd, speakers, voices)
    rng = np.random.default_rng(20)
    cases = [one for voice in voices["en"]["real"] for one in strings(voice, count, rng)]
    words = sum(len(one.tokens) for one in cases)
    found: dict[str, Any] = {
        "model": name,
        "speakers": speakers,
        "strings": len(cases),
        "words": words,
        "sure": options_of(reference.path, blocks[0], sure).sure,
    }
    for block in blocks:
        options = options_of(reference.path, block, sure)
        scored = StreamValidation(whisper.vocabulary, shape, cases, options, error_rate, ["en"] * len(cases))
        if "whole_wer" not in found:
            found["whole_wer"] = scored.whole(module)
        if (reference.path / SPEC).is_file():
            found[f"{block * 20} ms"] = scored.streamed(module, block)
    prefix = prefix_of("en", Vocabulary.build())
    empty = [CausalExample(case.samples[: 9 * 16_000], prefix) for case in nothing(rng)]
    if (reference.path / SPEC).is_file():
        options = options_of(reference.path, blocks[0], sure)
        heard = decode_stream(module, whisper.vocabulary, shape, empty, options, block=blocks[0])
        found["invented"] = f"{sum(bool(one.tokens) for one in heard)} of {len(heard)}"
    return found


def options_of(folder: Path, block: int, sure: float | None = None) -> CausalOptions:
    """How a model is streamed: as its spec says, with a first block no longer than the others."""
    if not (folder / SPEC).is_file():
        return CausalOptions()
    spec = read_causal_spec(folder)
    first = min(spec.first_block, max(block, spec.shortest_block))
    return CausalOptions(
        first_block=first,
        tail_pad=spec.tail_pad,
        speech_peak=spec.speech_peak,
        sure=spec.sure if sure is None else sure,
    )


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--fsdd", type=Path, default=Path("../shared/data/fsdd"))
    parser.add_argument("--speakers", nargs="+", default=["theo"])
    parser.add_argument("--strings", type=int, default=100)
    parser.add_argument("--blocks", nargs="+", type=int, default=[16])
    parser.add_argument("--sure", type=float, help="probability of a word that is final at once")
    options = parser.parse_args()
    for name in options.models:
        speakers = tuple(options.speakers)
        found = score(name, options.fsdd, speakers, options.strings, options.blocks, sure=options.sure)
        print(json.dumps(found))


if __name__ == "__main__":
    main()
