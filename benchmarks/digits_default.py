"""The embedded model as `linnet transcribe` decodes by default: timestamps, the language detected.

    python benchmarks/digits_default.py [--model digits] [--fsdd ../shared/data/fsdd] [--speakers theo,lucas]

The same recordings as in benchmarks/digits.py, which decodes greedily without timestamps in the language given.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import jiwer
import numpy as np
from digits import ROOT, SEED, isolated

import linnet
from linnet.audio import Audio
from linnet.decoding.options import DecodingOptions

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where `recipes` is

from recipes.digits.bank import Voices, load_fsdd
from recipes.digits.validate import Case, connected

WAYS = {
    "default": DecodingOptions(),
    "without timestamps": DecodingOptions(timestamps=False),
    "five beams": DecodingOptions(beam_size=5),
}


def word_errors(recognizer: linnet.Recognizer, cases: list[Case], options: DecodingOptions) -> float:
    """Corpus WER in percent."""
    sounds = [Audio(case.samples) for case in cases]
    heard = {
        result.index: " ".join(result.transcript.text.split())
        for result in recognizer.transcribe_many(sounds, options=options, batch_size=16)
        if result.transcript
    }
    return 100 * jiwer.wer([" ".join(case.words) for case in cases], [heard[i] for i in range(len(cases))])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="digits")
    parser.add_argument("--fsdd", type=Path, default=ROOT / "../shared/data/fsdd")
    parser.add_argument("--speakers", default="theo,lucas")
    options = parser.parse_args()
    voices: Voices = {}
    load_fsdd(options.fsdd, tuple(options.speakers.split(",")), voices, even=False)
    recognizer = linnet.load(options.model)
    print(f"| speech | {' | '.join(WAYS)} |\n|---{'|---' * len(WAYS)}|")
    for voice in voices["en"]["real"]:
        kinds = {
            "200 sequences of 5": connected(voice, 200, (5, 5), np.random.default_rng(SEED)),
            "500 isolated digits": isolated(voice),
            "60 sequences of 10 to 12": connected(voice, 60, (10, 12), np.random.default_rng(SEED + 1)),
        }
        for kind, cases in kinds.items():
            rates = [word_errors(recognizer, cases, way) for way in WAYS.values()]
            print(f"| {voice.name}: {kind} | {' | '.join(f'{rate:.1f} %' for rate in rates)} |", flush=True)


if __name__ == "__main__":
    main()
