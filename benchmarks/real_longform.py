"""Long recordings of real speech: which words are lost or invented that the same clips one by one do not lose?

    python benchmarks/real_longform.py --model tiny.en [--minutes 30] [--seed 1] [--part report] [--batch-size 8]
        [--sets libri_other vctk en_misc] [--speech ../shared/data/speech] [--beside FOLDER] [--output rows.json]

Clips in random order with 0.2 to 8 s (log-uniform) of digital silence, faint hiss, environmental noise or music between
them. `alone` transcribes the same clips one by one. Deleted and inserted words come from one alignment of the whole
text; runs of four or more are listed. `--beside` names a CTranslate2 folder of the same weights: faster-whisper hears
the same recording, batched, with its voice activity. Times are of one run on a machine that may do other things:
for a comparison of speed run the script alone.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import real_speech
from real_speech import SpeechClip, count, read_clips

import linnet
from linnet.audio import SAMPLE_RATE, Audio, load
from linnet.audio.types import Samples
from linnet.transcription.options import TranscriptionOptions

GAPS = (0.2, 8.0)  # seconds between clips
LEVEL = {"hiss": -60.0, "noise": -35.0, "music": -30.0}  # dB below full scale


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a name or folder that linnet loads")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", choices=real_speech.PARTS, default="report")
    parser.add_argument("--sets", nargs="+", default=["libri_other", "vctk", "en_misc"])
    parser.add_argument("--speech", type=Path, default=real_speech.SPEECH)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--long-form", choices=["batched", "sequential"])
    parser.add_argument("--condition-on-previous", action="store_true")
    parser.add_argument("--beside", type=Path, help="a CTranslate2 folder of the same weights, for faster-whisper")
    parser.add_argument("--output", type=Path, help="JSON with every text")
    return parser.parse_args()


class Fillers:
    """What lies between clips."""

    def __init__(self, speech: Path, part: str, rng: np.random.Generator) -> None:
        self._rng = rng
        clips = read_clips(speech, ["noise"], part)
        self._sounds = {
            "noise": [clip.path for clip in clips if clip.kind in ("noise", "background_noises", "short_noises")],
            "music": [clip.path for clip in clips if clip.kind == "music" and "Karissa" not in clip.path.name],
        }  # "Let's Go Fishing" is sung

    def make(self) -> Samples:
        """Some seconds of silence, hiss, noise or music."""
        length = round(float(np.exp(self._rng.uniform(*np.log(GAPS)))) * SAMPLE_RATE)
        kind = self._rng.choice(["silence", "hiss", "noise", "music"], p=[0.4, 0.2, 0.2, 0.2])
        if kind == "silence":
            return np.zeros(length, np.float32)
        if kind == "hiss" or not self._sounds[kind]:
            return _at_level(self._rng.standard_normal(length, dtype=np.float32), LEVEL["hiss"])
        sound = load(self._rng.choice([str(path) for path in self._sounds[kind]])).samples
        start = int(self._rng.integers(0, max(len(sound) - length, 1)))
        return _at_level(np.resize(sound[start : start + length], length), LEVEL[kind])


def _at_level(samples: Samples, level: float) -> Samples:
    power = float(np.sqrt(np.mean(np.square(samples)))) or 1.0
    return (samples * np.float32(10.0 ** (level / 20) / power)).astype(np.float32)


def compose(
    clips: Sequence[SpeechClip], fillers: Fillers, seconds: float, rng: np.random.Generator
) -> tuple[Audio, list[int]]:
    """A recording of about so many seconds, and which clips it holds, in order."""
    parts, order, at = [fillers.make()], [], 0
    while at < seconds * SAMPLE_RATE:
        for index in rng.permutation(len(clips)):
            parts += [load(clips[index].path).samples, fillers.make()]
            order.append(int(index))
            at += len(parts[-1]) + len(parts[-2])
            if at >= seconds * SAMPLE_RATE:
                break
    return Audio(np.concatenate(parts)), order


def beside(folder: Path, recording: Audio, batch: int) -> tuple[str, float]:
    """What faster-whisper's batched pipeline hears, and the seconds it takes."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    pipeline = BatchedInferencePipeline(WhisperModel(str(folder), device="cpu", compute_type="int8"))
    begun = time.perf_counter()
    segments, _ = pipeline.transcribe(recording.samples, batch_size=batch, language="en", beam_size=1)
    text = " ".join(segment.text.strip() for segment in segments)
    return text, time.perf_counter() - begun


def main() -> None:
    """Compose, transcribe both ways, print JSON."""
    given = arguments()
    rng = np.random.default_rng(given.seed)
    clips = [clip for clip in read_clips(given.speech, given.sets, given.part) if clip.text]
    recording, order = compose(clips, Fillers(given.speech, given.part, rng), 60.0 * given.minutes, rng)
    asr = linnet.load(given.model)
    options = TranscriptionOptions(
        language="en" if asr.languages else None,
        long_form=given.long_form,
        condition_on_previous=given.condition_on_previous,
    )
    alone = [""] * len(clips)
    for result in asr.transcribe_many([clip.path for clip in clips], options=options, batch_size=given.batch_size):
        alone[result.index] = result.transcript.text if result.transcript else ""
    begun = time.perf_counter()
    (result,) = asr.transcribe_many([recording], options=options, batch_size=given.batch_size)
    spent = time.perf_counter() - begun
    assert result.transcript is not None, result.error
    reference = " ".join(clips[index].text for index in order)
    one_by_one = count([clips[index].text for index in order], [alone[index] for index in order]).to_dict()
    joined = count([reference], [result.transcript.text]).to_dict()
    low = [one.text for one in result.transcript.segments if one.low_confidence]
    report: dict[str, Any] = {
        "seconds": round(recording.duration, 1),
        "alone": one_by_one,
        "joined": {**joined, "work_seconds": round(spent, 1), "low_confidence": len(low)},
        "more": {name: round(joined[name] - one_by_one[name], 2) for name in ("wer", "deleted", "inserted")},
    }
    if given.beside:
        text, spent = beside(given.beside, recording, given.batch_size)
        report["faster-whisper"] = {**count([reference], [text]).to_dict(), "work_seconds": round(spent, 1)}
    print(json.dumps(report, indent=1))
    if given.output:
        texts = {"reference": reference, "text": result.transcript.text, "low_confidence": low}
        given.output.write_text(json.dumps({**report, **texts}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
