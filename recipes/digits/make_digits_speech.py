"""Make the synthetic speech that the embedded model `digits` trains on: digits in five languages, many voices.

    python -m recipes.digits.make_digits_speech build/digits-speech --fsdd ../shared/data/fsdd

Engines: espeak-ng (the extra `synth`; in its own process) for every language; where they are installed also
flite and festival (English, Italian) and WORLD (`pyworld`), which revoices the real training speakers with other
pitches and vocal tracts and makes voices between two of them. An engine that is not there is skipped with a notice.

The output folder is a bank: `clips.i16` (mono 16 kHz 16-bit samples, end to end) and `clips.jsonl`, one line per
clip with its first sample, length, language, words, word bounds in samples, voice and engine.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import soundfile
import soxr

from .words import DIGITS

RATE = 16_000
TRAIN_SPEAKERS = ("george", "jackson", "nicolas", "yweweler")
ACCENTS = {
    "en": [
        "en-us",
        "en",
        "en-gb-scotland",
        "en-gb-x-rp",
        "en-gb-x-gbclan",
        "en-gb-x-gbcwmd",
        "en-029",
        "en-us-nyc",
    ],
    "de": ["de"],
    "fr": ["fr", "fr-be", "fr-ch"],
    "es": ["es", "es-419"],
    "it": ["it"],
}
SETTINGS = {"en": 2, "de": 4, "fr": 2, "es": 2, "it": 4}
# fmt: off
VARIANTS = [
    "Alex", "Alicia", "Andrea", "Andy", "Annie", "Denis", "Diogo", "Gene", "Gene2", "Henrique", "Hugo", "Jacky",
    "Lee", "Marco", "Mario", "Michael", "Mike", "Nguyen", "Reed", "RicishayMax", "RicishayMax2", "RicishayMax3",
    "Storm", "adam", "anika", "announcer", "antonio", "aunty", "belinda", "benjamin", "boris", "caleb", "david", "ed",
    "edward", "edward2", "f1", "f2", "f3", "f4", "f5", "grandma", "grandpa", "gustave", "ian", "iven", "iven2",
    "iven3", "iven4", "john", "kaukovalta", "klatt", "klatt2", "klatt3", "klatt4", "klatt5", "klatt6", "linda", "m1",
    "m2", "m3", "m4", "m5", "m6", "m7", "m8", "marcelo", "max", "michel", "miguel", "mike2", "norbert", "pablo",
    "paul", "pedro", "quincy", "rob", "robert", "sandro", "shelby", "steph", "steph2", "steph3", "travis", "victor",
    "zac",
]
# fmt: on
HELD_OUT = ("f2", "m4", "klatt3", "Mario", "shelby")  # never trained on: the benchmark's held-out synthetic voices
PHONES = (4, 3, 2, 3, 3, 3, 4, 5, 2, 3)  # of the English digits in flite's lexicon

log = logging.getLogger("make_digits_speech")


@dataclass(frozen=True)
class SpokenClip:
    """Samples in [-1, 1] at 16 kHz, the words in them and where each lies (first, end) if that is known."""

    samples: np.ndarray
    language: str
    words: list[str]
    bounds: list[tuple[int, int]] | None
    voice: str
    engine: str


def trim(samples: np.ndarray, threshold: float = 0.02, margin: int = 160) -> tuple[int, int]:
    """First and end sample of the sound: 10 ms frames louder than `threshold` of the loudest, plus a margin."""
    frames = samples[: len(samples) // 160 * 160].reshape(-1, 160)
    loud = np.sqrt((frames**2).mean(1))
    if not loud.size or loud.max() < 1e-4:
        return 0, 0
    heard = np.flatnonzero(loud > threshold * loud.max())
    return max(0, heard[0] * 160 - margin), min(len(samples), (heard[-1] + 1) * 160 + margin)


def finish(samples: np.ndarray, rate: int, spoken: Mapping[str, object], starts: list[int] | None) -> SpokenClip | None:
    """Resample, trim, normalize, and turn the starts of words (samples at `rate`) into bounds."""
    samples = soxr.resample(samples.astype(np.float32), rate, RATE) if rate != RATE else samples
    first, end = trim(samples)
    if end - first < 0.08 * RATE:
        return None
    words = list(spoken["words"])  # type: ignore[call-overload]
    bounds: list[tuple[int, int]] | None = [(0, end - first)] if len(words) == 1 else None
    if starts is not None and len(starts) == len(words) > 1:
        edges = [0, *(min(max(round(s * RATE / rate) - first, 1), end - first) for s in starts[1:]), end - first]
        bounds = [(edges[i], edges[i + 1]) for i in range(len(words))]
    samples = samples[first:end]
    samples = samples * (0.7 / max(1e-4, float(np.abs(samples).max())))
    return SpokenClip(samples, str(spoken["language"]), words, bounds, str(spoken["voice"]), str(spoken["engine"]))


def utterances(language: str, rng: np.random.Generator, strings: int) -> list[list[str]]:
    """Every digit once alone, and some strings of 2 to 7 in one breath."""
    words = DIGITS[language]
    alone = [[word] for word in words]
    return alone + [[words[i] for i in rng.integers(0, 10, rng.integers(2, 8))] for _ in range(strings)]


class Espeak:
    """The worker process that speaks with espeak-ng."""

    def __init__(self) -> None:
        worker = Path(__file__).parents[2] / "scripts" / "espeak_worker.py"
        self.process = subprocess.Popen([sys.executable, str(worker)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def say(self, voice: str, style: dict[str, int], words: list[str]) -> tuple[np.ndarray, int, list[int]] | None:
        """Samples, rate and the first sample of each word; None where the voice is not there."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {"voice": voice, **style, "text": " ".join(words)}
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit("the espeak-ng worker ended: is the extra `synth` (espeakng-loader) installed?")
        header = json.loads(answer)
        if "error" in header:
            log.warning("espeak-ng: %s: skipped", header["error"])
            return None
        pcm = np.frombuffer(self.process.stdout.read(2 * header["samples"]), np.int16) / 32768.0
        return pcm, header["rate"], header["words"]

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def espeak(rng: np.random.Generator, variants: list[str]) -> Iterator[SpokenClip]:
    """Every accent x variant of espeak-ng at random rates, pitches and pitch ranges."""
    speaker = Espeak()
    for language, accents in ACCENTS.items():
        settings = range(SETTINGS[language])
        for voice, setting in product([f"{a}+{v}" for a in accents for v in variants], settings):
            style = {
                "rate": int(rng.integers(90, 240)),
                "pitch": int(rng.integers(15, 85)),
                "range": int(rng.integers(15, 85)),
                "gap": int(rng.choice([0, 0, 0, 1, 3])),
            }
            for words in utterances(language, rng, 3):
                said = speaker.say(voice, style, words)
                if said is None:
                    break
                spoken = {"language": language, "words": words, "voice": f"{voice}#{setting}", "engine": "espeak"}
                clip = finish(said[0], said[1], spoken, said[2])
                if clip is not None:
                    yield clip
    speaker.close()


def flite(rng: np.random.Generator) -> Iterator[SpokenClip]:
    """The voices of flite at random pitches and durations, with word bounds from its phone durations."""
    if shutil.which("flite") is None:
        log.warning("flite is not installed: its voices are left out")
        return
    digit_of = {word: index for index, word in enumerate(DIGITS["en"])}
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "a.wav"
        for voice, base in (("slt", 170), ("rms", 95), ("awb", 125), ("kal16", 100)):
            for setting in range(30):
                stretch, pitch = rng.uniform(0.7, 1.6), base * rng.uniform(0.75, 1.5)
                for words in utterances("en", rng, 6):
                    command = [
                        "flite",
                        "-voice",
                        voice,
                        "-psdur",
                        "--setf",
                        f"duration_stretch={stretch:.3f}",
                        "--setf",
                        f"int_f0_target_mean={pitch:.1f}",
                        "--setf",
                        f"int_f0_target_stddev={rng.uniform(5, 40):.1f}",
                        "-t",
                        " ".join(words),
                        "-o",
                        str(wav),
                    ]
                    phones = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
                    samples, rate = soundfile.read(wav, dtype="float32")
                    starts = phone_starts(phones, [PHONES[digit_of[word]] for word in words], rate)
                    spoken = {"language": "en", "words": words, "voice": f"flite-{voice}#{setting}", "engine": "flite"}
                    clip = finish(samples, rate, spoken, starts)
                    if clip is not None:
                        yield clip


def phone_starts(printed: list[str], counts: list[int], rate: int) -> list[int] | None:
    """The first sample of each word from flite's `phone:end` pairs; None where the phones are other than expected."""
    pairs = [(name, float(end)) for name, end in (pair.rsplit(":", 1) for pair in printed if ":" in pair)]
    spoken = [
        (start, end) for (_, start), (name, end) in zip([("", 0.0), *pairs], pairs, strict=False) if name != "pau"
    ]
    if len(spoken) != sum(counts):
        return None
    firsts = np.cumsum([0, *counts[:-1]])
    return [int(spoken[first][0] * rate) for first in firsts]


def festival(rng: np.random.Generator) -> Iterator[SpokenClip]:
    """Festival's English and Italian voices at several tempos; one process per voice and tempo."""
    if shutil.which("festival") is None:
        log.warning("festival is not installed: its voices are left out")
        return
    voices = {
        "kal_diphone": "en",
        "ked_diphone": "en",
        "cmu_us_slt_arctic_hts": "en",
        "lp_diphone": "it",
        "pc_diphone": "it",
    }
    for voice, language in voices.items():
        for setting in range(10):
            with tempfile.TemporaryDirectory() as folder:
                said = utterances(language, rng, 6)
                lines = [f"(voice_{voice})", f"(Parameter.set 'Duration_Stretch {rng.uniform(0.7, 1.6):.3f})"]
                for i, words in enumerate(said):
                    text = " ".join(words)
                    lines.append(f'(utt.save.wave (utt.synth (Utterance Text "{text}")) "{folder}/{i}.wav" \'riff)')
                subprocess.run(  # a voice that is not installed is seen below
                    ["festival", "--batch", "/dev/stdin"],
                    check=False,
                    input="\n".join(lines),
                    text=True,
                    capture_output=True,
                )
                for i, words in enumerate(said):
                    path = Path(folder) / f"{i}.wav"
                    if not path.exists():
                        log.warning("festival: %s said nothing for %s", voice, words)
                        continue
                    samples, rate = soundfile.read(path, dtype="float32")
                    spoken = {"language": language, "words": words, "voice": f"{voice}#{setting}", "engine": "festival"}
                    clip = finish(samples, rate, spoken, None)
                    if clip is not None:
                        yield clip


@dataclass(frozen=True)
class Revoicing:
    """A real training clip taken apart by WORLD: pitch [T] in Hz, envelope and aperiodicity [T, F], 5 ms a frame."""

    speaker: str
    digit: int
    rate: int
    pitch: np.ndarray
    envelope: np.ndarray
    noise: np.ndarray


def taken_apart(fsdd: Path) -> list[Revoicing]:
    """Every clip of the training speakers; none where pyworld is not installed."""
    try:
        import pyworld  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        log.warning("pyworld is not installed: the revoiced speakers are left out")
        return []
    found = []
    for path in sorted((fsdd / "recordings").glob("*.wav")):
        digit, speaker, _ = path.stem.split("_")
        if speaker not in TRAIN_SPEAKERS:
            continue
        samples, rate = soundfile.read(path, dtype="float64")
        if len(samples) < 1200:
            continue
        pitch, times = pyworld.dio(samples, rate)
        pitch = pyworld.stonemask(samples, pitch, times, rate)
        envelope = pyworld.cheaptrick(samples, pitch, times, rate)
        found.append(Revoicing(speaker, int(digit), rate, pitch, envelope, pyworld.d4c(samples, pitch, times, rate)))
    return found


def respoken(rng: np.random.Generator, source: Revoicing, log_envelope: np.ndarray, voice: str) -> SpokenClip | None:
    """`source` with another envelope, at another pitch, vocal-tract length and tempo."""
    import pyworld  # type: ignore[import-not-found,unused-ignore]

    tract = rng.uniform(0.85, 1.28)
    factor = float(np.clip(rng.uniform(0.75, 2.1), 0.75, 1.2 + 4.5 * max(0.0, tract - 0.85)))
    bins = np.arange(log_envelope.shape[1])
    place = np.clip(bins / tract, 0, bins[-1])
    low = place.astype(int)
    part = place - low
    high = np.minimum(low + 1, bins[-1])
    moved = np.ascontiguousarray(np.exp(log_envelope[:, low] * (1 - part) + log_envelope[:, high] * part))
    tempo = 5.0 * rng.uniform(0.8, 1.3)
    wave = pyworld.synthesize(source.pitch * factor, moved, source.noise, source.rate, tempo)
    spoken = {
        "language": "en",
        "words": [DIGITS["en"][source.digit]],
        "voice": voice,
        "engine": voice.partition("-")[0],
    }
    return finish(wave, source.rate, spoken, None)


def world(rng: np.random.Generator, fsdd: Path, copies: int) -> Iterator[SpokenClip]:
    """The real training speakers with other pitches, vocal-tract lengths and tempos, through the WORLD vocoder."""
    for source in taken_apart(fsdd):
        for copy in range(copies):
            clip = respoken(rng, source, np.log(source.envelope), f"world-{source.speaker}#{copy}")
            if clip is not None:
                yield clip


def morph(rng: np.random.Generator, fsdd: Path, copies: int) -> Iterator[SpokenClip]:
    """Speakers between two real ones: the same digit of both aligned in time, their WORLD envelopes blended."""
    sources = taken_apart(fsdd)
    for source in sources:
        others = [one for one in sources if one.digit == source.digit and one.speaker != source.speaker]
        for copy in range(copies):
            other = others[int(rng.integers(len(others)))]
            share = rng.uniform(0.25, 0.75)
            first, second = np.log(source.envelope), np.log(other.envelope)
            blend = (1 - share) * first + share * second[aligned(first, second)]
            clip = respoken(rng, source, blend, f"morph-{source.speaker}-{other.speaker}#{copy}")
            if clip is not None:
                yield clip


def aligned(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """For each frame of `first` [T, F] the frame of `second` [U, F] that dynamic time warping puts beside it."""
    shapes = []
    for spectra in (first, second):
        coarse = spectra[:, : spectra.shape[1] // 16 * 16].reshape(len(spectra), -1, 16).mean(2)
        shapes.append(coarse - 0.8 * coarse.mean(1, keepdims=True))
    cost = np.sqrt(((shapes[0][:, None] - shapes[1][None]) ** 2).sum(2))
    rows, columns = cost.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0.0
    for diagonal in range(rows + columns - 1):
        i = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        j = diagonal - i
        total[i + 1, j + 1] = cost[i, j] + np.minimum(np.minimum(total[i, j], total[i, j + 1]), total[i + 1, j])
    i, j = rows, columns
    partner = np.zeros(rows, int)
    while i > 0 and j > 0:
        partner[i - 1] = j - 1
        steps = ((i - 1, j - 1), (i - 1, j), (i, j - 1))
        i, j = min(steps, key=lambda step: total[step])
    return partner


def main() -> None:
    """Write the bank."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--fsdd", type=Path, default=Path("../shared/data/fsdd"))
    parser.add_argument("--copies", type=int, default=8, help="WORLD and morphed copies of each real clip")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--held-out", action="store_true", help="only the voices kept from training")
    parser.add_argument("--engines", default="espeak,world,morph,flite,festival")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    variants = list(HELD_OUT) if options.held_out else [name for name in VARIANTS if name not in HELD_OUT]
    makers = {
        "espeak": lambda rng: espeak(rng, variants),
        "world": lambda rng: world(rng, options.fsdd, options.copies),
        "morph": lambda rng: morph(rng, options.fsdd, options.copies),
        "flite": flite,
        "festival": festival,
    }
    options.output.mkdir(parents=True, exist_ok=True)
    position = 0
    with (options.output / "clips.i16").open("wb") as sound, (options.output / "clips.jsonl").open("w") as index:
        for number, engine in enumerate(options.engines.split(",")):
            count, first = 0, position
            for clip in makers[engine](np.random.default_rng([options.seed, number])):
                row = {
                    "start": position,
                    "samples": len(clip.samples),
                    "language": clip.language,
                    "words": clip.words,
                    "bounds": clip.bounds,
                    "voice": clip.voice,
                    "engine": clip.engine,
                }
                index.write(json.dumps(row, ensure_ascii=False, default=int) + "\n")
                sound.write((clip.samples * 32767).astype("<i2").tobytes())
                position += len(clip.samples)
                count += 1
            log.info("%s: %d clips, %.0f s", engine, count, (position - first) / RATE)


if __name__ == "__main__":
    main()
