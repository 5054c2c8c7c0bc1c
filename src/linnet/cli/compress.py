"""`linnet compress`: make a smaller and faster checkpoint of a model."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from linnet.cli.console import notice
from linnet.cli.options import Offline, option
from linnet.errors import OptionError
from linnet.files import check_place, write_atomic

if TYPE_CHECKING:
    from linnet.compression.heal import Healed, HealOptions
    from linnet.compression.job import Compressed, CompressOptions, Study
    from linnet.compression.latency import LayerTimes
    from linnet.compression.report import Account
    from linnet.data.manifest import Utterance
    from linnet.models.resolve import ModelRef

Name = Annotated[str, typer.Argument(metavar="MODEL", help="A folder, a short Whisper name (small) or a Hub id.")]
Calibration = Annotated[
    Path,
    typer.Option(
        "--calibration",
        metavar="MANIFEST",
        help="JSON lines with the key audio: 100 clips of speech or more, no texts needed.",
    ),
]
Output = Annotated[Path, typer.Option("--output", metavar="FOLDER", help="New folder for the model.")]
Preset = Annotated[
    str | None,
    option("--preset", verb="compress", metavar="NAME", help="LiteASR's preset: acc, balanced or fast."),
]
Threshold = Annotated[
    str | None,
    option("--threshold", metavar="A[:M]", help="LiteASR's rule: shares of variance to keep, attention and MLP."),
]
Budget = Annotated[
    float | None,
    option(
        "--budget",
        verb="compress",
        metavar="X",
        help="Share of the encoder's parameters to keep, such as 0.6. Default: 0.7.",
    ),
]
Latency = Annotated[
    float | None,
    option("--budget-latency", metavar="X", help="Share of the time of the encoder's layers on this machine to keep."),
]
Purpose = Annotated[
    Literal["speed", "size"],
    option("--for", verb="compress", help="speed: factor only layers that get faster here; size: any layer."),
]
ComputeType = Annotated[
    str,
    option(
        "--compute-type",
        verb="compress",
        help="Precision of timings: f32, bf16, int8; auto: as for transcribing.",
    ),
]
FormName = Annotated[
    Literal["auto", "pair", "pivot"],
    option("--form", help="pair: two thin layers; pivot: some outputs, the rest from them; auto: pivot for budgets."),
]
Weighted = Annotated[
    bool, option("--weighted/--unweighted", help="Keep what affects the transcript, or the most variance.")
]
Padding = Annotated[bool, option("--include-padding", help="Also calibrate on the silence that pads windows.")]
Windows = Annotated[int, option("--windows", verb="compress", metavar="N", min=10, help="Maximum windows to read.")]
Decoder = Annotated[
    float | None,
    option("--decoder", metavar="X", help="Share of the decoder's parameters to keep. Default: all."),
]
Heal = Annotated[
    float | None,
    option("--heal", metavar="MINUTES", help="Train the layers to follow the dense model; kept only if it helps."),
]
Materialize = Annotated[
    bool, option("--materialize", help="Write dense weights for any runtime: not smaller and not faster.")
]
Report = Annotated[
    Path | None, option("--report", metavar="FILE.html", help="Write an HTML page: sizes, words, times, ranks.")
]
Test = Annotated[
    Path | None,
    option(
        "--test",
        verb="compress",
        metavar="MANIFEST",
        help="Compare WER with the dense model: clean, in noise, at 8 kHz.",
    ),
]
Seed = Annotated[int, option("--seed", verb="compress", metavar="N", help="Random seed of sampled labels and healing.")]


def compress(
    name: Name,
    calibration: Calibration,
    output: Output,
    preset: Preset = None,
    threshold: Threshold = None,
    budget: Budget = None,
    budget_latency: Latency = None,
    purpose: Purpose = "speed",
    compute_type: ComputeType = "auto",
    form: FormName = "auto",
    weighted: Weighted = True,
    include_padding: Padding = False,
    windows: Windows = 128,
    decoder: Decoder = None,
    heal: Heal = None,
    materialize: Materialize = False,
    test: Test = None,
    report: Report = None,
    seed: Seed = 0,
    offline: Offline = False,
) -> None:
    """Make a smaller, faster checkpoint: the encoder's linear layers as low-rank factors, at ranks chosen on audio.

    By default ranks fill a budget, with each direction weighted by its effect on the transcript; a preset or thresholds
    choose them as in LiteASR. A layer that would not be faster on this machine stays dense. Only audio is needed, no
    texts. The folder loads in Transformers and in Linnet.
    """
    from linnet.models.derived import check_output
    from linnet.models.resolve import resolve

    options = replace(
        _options(preset, threshold, budget, budget_latency),
        form=form,
        weighted=weighted,
        include_padding=include_padding,
        windows=windows,
        seed=seed,
    )
    parts = _parts(options, decoder, heal)
    check_output(output)
    if report is not None:
        check_place(report)
    spoken = [] if test is None else _spoken(test)
    ref = resolve(name, offline=offline)
    study = _study(ref, calibration, options)
    if (purpose == "speed" and not materialize) or options.latency is not None:
        parts = replace(parts, times=_times(study, ref, compute_type, options))
    made, healed = _made(study, options, parts)
    _write(study, made, healed, Files(ref, calibration, output, spoken, report, materialize), parts.times)


@dataclass(frozen=True)
class Parts:
    """What is asked for beyond the ranks: times that decide, the decoder's budget, healing."""

    times: LayerTimes | None
    decoder: CompressOptions | None
    heal: HealOptions | None


@dataclass(frozen=True)
class Files:
    """Input and output files."""

    source: ModelRef
    calibration: Path
    output: Path
    test: Sequence[Utterance]
    report: Path | None
    materialize: bool


def _options(preset: str | None, threshold: str | None, budget: float | None, latency: float | None) -> CompressOptions:
    """The options of a preset, thresholds or budget. Raises `OptionError` for more than one of them."""
    from linnet.compression.job import CompressOptions

    given = [told for told in (preset, threshold, budget, latency) if told is not None]
    if len(given) > 1:
        raise OptionError("give one of --preset, --threshold, --budget and --budget-latency: each chooses the ranks")
    if preset is not None:
        return CompressOptions.preset(preset)
    if threshold is not None:
        return CompressOptions(thresholds=_thresholds(threshold))
    if latency is not None:
        return CompressOptions(latency=latency)
    return CompressOptions(budget=0.7 if budget is None else budget)


def _parts(options: CompressOptions, decoder: float | None, heal: float | None) -> Parts:
    """What is asked for beyond the ranks of the encoder, without times. Raises `OptionError`, before all work."""
    from linnet.compression.heal import HealOptions
    from linnet.compression.job import CompressOptions

    lessons = None if heal is None else HealOptions(minutes=heal, seed=options.seed)
    if decoder is None:
        return Parts(None, None, lessons)
    settings = CompressOptions(budget=decoder, form=options.form, weighted=options.weighted, seed=options.seed)
    return Parts(None, settings, lessons)


def _spoken(manifest: Path) -> list[Utterance]:
    """The test utterances. Raises `OptionError` where they have no words."""
    from linnet.compression.judging import check_words
    from linnet.data.manifest import read_manifest

    found = list(read_manifest(manifest))
    check_words(found)
    return found


def _thresholds(text: str) -> tuple[float, float]:
    parts = text.split(":")
    try:
        shares = [float(part) for part in parts]
    except ValueError:
        shares = []
    if len(shares) not in (1, 2):
        raise OptionError(f"--threshold must be one or two shares of the variance, such as 0.99:0.999; got {text!r}")
    return shares[0], shares[-1]


def _study(ref: ModelRef, calibration: Path, options: CompressOptions) -> Study:
    from linnet.compression.job import Study, refuse_compressed
    from linnet.compression.subject import load_subject
    from linnet.compression.windows import read_audio
    from linnet.data.manifest import read_manifest

    utterances = read_manifest(calibration)
    subject = load_subject(ref)
    refuse_compressed(subject)
    audio = read_audio(subject, utterances, most=options.windows, skipped=notice)
    return Study(subject, audio, options, notice)


def _times(study: Study, ref: ModelRef, compute_type: str, options: CompressOptions) -> LayerTimes:
    from linnet.compression.engine_times import engine_times

    times = engine_times(ref, compute_type, study.frames, step=options.step)
    notice(f"timing layers on {times.where}, dense and low-rank: layers that are not faster stay dense")
    return times


def _made(study: Study, options: CompressOptions, parts: Parts) -> tuple[Compressed, Healed | None]:
    from linnet.compression.heal import heal
    from linnet.compression.job import Study, together
    from linnet.compression.job import compress as compress_model
    from linnet.compression.windows import Lessons

    made = compress_model(study, options, parts.times)
    notice(f"{len(made.layers)} of {len(made.reports)} layers are low-rank now: {made.share:.1%} of the encoder")
    if parts.decoder is not None:
        reader = Study(study.subject, study.audio, parts.decoder, notice, part="decoder")
        made = together(study, made, compress_model(reader, parts.decoder))
    if parts.heal is None:
        return made, None
    healed = heal(study.subject, made.layers, Lessons(study.audio), study.held_out, parts.heal, notify=notice)
    return replace(made, layers=healed.layers), healed


def _write(
    study: Study, made: Compressed, healed: Healed | None, files: Files, times: LayerTimes | None = None
) -> None:
    """Save the model, measure it, and report: on stdout, in the card, on the page."""
    from linnet.compression.page import write_page
    from linnet.compression.report import Account, card, figures

    command = shlex.join(["linnet", *sys.argv[1:]])
    account = Account(files.source.name, made, files.calibration.name, command, healed)
    if files.report is not None:
        account = _with_sizes(account, study, times)
    _save(study, made, files, card(account))
    account = _measured(account, files)
    if (account.judgments or account.times) and not files.materialize:
        write_atomic(files.output / "README.md", card(account))
    if files.report is not None:
        write_page(files.report, account)
    for key, value in [*figures(account), ("model", str(files.output))]:
        print(f"{key:<25} {value}")


def _with_sizes(account: Account, study: Study, times: LayerTimes | None) -> Account:
    """Add other sizes, the encoder's multiply-adds and its time in PyTorch to the account, for the page."""
    from linnet.compression.curve import multiply_adds, size_curve
    from linnet.compression.speed import time_layers

    made, example = account.made, study.audio.teaching[0]
    return replace(
        account,
        multiply_adds=multiply_adds(study, made, example),
        curve=size_curve(study, made.options, notify=notice, times=times),
        times=[time_layers(study.subject, made.layers, example)],
    )


def _measured(account: Account, files: Files) -> Account:
    """Add the requested word error rates and times, compared with the dense model, to the account."""
    from linnet.compression.judging import judge
    from linnet.compression.speed import time_encoders
    from linnet.models.checkpoint import weight_files
    from linnet.models.resolve import resolve

    pair = (files.source, resolve(str(files.output), offline=True))
    if files.test:
        account = replace(account, judgments=judge(pair, files.test, notify=notice))
    if files.report is None:
        return account
    sizes = [sum(path.stat().st_size for path in weight_files(ref.path)) for ref in pair]
    return replace(account, bytes=(sizes[0], sizes[1]), times=[*account.times, *time_encoders(pair, notify=notice)])


def _save(study: Study, made: Compressed, files: Files, text: str) -> None:
    from linnet.models.checkpoint import stored_dtype
    from linnet.models.device import choose_dtype
    from linnet.models.json_files import read_json
    from linnet.models.lowrank.layers import replace_layers
    from linnet.models.lowrank.saving import materialize as write_dense
    from linnet.models.lowrank.saving import save_low_rank

    model: Any = study.subject.model
    if not made.layers:
        if made.timed_on is not None:
            raise OptionError(
                f"every layer stays dense: at these ranks none is faster on {made.timed_on}, so there is nothing to "
                "save; give a smaller budget, or  --for size  for a smaller model that is no faster"
            )
        raise OptionError("every layer stays dense at these ranks, so nothing is saved: give a smaller budget")
    replace_layers(model, made.layers)
    source = files.source.path
    dtype = choose_dtype(stored_dtype(read_json(source / "config.json")), "cpu")[0]  # not larger than before
    if files.materialize:
        write_dense(model, files.output, source_folder=source, dtype=dtype)
    else:
        save_low_rank(model, source, files.output, card=text, dtype=dtype)
