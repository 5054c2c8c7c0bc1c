"""Whether an imported Whisper writes the same tokens as the program that its weights came from.

    python benchmarks/import_parity.py CT2_FOLDER MANIFEST... [--clips 30] [--openai-python PYTHON]

The CTranslate2 folder is imported and every clip of at most 30 s is decoded greedily in float32, without timestamps,
by Linnet's torch and OpenVINO engines, by CTranslate2 on Linnet's features, and by faster-whisper with its own. With
--openai-python, the interpreter of an environment that has openai-whisper, the weights are also written as a *.pt,
imported from there, and openai-whisper decodes the same clips. Target: the same tokens on every clip.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from linnet.audio.mel import log_mel
from linnet.audio.source import load
from linnet.data.manifest import Utterance, read_manifest
from linnet.decoding.decoder import Decoder
from linnet.decoding.options import DecodingOptions
from linnet.engines.choice import EngineChoice, build_engine
from linnet.models.importing import import_model
from linnet.models.resolve import resolve

WINDOW = 30 * 16_000
Clip = tuple[np.ndarray, str]

_OPENAI = """
import sys, json, numpy, torch, whisper
checkpoint, clips = sys.argv[1:]
torch.set_num_threads(1)
model = whisper.load_model(checkpoint, device="cpu")
for line in open(clips):
    path, language = json.loads(line)
    mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(numpy.load(path)), model.dims.n_mels)
    options = whisper.DecodingOptions(language=language, without_timestamps=True, fp16=False, temperature=0.0)
    print(json.dumps(whisper.decode(model, mel, options).tokens), flush=True)
"""


def clips_of(manifests: Sequence[Path], count: int) -> list[Clip]:
    """The first clips of each manifest in turn, of at most one window."""
    rows: list[list[Utterance]] = [list(read_manifest(str(path))) for path in manifests]
    found: Iterator[Utterance] = (one for group in zip_longest(*rows) for one in group if one is not None)
    clips = ((_samples(one), one.language or "en") for one in found)
    return list(islice((clip for clip in clips if len(clip[0]) <= WINDOW), count))


def _samples(utterance: Utterance) -> np.ndarray:
    return np.asarray(load(utterance.audio).samples, dtype=np.float32)


def linnet_tokens(folder: Path, engine: str, clips: Sequence[Clip]) -> list[list[int]]:
    """What one of Linnet's engines writes in float32."""
    chosen = EngineChoice(engine, "f32" if engine == "openvino" else "float32")
    model, runtime = build_engine(resolve(str(folder)), "cpu", chosen, lambda _: None)
    decoder = Decoder(runtime, model.vocabulary, model.max_length)
    found = []
    for samples, language in clips:
        options = DecodingOptions(
            language=language if model.vocabulary.languages else None,
            timestamps=False,
            temperatures=(0.0,),
            compression_ratio_threshold=None,
            log_probability_threshold=None,
        )
        encoded = runtime.encode(features(samples, model.n_mels)[None])
        found.append(list(decoder.decode(encoded, options)[0].tokens))
    return found


def features(samples: np.ndarray, mels: int) -> torch.Tensor:
    """Log-mel features [3000, mels] of a clip that is padded to 30 s."""
    padded = torch.zeros(WINDOW)
    padded[: len(samples)] = torch.from_numpy(samples)
    return log_mel(padded, mels)


def zero_filled(samples: np.ndarray, mels: int) -> torch.Tensor:
    """Features [3000, mels] of a clip alone, filled up with zeros, which is no silence: what faster-whisper encodes."""
    own = log_mel(torch.from_numpy(np.pad(samples, (0, 160))), mels)
    return torch.nn.functional.pad(own, (0, 0, 0, WINDOW // 160 - len(own)))


def ctranslate2_tokens(
    folder: Path, clips: Sequence[Clip], english: bool, features: Callable[[np.ndarray, int], torch.Tensor] = features
) -> list[list[int]]:
    """What CTranslate2 writes from features of ours."""
    import ctranslate2

    model = ctranslate2.models.Whisper(str(folder), device="cpu", compute_type="float32", intra_threads=1)
    found = []
    for samples, language in clips:
        mel = features(samples, model.n_mels).T.contiguous().numpy()[None]
        prompt = ["<|startoftranscript|>", *([] if english else [f"<|{language}|>", "<|transcribe|>"])]
        view = ctranslate2.StorageView.from_array(mel)
        result = model.generate(view, [[*prompt, "<|notimestamps|>"]], beam_size=1)
        found.append(list(result[0].sequences_ids[0]))
    return found


def faster_whisper_tokens(folder: Path, clips: Sequence[Clip]) -> list[list[int]]:
    """What faster-whisper writes, with its own features."""
    import faster_whisper

    model = faster_whisper.WhisperModel(str(folder), device="cpu", compute_type="float32", cpu_threads=1)
    settings: dict[str, Any] = {"beam_size": 1, "temperature": 0.0, "without_timestamps": True}
    off = dict.fromkeys(("no_speech_threshold", "log_prob_threshold", "compression_ratio_threshold"))
    found = []
    for samples, language in clips:
        segments, _ = model.transcribe(samples, language=language, vad_filter=False, **settings, **off)
        found.append([token for segment in segments for token in segment.tokens])
    return found


def openai_tokens(python: str, checkpoint: Path, clips: Sequence[Clip], work: Path) -> list[list[int]]:
    """What openai-whisper writes from its own features."""
    listing = work / "clips.jsonl"
    with listing.open("w") as file:
        for index, (samples, language) in enumerate(clips):
            np.save(work / f"{index}.npy", samples)
            file.write(json.dumps([str(work / f"{index}.npy"), language]) + "\n")
    command = [python, "-c", _OPENAI, str(checkpoint), str(listing)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def write_checkpoint(folder: Path, path: Path) -> Path:
    """The weights of a Transformers folder as a checkpoint of openai-whisper."""
    from safetensors.torch import load_file
    from tiny_imports import write_pt

    heads = json.loads((folder / "config.json").read_text())["decoder_attention_heads"]
    return write_pt(path, load_file(folder / "model.safetensors"), heads=heads)


def main() -> None:
    """Print on how many clips each pair agrees, and the first difference of each that does not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--clips", type=int, default=30)
    parser.add_argument("--openai-python")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    clips = clips_of(arguments.manifests, arguments.clips)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        folder = import_model(arguments.source, work / "model").path
        english = not json.loads((folder / "generation_config.json").read_text())["is_multilingual"]
        runs: dict[str, Callable[[], list[list[int]]]] = {
            "torch": lambda: linnet_tokens(folder, "torch", clips),
            "openvino": lambda: linnet_tokens(folder, "openvino", clips),
            "CTranslate2, Linnet's features": lambda: ctranslate2_tokens(arguments.source, clips, english),
            "CTranslate2, filled with zeros": lambda: ctranslate2_tokens(arguments.source, clips, english, zero_filled),
            "faster-whisper": lambda: faster_whisper_tokens(arguments.source, clips),
        }
        if arguments.openai_python:
            checkpoint = write_checkpoint(folder, work / "model.pt")
            again = import_model(checkpoint, work / "again", tokenizer=folder).path
            same = (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
            print(f"weights imported from the .pt are those from CTranslate2, bit for bit: {same}", flush=True)
            runs["openai-whisper"] = lambda: openai_tokens(arguments.openai_python, checkpoint, clips, work)
        print(f"{len(clips)} clips, {sum(len(clip[0]) for clip in clips) / 16_000:.0f} s", flush=True)
        compare(runs)


def compare(runs: dict[str, Callable[[], list[list[int]]]]) -> None:
    """Run each and compare it with the first."""
    expected: list[list[int]] = []
    for name, run in runs.items():
        found = run()
        expected = expected or found
        differing = [index for index, pair in enumerate(zip(expected, found, strict=True)) if pair[0] != pair[1]]
        print(f"{name:<32}{len(found) - len(differing)} of {len(found)} clips as torch", flush=True)
        for index in differing:
            a, b = expected[index], found[index]
            place = next((i for i, pair in enumerate(zip_longest(a, b)) if pair[0] != pair[1]), 0)
            print(f"  clip {index}: token {place} is {b[place : place + 4]}, torch has {a[place : place + 4]}")


if __name__ == "__main__":
    main()
