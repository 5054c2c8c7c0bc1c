"""`linnet bench`: the speed of a model on this machine, and its fastest options."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.cli import options as shared
from linnet.cli.console import notice, plain_console, print_result, shown, traced
from linnet.cli.options import option
from linnet.errors import LinnetError, OptionError
from linnet.machine import hardware, usable_cores, versions

if TYPE_CHECKING:
    from linnet.evaluation.speed import Bench, Setting, Speed, Workload
    from linnet.models.resolve import ModelRef

Recording = Annotated[
    str | None,
    typer.Argument(
        metavar="[RECORDING]",
        help="A file or URL that is transcribed as `linnet transcribe` would. Without it, synthetic audio of at "
        "least 8 windows, with as many tokens as fast speech has.",
    ),
]
Engines = Annotated[
    str,
    option("--engine", verb="bench", metavar="NAME,...", help="Engines to measure: torch, openvino, or auto for both."),
]
Types = Annotated[
    str,
    option(
        "--compute-type",
        verb="bench",
        metavar="NAME,...",
        help="Precisions to measure: f32, bf16, float16, int8, w8a8; auto is f32, bf16 and int8.",
    ),
]
Sizes = Annotated[
    str, option("--batch-size", verb="bench", metavar="N,...", help="Batch sizes to measure, in windows.")
]
Seconds = Annotated[float, option("--seconds", metavar="X", min=1.0, help="Seconds of audio to transcribe.")]
Limit = Annotated[
    float,
    option("--time-limit", metavar="X", min=1.0, help="Maximum seconds per setting, excluding model loading."),
]
Format = Annotated[str, option("--format", verb="bench", metavar="NAME", help="Output format: table or json.")]


def bench(
    recording: Recording = None,
    model: shared.Model = None,
    engine: Engines = "auto",
    compute_type: Types = "auto",
    batch_size: Sizes = "1,8",
    threads: shared.Threads = None,
    device: shared.Device = "auto",
    seconds: Seconds = 240.0,
    time_limit: Limit = 120.0,
    language: shared.Language = None,
    format: Format = "table",
    offline: shared.Offline = False,
    verbose: shared.Verbose = False,
) -> None:
    """Measure this machine: RTFx (seconds of audio per second of work) by engine, compute type and batch size.

    Each setting runs in its own process, after warm-up, and the median of several passes counts. Settings that are not
    available or take too long are listed with the reason. The exit status is 1 if none could be measured.
    """
    from linnet.evaluation.speed import Bench, fastest, settings

    with traced(verbose):
        if format not in ("table", "json"):
            raise OptionError(f"format {format!r} is unknown: use table or json")
        chosen = settings(_names(engine), _names(compute_type), _sizes(batch_size))
        ref = _find(model, device, offline=offline)
        workload = _workload(recording, ref, seconds, largest=max(one.batch_size for one in chosen))
        runner = Bench(str(ref.path), workload, device, threads, offline, language, time_limit)
        speeds = _measure(runner, chosen)
        if format == "json":
            print_result(json.dumps(_document(ref, runner, speeds), ensure_ascii=False, indent=2) + "\n")
        else:
            _print(ref, runner, speeds)
        if fastest(speeds) is None:
            raise LinnetError(f"no setting of {ref.name} could be measured: {speeds[0].setting}: {speeds[0].reason}")


def _names(text: str) -> list[str]:
    found = [part.strip() for part in text.split(",") if part.strip()]
    return found or ["auto"]


def _sizes(text: str) -> list[int]:
    try:
        return [int(part) for part in _names(text)]
    except ValueError:
        raise OptionError(f"batch size must be a number, or several separated by commas, got {text!r}") from None


def _find(model: str | None, device: str, *, offline: bool) -> ModelRef:
    """The model, downloaded if necessary, so that no setting waits for the network."""
    from linnet.models.default import resolve_default
    from linnet.models.device import choose_device
    from linnet.models.resolve import resolve

    if model is not None:
        return resolve(model, offline=offline, notify=notice)
    return resolve_default(choose_device(device)[0].startswith("cuda"), offline=offline, notify=notice)


def _workload(recording: str | None, ref: ModelRef, seconds: float, *, largest: int) -> Workload:
    from linnet.evaluation.speed import recorded, synthetic

    if recording is None:
        return synthetic(ref, seconds, windows=largest)
    return recorded(recording, seconds)


def _measure(runner: Bench, chosen: Sequence[Setting]) -> list[Speed]:
    """Measure all settings, showing the current one on a terminal."""
    speeds: list[Speed] = []
    console = plain_console()
    with console.status("") as status:
        measuring = runner.measure(chosen)
        for number, setting in enumerate(chosen, 1):
            status.update(f"{number} of {len(chosen)}: {setting}")
            speeds.append(next(measuring))
    return speeds


def _machine(device: str) -> str:
    from linnet.models.device import choose_device

    return hardware(choose_device(device)[0])


def _options(runner: Bench, speed: Speed) -> str:
    """The options for `linnet transcribe`."""
    return speed.setting.options + ("" if runner.threads is None else f" --threads {runner.threads}")


def _document(ref: ModelRef, runner: Bench, speeds: Sequence[Speed]) -> dict[str, Any]:
    from linnet.evaluation.speed import fastest

    best = fastest(speeds)
    work = runner.workload
    return {
        "model": ref.name,
        "revision": ref.revision,
        "machine": _machine(runner.device),
        "threads": runner.threads or usable_cores(),
        "audio": {"name": work.name, "seconds": round(work.seconds, 3), "tokens_of_each_window": work.tokens},
        "settings": [speed.to_dict() for speed in speeds],
        "fastest": None if best is None else {"options": _options(runner, best), "rtfx": best.rtfx},
        "versions": versions("linnet", "torch", "transformers"),
    }


def _print(ref: ModelRef, runner: Bench, speeds: Sequence[Speed]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from linnet.evaluation.speed import fastest

    table = Table(box=None, pad_edge=False)
    for name in ("engine", "compute type"):
        table.add_column(name)
    for name in ("batch", "RTFx", "load (s)", "memory (MB)"):
        table.add_column(name, justify="right")
    table.add_column("", overflow="fold")
    best = fastest(speeds)
    for speed in sorted(speeds, key=lambda one: -(one.rtfx or 0.0)):
        setting = speed.setting
        cells = (setting.engine, setting.compute_type, str(setting.batch_size), *_numbers(speed), Text(_note(speed)))
        table.add_row(*cells, style="bold" if speed is best else "dim" if speed.reason else None)
    console = Console(file=sys.stdout)
    console = console if console.is_terminal else Console(file=sys.stdout, width=400)
    threads = runner.threads or usable_cores()
    head = f"{ref.name} on {_machine(runner.device)}, {threads} threads: {runner.workload.description}"
    console.print(shown(head), markup=False, highlight=False, soft_wrap=True)
    console.print(table)
    if best is not None:
        line = f"fastest: {_options(runner, best)} (RTFx {best.rtfx:.1f})"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _numbers(speed: Speed) -> tuple[str, str, str]:
    timing = speed.timing
    if timing is None:
        return "", "", ""
    memory = "" if timing.peak_mb is None else f"{timing.peak_mb:.0f}"
    return f"{timing.rtfx:.1f}", f"{timing.load_seconds:.1f}", memory


def _note(speed: Speed) -> str:
    """The reason for missing numbers, or a note on them."""
    if speed.timing is None:
        return speed.reason or ""
    return "; ".join(said for said in speed.timing.notices if said.startswith("compute type:"))
