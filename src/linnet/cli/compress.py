"""`linnet compress`: a smaller and faster checkpoint of a model."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from linnet.cli.console import notice
from linnet.cli.options import Offline, option
from linnet.errors import OptionError

if TYPE_CHECKING:
    from linnet.compression.heal import Healed
    from linnet.compression.job import Compressed, CompressOptions, Study
    from linnet.models.resolve import ModelRef

CURVE = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)  # budgets of the report's curve

Name = Annotated[str, typer.Argument(metavar="MODEL", help="A folder, a short Whisper name (small) or a Hub id.")]
Calibration = Annotated[
    Path,
    typer.Option(
        "--calibration", metavar="MANIFEST", help="JSON lines with the key audio: speech, no texts needed, 100 clips."
    ),
]
Output = Annotated[Path, typer.Option("--output", metavar="FOLDER", help="A new folder for the model.")]
Preset = Annotated[
    str | None, option("--preset", verb="compress", metavar="NAME", help="LiteASR's own ranks: acc, balanced or fast.")
]
Threshold = Annotated[
    str | None,
    option("--threshold", metavar="A[:M]", help="LiteASR's rule: shares of the variance to keep, attention and MLP."),
]
Budget = Annotated[
    float | None,
    option("--budget", metavar="X", help="Share of the encoder's parameters to keep, such as 0.6. By default 0.7."),
]
Latency = Annotated[
    float | None,
    option("--budget-latency", metavar="X", help="Share of the time that the encoder's layers take on this machine."),
]
FormName = Annotated[
    Literal["auto", "pair", "pivot"],
    option("--form", help="Two thin layers, or some outputs and the others from those. auto: pivot for a budget."),
]
Weighted = Annotated[
    bool, option("--weighted/--unweighted", help="Keep what matters to the transcript, or the most variance.")
]
Padding = Annotated[bool, option("--include-padding", help="Calibrate on the silence that pads a window, too.")]
Windows = Annotated[int, option("--windows", verb="compress", metavar="N", min=10, help="Most windows to read.")]
Decoder = Annotated[
    float | None, option("--decoder", metavar="X", help="Also the decoder: share of its layers' parameters to keep.")
]
Heal = Annotated[
    float | None,
    option("--heal", metavar="MINUTES", help="Let the layers learn from the dense model; kept where it helps."),
]
Materialize = Annotated[
    bool, option("--materialize", help="Write dense weights: any runtime loads them, no smaller and no faster.")
]
Report = Annotated[Path | None, option("--report", metavar="FILE", help="Also write an HTML page.")]
Seed = Annotated[int, option("--seed", verb="compress", metavar="N", help="Of drawn labels and of healing.")]


def compress(
    name: Name,
    calibration: Calibration,
    output: Output,
    preset: Preset = None,
    threshold: Threshold = None,
    budget: Budget = None,
    budget_latency: Latency = None,
    form: FormName = "auto",
    weighted: Weighted = True,
    include_padding: Padding = False,
    windows: Windows = 128,
    decoder: Decoder = None,
    heal: Heal = None,
    materialize: Materialize = False,
    report: Report = None,
    seed: Seed = 0,
    offline: Offline = False,
) -> None:
    """Make a smaller, faster checkpoint: the encoder's linear layers as low-rank factors, at ranks chosen on audio.

    By default ranks fill a budget, each direction priced by what losing it costs the transcript; a preset or thresholds
    choose them as LiteASR does. Only sound is needed. The folder loads as a model of Transformers, and in Linnet.
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
    check_output(output)
    ref = resolve(name, offline=offline)
    study = _study(ref, calibration, options)
    made, healed = _made(study, options, decoder, heal)
    _write(study, ref, made, healed, output, calibration, materialize=materialize, report=report)


def _options(preset: str | None, threshold: str | None, budget: float | None, latency: float | None) -> CompressOptions:
    """The one of these that was given. Raises `OptionError` for more than one."""
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


def _thresholds(text: str) -> tuple[float, float]:
    parts = text.split(":")
    try:
        shares = [float(part) for part in parts]
    except ValueError:
        shares = []
    if len(shares) not in (1, 2):
        raise OptionError(f"--threshold is one share of the variance or two, such as 0.99:0.999; got {text!r}")
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


def _made(
    study: Study, options: CompressOptions, decoder: float | None, minutes: float | None
) -> tuple[Compressed, Healed | None]:
    from linnet.compression.heal import HealOptions, heal
    from linnet.compression.job import CompressOptions, Study, together
    from linnet.compression.job import compress as compress_model

    made = compress_model(study, options)
    notice(f"{len(made.layers)} of {len(made.reports)} layers are low-rank now: {made.share:.1%} of the encoder")
    if decoder is not None:
        settings = CompressOptions(budget=decoder, form=options.form, weighted=options.weighted, seed=options.seed)
        reader = Study(study.subject, study.audio, settings, notice, part="decoder")
        made = together(study, made, compress_model(reader, settings))
    if minutes is None:
        return made, None
    lessons = HealOptions(minutes=minutes, seed=options.seed)
    healed = heal(study.subject, made.layers, study.audio.teaching, study.held_out, lessons, notify=notice)
    return replace(made, layers=healed.layers), healed


def _write(
    study: Study,
    ref: ModelRef,
    made: Compressed,
    healed: Healed | None,
    output: Path,
    calibration: Path,
    *,
    materialize: bool,
    report: Path | None,
) -> None:
    from linnet.compression.report import Account, card, figures, write_page

    seconds, curve = _measured(study, made) if report is not None else (None, ())
    command = shlex.join(["linnet", *sys.argv[1:]])
    account = Account(ref.name, made, calibration.name, command, healed, seconds, curve)
    _save(study, ref.path, made, output, card(account), materialize=materialize)
    if report is not None:
        write_page(report, account)
    for key, value in [*figures(account), ("model", str(output))]:
        print(f"{key:<12}{value}")


def _measured(study: Study, made: Compressed) -> tuple[tuple[float, float], list[tuple[float, float]]]:
    """What the page shows beside the result: the time of a window, and the divergence of other budgets."""
    from linnet.compression.job import CompressOptions
    from linnet.compression.job import compress as compress_model
    from linnet.compression.speed import encoder_seconds

    notice("measuring other budgets, and the time of a window, for the report")
    seconds = encoder_seconds(study.subject, made.layers, study.audio.teaching[0])
    curve = []
    for budget in CURVE:
        try:
            other = compress_model(study, replace(CompressOptions(budget=budget), form=made.options.form))
        except OptionError:  # below the least that this model can be made of: the curve ends here
            break
        curve.append((other.share, other.divergence))
    return seconds, curve


def _save(study: Study, source: Path, made: Compressed, output: Path, text: str, *, materialize: bool) -> None:
    from linnet.models.lowrank.layers import replace_layers
    from linnet.models.lowrank.saving import materialize as write_dense
    from linnet.models.lowrank.saving import save_low_rank

    model: Any = study.subject.model
    if not made.layers:
        raise OptionError("every layer stays dense at these ranks, so there is nothing to save: give a smaller budget")
    replace_layers(model, made.layers)
    if materialize:
        write_dense(model, output, source_folder=source)
    else:
        save_low_rank(model, source, output, card=text)
