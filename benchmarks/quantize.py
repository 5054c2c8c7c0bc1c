"""What full int8 quantization of the encoder gains and costs: compute type w8a8 beside int8 and bf16.

    python benchmarks/quantize.py                  # some minutes on two cores
    python benchmarks/quantize.py --shapes tiny --strings 40

Speed: the encoder on one 30 s window of real speech, the Whisper shapes with random weights, all three compute types in
one process and in turn, A B C A B C; the ratio is the median over the rounds. The calibration is on other windows of
the same recordings (../shared/data/clips). Accuracy: the word error rate of the embedded model on strings of 5 real
digits of the speakers that it was not trained on, in f32, int8 and w8a8, calibrated on strings of the others.
Asked: at least 1.4 times the speed of bf16 for small, where the word error rate holds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers.checkpoints import SHAPES, random_model
from peers.encoder import operations
from torch import Tensor

from linnet.audio.mel import log_mel
from linnet.audio.source import load
from linnet.audio.types import SAMPLE_RATE, Audio
from linnet.data.manifest import Utterance
from linnet.decoding.options import DecodingOptions
from linnet.engines.choice import openvino_precision, openvino_source
from linnet.engines.openvino import OpenVinoEngine
from linnet.engines.openvino.cache import ConvertedModel, compile_converted, keep
from linnet.engines.openvino.export import convert
from linnet.engines.openvino.formats import ModelShape
from linnet.models.resolve import resolve
from linnet.scoring.scores import count_errors, total
from linnet.transcription.quantize import QuantizationRun
from linnet.transcription.recognizer import Recognizer
from linnet.transcription.recognizer import load as load_model

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where `recipes` is

from recipes.digits.bank import Voices, load_fsdd
from recipes.digits.validate import connected

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("bf16", "int8", "w8a8")
CLIPS = ("jfk.flac", "libri-1088-134315-0000.wav", "common_voice_en_651325.mp3", "LJ002-0020.wav", "LJ002-0035.wav")
WINDOW = 30 * SAMPLE_RATE
SEED = 11


def say(text: str) -> None:
    """Where we are."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def windows(folder: Path, count: int) -> list[Tensor]:
    """Log-mel features [3000, 80] of windows of 30 s of all clips one after the other, each begun 3 s later."""
    speech = np.concatenate([load(folder / name).samples for name in CLIPS])
    parts = [np.resize(np.roll(speech, -index * 3 * SAMPLE_RATE), WINDOW) for index in range(count)]
    return [log_mel(torch.from_numpy(part), 80) for part in parts]


def engine(module: Any, kind: str, calibration: list[Tensor], threads: int) -> OpenVinoEngine:
    """The module on OpenVINO."""
    numbers = openvino_precision(kind)
    models = convert(module, numbers, calibration if numbers.calibrated else ())
    return OpenVinoEngine(
        compile_converted(ConvertedModel(*models, ModelShape.of(module), numbers, None), threads), label=kind
    )


def prepare(shape: str, options: argparse.Namespace) -> dict[str, OpenVinoEngine]:
    """Engines of one random model in all compute types."""
    module, engines = random_model(shape), {}
    calibration = windows(options.data / "clips", options.windows)
    for kind in KINDS:
        begun = time.perf_counter()
        engines[kind] = engine(module, kind, calibration, options.threads)
        say(f"{shape} {kind}: converted in {time.perf_counter() - begun:.1f} s")
    return engines


def speed(shape: str, engines: dict[str, OpenVinoEngine], options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of one window in each compute type, and the median ratios."""
    window = windows(options.data / "clips", options.windows + 1)[-1][None]
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for number in range(options.rounds + 1):
        for kind, one in engines.items():
            begun = time.perf_counter()
            one.encode(window)
            if number:  # the first warms up
                times[kind].append(time.perf_counter() - begun)
    width, layers, _ = SHAPES[shape]
    config = {"d_model": width, "encoder_ffn_dim": 4 * width, "encoder_layers": layers, "decoder_layers": layers}
    work = operations({**config, "num_mel_bins": 80})
    median = {kind: statistics.median(found) for kind, found in times.items()}
    return {
        "ms": {kind: round(1000 * seconds, 1) for kind, seconds in median.items()},
        "gflops": {kind: round(work / seconds / 1e9) for kind, seconds in median.items()},
        "w8a8_over_bf16": ratio(times["bf16"], times["w8a8"]),
        "w8a8_over_int8": ratio(times["int8"], times["w8a8"]),
    }


def ratio(slow: list[float], fast: list[float]) -> float:
    """The median over the rounds."""
    return round(statistics.median(a / b for a, b in zip(slow, fast, strict=True)), 2)


def strings(folder: Path, speakers: tuple[str, ...], count: int) -> list[tuple[Audio, str]]:
    """Strings of 5 real digits of each of these speakers."""
    voices: Voices = {}
    load_fsdd(folder, speakers, voices, even=False)
    made = []
    for voice in voices["en"]["real"]:
        cases = connected(voice, count, (5, 5), np.random.default_rng(SEED))
        made += [(Audio(case.samples, voice.name), " ".join(case.words)) for case in cases]
    return made


def accuracy(options: argparse.Namespace) -> dict[str, Any]:
    """The word error rate of the embedded model in percent, with its errors, by speaker and compute type."""
    fsdd = options.data / "fsdd"
    ref = resolve("digits")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LINNET_CACHE"] = folder
        keep(openvino_source(ref), calibrated(ref, strings(fsdd, options.calibration, 16), Path(folder)))
        models = {kind: load_model("digits", compute_type=kind, threads=options.threads) for kind in ("f32", *KINDS)}
        found: dict[str, Any] = {}
        for speaker in options.speakers:
            cases = strings(fsdd, (speaker,), options.strings)
            found[speaker] = {kind: score(model, cases) for kind, model in models.items()}
            say(f"{speaker}: {found[speaker]}")
    return found


def calibrated(ref: Any, cases: list[tuple[Audio, str]], folder: Path) -> ConvertedModel:
    """As `linnet models quantize` makes it."""
    import soundfile

    rows = []
    for index, (audio, text) in enumerate(cases):
        soundfile.write(folder / f"{index}.wav", audio.samples, SAMPLE_RATE)
        rows.append(Utterance(str(folder / f"{index}.wav"), text, language="en"))
    return QuantizationRun(ref, rows, windows=len(rows) // 2, notify=say).quantize()


def score(model: Recognizer, cases: list[tuple[Audio, str]]) -> dict[str, Any]:
    """Greedy, without timestamps."""
    options = DecodingOptions(language="en", timestamps=False, temperatures=(0.0,))
    results = model.transcribe_many([audio for audio, _ in cases], options=options)
    heard = {result.index: result.transcript.text for result in results if result.transcript}
    counts = total(count_errors(text, heard[index]) for index, (_, text) in enumerate(cases))
    return {"wer": round(100 * (counts.rate or 0.0), 2), "errors": counts.errors, "words": counts.words}


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--shapes", default="tiny,small")
    parser.add_argument("--windows", type=int, default=8, help="to calibrate the random models on")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--strings", type=int, default=200, help="of each speaker")
    parser.add_argument("--speakers", type=lambda text: tuple(text.split(",")), default=("theo", "lucas"))
    parser.add_argument(
        "--calibration",
        type=lambda text: tuple(text.split(",")),
        default=("george", "jackson", "nicolas", "yweweler"),
    )
    parser.add_argument("--only", choices=("speed", "accuracy"), help="one of both parts")
    options = parser.parse_args()
    found: dict[str, Any] = {"threads": options.threads, "torch": torch.__version__}
    if options.only != "accuracy":
        for shape in options.shapes.split(","):
            found[shape] = speed(shape, prepare(shape, options), options)
            say(f"{shape}: {found[shape]}")
    if options.only != "speed":
        found["word errors of digits"] = accuracy(options)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
