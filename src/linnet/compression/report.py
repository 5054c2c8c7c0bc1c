"""Report a compression as figures and as the model card of the new folder; `page` makes an HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from linnet.compression.allocation import PRESETS
from linnet.compression.curve import Point
from linnet.compression.heal import Healed
from linnet.compression.job import Compressed, CompressOptions, LayerReport
from linnet.compression.judging import Judgment
from linnet.compression.speed import EncoderTime, products


@dataclass(frozen=True)
class Account:
    """A compression with its context: the model's name, the command, the calibration set.

    Missing measurements are empty: `judgments` on test recordings, `times` of the encoders, the `curve` of other sizes,
    `multiply_adds` of the encoder and `bytes` of the folder, dense and compressed.
    """

    model: str
    made: Compressed
    calibration: str
    command: str = ""
    healed: Healed | None = None
    judgments: Sequence[Judgment] = ()
    times: Sequence[EncoderTime] = ()
    curve: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    multiply_adds: tuple[int, int] | None = None
    bytes: tuple[int, int] | None = None

    @property
    def divergence(self) -> float:
        """The divergence of the saved model."""
        return self.made.divergence if self.healed is None else self.healed.divergence


def method(options: CompressOptions) -> str:
    """The method of choosing ranks, in words."""
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
    """Names and values, the most important first."""
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
    if made.timed_on is not None:
        told.insert(3, ("layers are timed", _layer_times(made)))
    if made.decoder is not None:
        whole, left = made.decoder
        told.insert(2, ("decoder", f"{left:,} of {whole:,} parameters but its embeddings ({left / whole:.1%})"))
    if made.skipped:
        told.append(("left out", ", ".join(f"{count} {why}" for why, count in made.skipped.items())))
    if account.healed is not None:
        told.append(("healed", _healing(account.healed)))
    told += [(f"WER, {one.condition}", _change(one)) for one in account.judgments]
    told += [
        (
            f"encoder, {one.compute_type}",
            f"{one.dense:.0f} ms a window dense, {one.compressed:.0f} now: {one.speedup:.2f} times",
        )
        for one in account.times
    ]
    return told


def _layer_times(made: Compressed) -> str:
    """The total times of layers, with the engine."""
    timed = [one.seconds for one in made.reports if one.seconds is not None]
    dense, now = (1000 * sum(pair[index] for pair in timed) for index in (0, 1))
    return f"on {made.timed_on}: {dense:.1f} ms dense, {now:.1f} now; what is not faster stays dense"


def _milliseconds(one: LayerReport) -> str:
    """The table cells of a layer's times, if timed."""
    if one.seconds is None:
        return ""
    dense, now = (f"{1000 * value:.2f}" for value in one.seconds)
    return f" {dense} | {now if one.rank is not None else ''} |"


def _change(one: Judgment) -> str:
    """Both error rates, and the paired interval of their difference."""
    text = f"{one.rates[1]:.2%}, dense {one.rates[0]:.2%}, on {one.utterances} utterances of {one.words:,} words"
    if one.difference is None:
        return text
    return f"{text}; difference {100 * one.difference.low:+.2f} to {100 * one.difference.high:+.2f} points (95%)"


def _healing(healed: Healed) -> str:
    course = f"{healed.before:.4f} to {min(healed.course):.4f} nats in {healed.steps} steps"
    return course if healed.kept else f"{course}: no better, so it was not kept"


def card(account: Account) -> str:
    """The README.md of the new folder, with the base model in its front matter."""
    rows = "\n".join(f"| {name} | {value} |" for name, value in figures(account))
    layers = "\n".join(
        f"| {one.name} | {one.inputs} x {one.outputs} | {one.rank or 'dense'} | {one.form or ''} |{_milliseconds(one)}"
        for one in account.made.reports
    )
    timed = account.made.timed_on is not None
    head, rule = (" dense, ms | low-rank, ms |", "---|---|") if timed else ("", "")
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
no word error rate. Measure that on speech of your own kind, by `--test` or `linnet evaluate compare`.

`AutoModelForSpeechSeq2Seq.from_pretrained` (or `AutoModelForCTC`) loads this folder after `import linnet`, and with
`trust_remote_code=True` without Linnet.

| layer | size | rank | form |{head}
|---|---|---|---|{rule}
{layers}
"""
