"""What compression costs in word errors: LiteASR's rule beside budgets, forms and healing, on real weights and speech.

    python benchmarks/compress.py --models tiny.en base --speech ../shared/data/speech --rows rows.jsonl
    python benchmarks/compress.py --models tiny.en --rows rows.jsonl --only dense lite-fast budget-0.85
    python benchmarks/compress.py --speed base small large-v3-turbo calibration

Calibration is on speech without texts (libri_speakers_notext, coffee_commands, aligned_lj; a third of it once more with
noise, a third at 8 kHz), the tests on other speakers. Greedy, without times, on windows of `--window` seconds (of 30 s
for a clip that is longer): Whisper hears 30 s windows better, and every row hears the same. A finished row is not made
again; what was measured of a model is kept beside the rows. PyTorch hears in float32, OpenVINO in the compute type that
`--engine` names. `--table` prints what is there, each row set beside the dense model by the paired bootstrap over
speakers. `--speed` times encoders instead (see `compress_speed`), and what
calibration takes; nothing else may run beside it.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from linnet.audio.mel import log_mel
from linnet.audio.source import load
from linnet.audio.types import SAMPLE_RATE, Samples
from linnet.compression.heal import HealOptions, heal
from linnet.compression.job import Compressed, CompressOptions, Part, Study, compress, put_in, together
from linnet.compression.judging import narrow
from linnet.compression.subject import Example, WhisperSubject, load_subject
from linnet.compression.windows import Audio, Lessons
from linnet.data.manifest import Utterance, read_manifest
from linnet.decoding.decoder import Decoder
from linnet.decoding.options import DecodingOptions
from linnet.engines.choice import openvino_precision
from linnet.engines.openvino import OpenVinoEngine
from linnet.engines.openvino.cache import ConvertedModel, compile_converted
from linnet.engines.openvino.export import convert
from linnet.engines.openvino.formats import ModelShape
from linnet.engines.protocol import Engine
from linnet.engines.torch import TorchEngine
from linnet.files import JsonLog, whole_lines
from linnet.models.resolve import resolve
from linnet.models.whisper import WhisperModel
from linnet.scoring.bootstrap import bootstrap_ratio
from linnet.scoring.clusters import choose_clusters
from linnet.scoring.scores import count_errors
from linnet.text.normalizers import Normalizers

CALIBRATION = ("libri_speakers_notext", "coffee_commands", "aligned_lj")
NOISE = "noise"
TESTS = ("libri_other", "vctk", "accents", "phone_conv", "libri_other+noise", "libri_other+8k")
SNR = 5.0  # dB, of the test in noise
BATCH = 8
MOST_TOKENS = 120
SEED = 3


@dataclass(frozen=True)
class Row:
    """One column of the table: how the model is made."""

    name: str
    options: CompressOptions | None = None  # None: dense
    share_of: str | None = None  # the budget is the size of this row
    healed: bool = False
    decoder: float | None = None  # share of the decoder's layers; with `options` None the encoder stays dense


def rows() -> list[Row]:
    """All of them, the most telling first."""
    budget = CompressOptions(budget=0.5)
    found = [Row("dense")]
    found += [Row(f"lite-{preset}", CompressOptions.preset(preset)) for preset in ("fast", "balanced", "acc")]
    found.append(Row("budget-as-fast", budget, share_of="lite-fast"))
    found += [Row(f"budget-{share}", replace(budget, budget=share)) for share in (0.7, 0.6, 0.5)]
    found += [
        Row("pair-as-fast", replace(budget, form="pair"), share_of="lite-fast"),
        Row("pair-0.7", replace(budget, budget=0.7, form="pair")),
        Row("pair-unweighted-0.7", replace(budget, budget=0.7, form="pair", weighted=False)),
        Row("lite-0.98:0.99", CompressOptions(thresholds=(0.98, 0.99))),
        Row("as-0.98:0.99", budget, share_of="lite-0.98:0.99"),
        Row("lite-0.97:0.98", CompressOptions(thresholds=(0.97, 0.98))),
    ]
    found += [
        Row("budget-0.85", replace(budget, budget=0.85)),
        Row("decoder-0.8", decoder=0.8),
        Row("budget-0.85-decoder-0.8", replace(budget, budget=0.85), decoder=0.8),
    ]
    found += [Row(f"healed-{share}", replace(budget, budget=share), healed=True) for share in (0.5, 0.6)]
    return found


def say(text: str) -> None:
    """Where we are."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


# --- sounds


@dataclass(frozen=True)
class TestClip:
    """One test utterance."""

    id: str
    set: str
    speaker: str
    samples: Samples
    text: str
    language: str | None


def utterances(speech: Path, name: str) -> list[Utterance]:
    """The clips of a set."""
    return list(read_manifest(speech / name / "manifest.jsonl"))


def noises(speech: Path) -> list[Samples]:
    """Environmental noise of a second or more, that is heard."""
    found = [load(one.audio).samples for one in utterances(speech, NOISE)]
    return [one for one in found if len(one) > SAMPLE_RATE and np.sqrt(np.mean(one**2)) > 1e-3]


def noisy(samples: Samples, noise: Samples, snr: float) -> Samples:
    """The samples with noise at this ratio of signal to noise in dB."""
    level = np.sqrt(np.mean(samples**2) / np.mean(noise**2)) * 10 ** (-snr / 20)
    mixed: Samples = (samples + np.resize(noise, len(samples)) * level).astype(np.float32)
    return mixed / max(1.0, float(np.abs(mixed).max()))


def test_clips(speech: Path, sets: Sequence[str]) -> Iterator[TestClip]:
    """The clips of the test sets that have a text; of derived ones as `noise` and `8k` make them."""
    spread = noises(speech)[1::2]  # the others are for calibration
    for name in sets:
        base, _, change = name.partition("+")
        for index, one in enumerate(utterances(speech, base)):
            if not one.text:
                continue
            samples = load(one.audio).samples
            if change == "noise":
                samples = noisy(samples, spread[index % len(spread)], SNR)
            if change == "8k":
                samples = narrow(samples, np.random.default_rng(0))
            yield TestClip(
                f"{name}/{Path(one.audio).name}", name, one.speaker or one.id, samples, one.text, one.language
            )


def calibration(subject: WhisperSubject, speech: Path, limit: int) -> Audio:
    """Windows of speech without texts: each plain, and every third once more in noise, every third at 8 kHz.

    The last version of each is also joined with those before it until they fill a window, as `linnet compress` does.
    """
    teaching: list[Example] = []
    held_out: list[Example] = []
    audio, spread = Audio(teaching, held_out), noises(speech)[0::2]
    sounds = [load(one.audio).samples for name in CALIBRATION for one in utterances(speech, name)]
    order = np.random.default_rng(SEED).permutation(len(sounds))
    waiting: dict[bool, list[Samples]] = {False: [], True: []}
    for count, index in enumerate(order[:limit]):
        samples = sounds[index][: subject.window]
        versions = [samples]
        if count % 3 == 1:
            versions.append(noisy(samples, spread[count % len(spread)], 10.0))
        if count % 3 == 2:
            versions.append(narrow(samples, np.random.default_rng(0)))
        judges = count % 6 == 5
        place = held_out if judges else teaching
        waiting[judges].append(versions[-1])
        if sum(map(len, waiting[judges])) >= subject.window:
            versions.append(np.concatenate(waiting[judges]))
            waiting[judges] = []
        for version in versions:
            place.append(subject.example(version, "en", timed=count % 4 == 3))
            audio.seconds += min(len(version), subject.window) / SAMPLE_RATE
    return audio


# --- hearing


def engine_of(subject: WhisperSubject, engine: str, threads: int) -> Engine:
    """The model as it is now in PyTorch (`torch`), or in OpenVINO in one of its compute types."""
    if engine == "torch":
        config = subject.model.config
        mels, most = config.num_mel_bins, config.max_target_positions
        return TorchEngine(WhisperModel(subject.model, subject.vocabulary, subject.name, mels, subject.window, most))
    kind = openvino_precision(engine)
    made = ConvertedModel(*convert(subject.model, kind), ModelShape.of(subject.model), kind, None)
    return OpenVinoEngine(compile_converted(made, threads), label=engine)


def hear(subject: WhisperSubject, clips: Sequence[TestClip], engine: Engine, seconds: float) -> list[str]:
    """The greedy text of each clip, without times, by an engine and the decoder of Linnet itself."""
    config = subject.model.config
    decoder = Decoder(engine, subject.vocabulary, config.max_target_positions)
    language = "en" if subject.vocabulary.languages else None
    options = DecodingOptions(
        language=language, timestamps=False, temperatures=(0.0,), max_new_tokens=MOST_TOKENS, no_speech_threshold=None
    )
    order = sorted(range(len(clips)), key=lambda index: len(clips[index].samples))
    texts = [""] * len(clips)
    short = [index for index in order if len(clips[index].samples) <= seconds * SAMPLE_RATE]
    long = [index for index in order if len(clips[index].samples) > seconds * SAMPLE_RATE]
    for group, length in ((short, seconds), (long, subject.window / SAMPLE_RATE)):
        for start in range(0, len(group), BATCH):
            batch = group[start : start + BATCH]
            sounds = torch.zeros(len(batch), int(length * SAMPLE_RATE))
            for row, index in enumerate(batch):
                part = clips[index].samples[: sounds.shape[1]]
                sounds[row, : len(part)] = torch.from_numpy(part)
            encoded = engine.encode(log_mel(sounds, config.num_mel_bins))
            for index, one in zip(batch, decoder.decode(encoded, options), strict=True):
                texts[index] = one.text
    return texts


# --- rows


def run_row(
    name: str, row: Row, studies: Studies, clips: Sequence[TestClip], done: dict[str, Any], args: Any
) -> dict[str, Any]:
    """Make one model and hear all clips with it."""
    study = studies.encoder
    subject: Any = study.subject
    made: Compressed | None = None
    facts: dict[str, Any] = {"share": 1.0, "kl": 0.0}
    begun = time.perf_counter()
    if row.options is not None:
        options = row.options
        if row.share_of is not None:
            options = replace(options, budget=done[row.share_of]["share"])
        made = compress(study, options)
        ranks = {one.name: one.rank for one in made.reports}
        pairs = sum(one.form == "pair" for one in made.reports)
        facts = {"share": made.share, "kl": made.divergence, "ranks": ranks, "pairs": pairs}
    if row.decoder is not None:
        small = compress(studies.decoder, CompressOptions(budget=row.decoder))
        made = replace(small, parameters=(1, 1)) if made is None else together(study, made, small)
        ranks = {one.name: one.rank for one in made.reports}
        facts |= {"kl": made.divergence, "ranks": ranks, "decoder_share": small.share}
    layers = dict(made.layers) if made else {}
    if row.healed:
        healed = heal(
            subject,
            layers,
            Lessons(study.audio),
            study.held_out,
            HealOptions(minutes=args.heal_minutes, rate=args.heal_rate),
            notify=say,
        )
        layers = dict(healed.layers)
        facts |= {"kl": healed.divergence, "kl_before": healed.before, "steps": healed.steps, "course": healed.course}
    with put_in(subject, layers):
        facts["made_s"] = round(time.perf_counter() - begun, 1)
        texts = hear(subject, clips, engine_of(subject, args.engine, args.threads), args.window)
    english = Normalizers("english").function("en")
    errors = [count_errors(english(clip.text), english(text)) for clip, text in zip(clips, texts, strict=True)]
    return {
        "model": name,
        "row": row.name,
        "window": args.window,
        "engine": args.engine,
        **facts,
        "heard_s": round(time.perf_counter() - begun - facts["made_s"], 1),
        "clips": [
            {
                "id": clip.id,
                "set": clip.set,
                "speaker": clip.speaker,
                "errors": one.errors,
                "words": one.words,
                "text": text,
            }
            for clip, one, text in zip(clips, errors, texts, strict=True)
        ],
    }


@dataclass
class Studies:
    """What was measured of both parts of a model, each from its file beside the rows or anew."""

    name: str
    args: Any

    @cached_property
    def encoder(self) -> Study:
        """Of the encoder."""
        subject: Any = load_subject(resolve(self.name, offline=True))
        return self._study(subject, calibration(subject, self.args.speech, self.args.calibration), "encoder")

    @cached_property
    def decoder(self) -> Study:
        """Of the decoder, on the same audio."""
        return self._study(self.encoder.subject, self.encoder.audio, "decoder")

    def _study(self, subject: Any, audio: Audio, part: Part) -> Study:
        args, suffix = self.args, "" if part == "encoder" else f".{part}"
        place = args.rows.with_name(f"{args.rows.stem}.{self.name.replace('/', '-')}{suffix}.pt")
        options = CompressOptions(budget=0.5, fisher_windows=args.fisher, include_padding=args.include_padding)
        if place.exists():
            return Study(subject, audio, options, part=part, state=torch.load(place, weights_only=False))
        study = Study(subject, audio, options, say, part=part)
        _ = study.fisher
        torch.save(study.state(), place)
        return study


def run(args: Any) -> None:
    """All rows that are not there yet."""
    clips = list(test_clips(args.speech, args.sets))
    for name in args.models:
        done = {row["row"]: row for row in read_rows(args.rows) if row["model"] == name}
        todo = [row for row in rows() if row.name not in done and (not args.only or row.name in args.only)]
        if not todo:
            continue
        studies = Studies(name, args)
        say(f"{name}: calibrated on {studies.encoder.audio.seconds / 60:.1f} min")
        for row in todo:
            if row.share_of is not None and row.share_of not in done:
                say(f"{name} {row.name}: left out, it needs the row {row.share_of}")
                continue
            made = run_row(name, row, studies, clips, done, args)
            done[row.name] = made
            with JsonLog(args.rows) as log:
                log.append(made)
            say(f"{name} {row.name}: share {made['share']:.3f}, KL {made['kl']:.4f}, {rates(made)}")
        del studies
        gc.collect()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file; none where there is no file."""
    return [json.loads(line) for line in whole_lines(path)] if path.exists() else []


def rates(row: dict[str, Any]) -> str:
    """The word error rate of each set, in %."""
    told = []
    for name in dict.fromkeys(clip["set"] for clip in row["clips"]):
        chosen = [clip for clip in row["clips"] if clip["set"] == name]
        told.append(f"{name} {100 * sum(c['errors'] for c in chosen) / sum(c['words'] for c in chosen):.1f}")
    return ", ".join(told)


def table(path: Path) -> None:
    """All rows in Markdown, each set beside the dense model with an interval of the difference."""
    found = read_rows(path)
    for name in dict.fromkeys(row["model"] for row in found):
        own = [row for row in found if row["model"] == name]
        dense = next((row for row in own if row["row"] == "dense"), None)
        if dense is None:
            say(f"{name}: no table without the row dense")
            continue
        sets = list(dict.fromkeys(clip["set"] for clip in dense["clips"]))
        print(f"\n| {name} | share | KL | {' | '.join(sets)} |\n|---|---|---|{'---|' * len(sets)}")
        for row in own:
            cells = [_cell(row, dense, one) for one in sets]
            print(f"| {row['row']} | {row['share']:.3f} | {row['kl']:.4f} | {' | '.join(cells)} |")


def _cell(row: dict[str, Any], dense: dict[str, Any], name: str) -> str:
    ours = [clip for clip in row["clips"] if clip["set"] == name]
    theirs = {clip["id"]: clip for clip in dense["clips"]}
    words = [clip["words"] for clip in ours]
    if not ours:
        return "-"
    rate = 100 * sum(clip["errors"] for clip in ours) / sum(words)
    if row is dense:
        return f"{rate:.1f}"
    apart = [clip["errors"] - theirs[clip["id"]]["errors"] for clip in ours]
    clusters = choose_clusters(
        [SimpleNamespace(**clip, session=None, recording=None, audio=clip["id"]) for clip in ours]
    )
    ratio = bootstrap_ratio(apart, words, clusters=clusters)
    if ratio is None:
        return f"{rate:.1f}"
    return f"{rate:.1f} ({100 * ratio.interval.low:+.1f} to {100 * ratio.interval.high:+.1f})"


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["tiny.en", "base"])
    parser.add_argument("--speech", type=Path, default=Path("../shared/data/speech"))
    parser.add_argument("--rows", type=Path, default=Path("compress-rows.jsonl"))
    parser.add_argument("--only", nargs="*", help="names of rows")
    parser.add_argument("--sets", nargs="+", default=list(TESTS))
    parser.add_argument("--window", type=float, default=16.0, help="seconds")
    parser.add_argument("--calibration", type=int, default=97, help="clips")
    parser.add_argument("--fisher", type=int, default=64, help="windows")
    parser.add_argument("--heal-minutes", type=float, default=10.0, help="of the rows healed-*")
    parser.add_argument("--heal-rate", type=float, default=HealOptions.rate, help="learning rate of the rows healed-*")
    parser.add_argument("--include-padding", action="store_true", help="calibrate on the padding of windows, too")
    parser.add_argument(
        "--engine", choices=("torch", "f32", "bf16", "int8"), default="torch", help="or OpenVINO in a compute type"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--speed", nargs="+", metavar="MODEL", help="time encoders, or `calibration`")
    parser.add_argument("--rounds", type=int, default=5, help="of --speed")
    parser.add_argument("--precisions", nargs="+", metavar="ENGINE", help="of --speed: f32, bf16, int8, 'torch f32'")
    parser.add_argument("--windows", type=int, default=100, help="of --speed calibration")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.speed:
        from compress_speed import run as run_speed

        speech = args.speech if args.speech.is_dir() else None
        run_speed(args, speech and (lambda subject: calibration(subject, speech, 24)), say)
        return
    if not args.table:
        run(args)
    table(args.rows)


if __name__ == "__main__":
    main()
