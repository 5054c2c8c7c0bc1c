"""What a compression did, for people: the model card of the new folder, and one HTML page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from linnet.compression.allocation import PRESETS, STEP
from linnet.compression.heal import Healed
from linnet.compression.job import Compressed, CompressOptions, LayerReport
from linnet.compression.speed import products
from linnet.files import write_atomic
from linnet.pages.charts import LineChart, line_chart
from linnet.pages.page import render_page


@dataclass(frozen=True)
class Account:
    """A compression with what belongs beside it: the model's name, the command, what it was calibrated on.

    `seconds` of encoding a window, dense and compressed, where they were measured; `curve` the Pareto curve, shares of
    the encoder's parameters with the divergence at each.
    """

    model: str
    made: Compressed
    calibration: str
    command: str = ""
    healed: Healed | None = None
    seconds: tuple[float, float] | None = None
    curve: Sequence[tuple[float, float]] = ()

    @property
    def divergence(self) -> float:
        """Of the model that is saved."""
        return self.made.divergence if self.healed is None else self.healed.divergence


def method(options: CompressOptions) -> str:
    """How ranks were chosen, in words."""
    if options.thresholds is not None:
        preset = next((name for name, pair in PRESETS.items() if pair == options.thresholds), None)
        shares = "attention {:g}, MLP {:g} of the variance".format(*options.thresholds)
        return f"LiteASR's rule{f', preset {preset}' if preset else ''}: {shares}"
    if options.latency is not None:
        kind = "weighted by" if options.weighted else "of the variance, priced by"
        return f"{options.latency:g} of the time of these layers; directions {kind} the Fisher information"
    kind = "weighted by" if options.weighted else "of the variance, priced by"
    return f"a budget of {options.budget:g} of the encoder; directions {kind} the Fisher information"


def figures(account: Account) -> list[tuple[str, str]]:
    """Names and values: what matters most, in order."""
    made = account.made
    dense, now = products(made.reports)
    told = [
        ("ranks by", method(made.options)),
        ("encoder", f"{made.parameters[1]:,} of {made.parameters[0]:,} parameters ({made.share:.1%})"),
        ("layers", f"{len(made.layers)} of {len(made.reports)} low-rank"),
        ("products", f"{now:,} of {dense:,} multiply-adds of these layers for a frame ({now / dense:.1%})"),
        ("divergence", f"{account.divergence:.4f} nats a prediction, from {made.places} held out"),
        ("calibrated", f"on {made.windows} windows, {made.audio_seconds:.0f} s of {account.calibration}"),
    ]
    if made.decoder is not None:
        whole, left = made.decoder
        told.insert(2, ("decoder", f"{left:,} of {whole:,} parameters but its embeddings ({left / whole:.1%})"))
    if made.skipped:
        told.append(("left out", ", ".join(f"{count} {why}" for why, count in made.skipped.items())))
    if account.healed is not None:
        told.append(("healed", _healing(account.healed)))
    if account.seconds is not None:
        before, after = account.seconds
        told.append(
            ("a window", f"{1000 * before:.0f} ms dense, {1000 * after:.0f} ms now ({before / after:.2f} times)")
        )
    return told


def _healing(healed: Healed) -> str:
    course = f"{healed.before:.4f} to {min(healed.course):.4f} nats in {healed.steps} steps"
    return course if healed.kept else f"{course}: no better, so it was not kept"


def card(account: Account) -> str:
    """The README.md of the new folder, with the base model in its front matter."""
    rows = "\n".join(f"| {name} | {value} |" for name, value in figures(account))
    layers = "\n".join(
        f"| {one.name} | {one.inputs} x {one.outputs} | {one.rank or 'dense'} | {one.form or ''} |"
        for one in account.made.reports
    )
    command = f"\nMade by `{account.command}`.\n" if account.command else ""
    return f"""---
base_model: {account.model}
pipeline_tag: automatic-speech-recognition
tags: [speech, low-rank, linnet]
---

# {account.model}, compressed

The linear layers of the encoder are products of two thin ones, at ranks chosen on speech without transcripts.
{command}
| | |
|---|---|
{rows}

The divergence is the mean KL of the dense model's predictions from these, on windows that nothing was fitted to; it is
no word error rate. Measure that on speech of your own kind: `linnet evaluate compare`.

`AutoModelForSpeechSeq2Seq.from_pretrained` (or `AutoModelForCTC`) loads this folder after `import linnet`, and with
`trust_remote_code=True` without Linnet.

| layer | size | rank | form |
|---|---|---|---|
{layers}
"""


def write_page(path: str | os.PathLike[str], account: Account) -> None:
    """Write the page whole or not at all. Raises `OutputError` where it cannot be written."""
    values = {
        "title": f"{account.model}, compressed",
        "figures": figures(account),
        "layers": account.made.reports,
        "spectra": spectra(account.made.reports),
        "curve": _curve(account),
        "step": STEP,
    }
    write_atomic(path, render_page("linnet.compression", "compress", values))


def spectra(reports: Sequence[LayerReport]) -> list[LineChart]:
    """For each kind of layer the share of the energy that each rank leaves out, a line for each layer."""
    kinds = dict.fromkeys(one.name.rpartition(".")[2] for one in reports)
    charts = []
    for kind in kinds:
        lines = {}
        for one in reports:
            if one.name.rpartition(".")[2] == kind:
                lines[one.name] = [(float(index * STEP), share) for index, share in enumerate(one.spectrum)]
        charts.append(line_chart(kind, lines, label_x="rank", label_y="share of the energy left out"))
    return charts


def _curve(account: Account) -> LineChart | None:
    if not account.curve:
        return None
    return line_chart(
        "Budgets",
        {"divergence": list(account.curve)},
        label_x="share of the encoder's parameters",
        label_y="nats a prediction",
    )
