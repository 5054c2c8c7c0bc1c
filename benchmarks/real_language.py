"""Language detection on real speech: Linnet beside openai-whisper and faster-whisper on the same weights (base).

    python benchmarks/real_language.py --weights FOLDER [--model base] [--data ../shared/data/speech]
        [--systems linnet,openai-whisper,faster-whisper] [--cuts 1,2,3,5,30] [--every 1] --output FOLDER

Sets: `multilingual` and `german_emodb`; each clip as its first 1, 2, 3 and 5 s from 50 ms before speech begins (Silero
VAD), where it lasts at least 0.8 of that, and as its first 30 s (`30`). Linnet's answer is the language of
`transcribe`; the peers' is that of their `detect_language`. `--every 3` takes every third clip. Answers are kept in
`OUTPUT/SYSTEM.language.json` and not asked for again. `dev` and `test` are halves by a hash of the clip's name.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linnet.audio.source import open_audio
from linnet.audio.types import SAMPLE_RATE
from linnet.audio.vad import RegionFinder, Watcher

ROOT = Path(__file__).parents[1]
SYSTEMS = ("linnet", "openai-whisper", "faster-whisper")
WHOLE = 30
LEAD = SAMPLE_RATE // 20
Samples = NDArray[np.float32]
Detector = Callable[[Samples], str | None]


def main() -> None:
    """Ask what is not known yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--model", default="base")
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data/speech")
    parser.add_argument("--systems", default=",".join(SYSTEMS))
    parser.add_argument("--cuts", default="1,2,3,5,30")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    cuts = [int(cut) for cut in options.cuts.split(",")]
    for system in options.systems.split(","):
        path = options.output / f"{system}.language.json"
        known = json.loads(path.read_text()) if path.is_file() else {}
        detect = open_detector(system, options.weights, options.model, options.output)
        for key, language, samples in read_cuts(options.data, cuts, options.every):
            if key not in known:
                known[key] = [language, detect(samples)]
                path.write_text(json.dumps(known))
    print_table(options.output)


def read_cuts(data: Path, cuts: list[int], every: int) -> Iterator[tuple[str, str, Samples]]:
    """Key (`set/clip/cut/part`), true language and samples."""
    for folder in ("multilingual", "german_emodb"):
        lines = (data / folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
        for line in lines[::every]:
            row = json.loads(line)
            with open_audio(str(data / folder / row["audio"])) as source:
                samples = source.read(0, WHOLE * SAMPLE_RATE)
            start, name = speech_start(samples), Path(row["audio"]).stem
            part = ("dev", "test")[hashlib.sha256(name.encode()).digest()[0] % 2]
            for cut in cuts:
                if cut == WHOLE:
                    yield f"{folder}/{name}/{cut}/{part}", row["language"], samples
                elif len(samples) - start >= 0.8 * cut * SAMPLE_RATE:
                    yield f"{folder}/{name}/{cut}/{part}", row["language"], samples[start : start + cut * SAMPLE_RATE]


def speech_start(samples: Samples) -> int:
    """The sample 50 ms before the first speech."""
    finder = RegionFinder(WHOLE * SAMPLE_RATE)
    found = finder.push(Watcher().push(samples)) + finder.finish()
    return max(found[0].start - LEAD, 0) if found else 0


def open_detector(system: str, weights: Path, model: str, output: Path) -> Detector:
    """A function from samples to a language code."""
    if system == "linnet":
        import linnet

        recognizer = linnet.load(str(weights / model))
        return lambda samples: recognizer.transcribe(samples).language
    if system == "faster-whisper":
        from faster_whisper import WhisperModel

        loaded = WhisperModel(str(weights / "ct2" / model), device="cpu", compute_type="int8")
        return lambda samples: loaded.detect_language(samples)[0]
    return _openai(weights / model, output / f"{model}.pt")


def _openai(folder: Path, checkpoint: Path) -> Detector:
    import whisper  # type: ignore[import-untyped,unused-ignore,import-not-found]
    from openai_weights import write_openai_checkpoint

    write_openai_checkpoint(folder, checkpoint)
    loaded = whisper.load_model(str(checkpoint), device="cpu")

    def detect(samples: Samples) -> str:
        mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(samples), loaded.dims.n_mels)
        _, probabilities = loaded.detect_language(mel)
        return str(max(probabilities, key=probabilities.get))

    return detect


def print_table(output: Path) -> None:
    """Right answers of all, for each set, cut and part, on the clips that every system was asked about."""
    files = {system: output / f"{system}.language.json" for system in SYSTEMS}
    answers = {system: json.loads(path.read_text()) for system, path in files.items() if path.is_file()}
    shared = sorted(set.intersection(*(set(own) for own in answers.values())))
    groups = sorted({(key.split("/")[0], int(key.split("/")[2]), key.split("/")[3]) for key in shared})
    print("| set | seconds | part | clips | " + " | ".join(answers) + " |")
    print("|" + "---|" * (4 + len(answers)))
    for folder, cut, part in groups:
        own = [key for key in shared if (*key.split("/")[::2], key.split("/")[3]) == (folder, str(cut), part)]
        right = [sum(known[key][0] == known[key][1] for key in own) for known in answers.values()]
        print(f"| {folder} | {cut} | {part} | {len(own)} | " + " | ".join(map(str, right)) + " |")


if __name__ == "__main__":
    main()
