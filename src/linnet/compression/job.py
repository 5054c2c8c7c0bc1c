"""Compressing a model: measure, choose ranks, make factors, put them in, and say what it cost."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import Any, Literal

from torch import Tensor, nn

from linnet.compression.allocation import PRESETS, STEP, Ranks, check_thresholds
from linnet.compression.calibration import Measured, measure
from linnet.compression.factors import Analysis, analyze
from linnet.compression.fisher import fisher
from linnet.compression.heldout import MOST as HELD_OUT
from linnet.compression.heldout import HeldOut
from linnet.compression.latency import LayerTimes
from linnet.compression.ranks import choose_ranks
from linnet.compression.sites import Site, dense_of, find_sites
from linnet.compression.subject import Example, Subject
from linnet.compression.windows import Audio
from linnet.errors import ModelError, OptionError
from linnet.models.lowrank.layers import Form, PairLinear, PivotLinear, is_low_rank, low_rank_layer, replace_layers
from linnet.notices import Notify, ignore

Part = Literal["encoder", "decoder"]
LowRank = PairLinear | PivotLinear
MOST_FRAMES = 1500  # that layers are timed on
_STATE = ("sites", "measured", "fisher", "held_out")
_POSITIONS = "embed_positions"  # a fixed table of sinusoids in Whisper's encoder, which the published sizes leave out


@dataclass(frozen=True)
class CompressOptions:
    """How to compress: `thresholds` of (attention, MLP) as LiteASR has them, or a share of what the encoder is.

    That is a `budget` of its parameters, or `latency`, of the time that its linear layers take on this machine.

    `form` auto is `pair` for thresholds, LiteASR's own, and `pivot` for a budget: engines compute a pivot layer as a
    pair where that is faster, so that it is never slower and always smaller. `weighted` factors keep what matters
    to the transcript, others the most variance. At most `windows` of audio are read, the first `fisher_windows` of
    those that teach are differentiated.
    """

    thresholds: tuple[float, float] | None = None
    budget: float | None = None
    latency: float | None = None
    form: Form | Literal["auto"] = "auto"
    weighted: bool = True
    include_padding: bool = False
    step: int = STEP
    windows: int = 128
    fisher_windows: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if sum(one is not None for one in (self.thresholds, self.budget, self.latency)) != 1:
            raise OptionError("compressing takes either thresholds (or a preset of them) or a budget")
        for share, what in ((self.budget, "parameters"), (self.latency, "time")):
            if share is not None and not 0.0 < share < 1.0:
                raise OptionError(f"the budget is a share of the {what}, between 0 and 1; got {share:g}")
        check_thresholds(*(self.thresholds or ()))

    @classmethod
    def preset(cls, name: str) -> CompressOptions:
        """LiteASR's own settings: acc, balanced or fast. Raises `OptionError` for another name."""
        if name not in PRESETS:
            raise OptionError(f"preset {name!r} is unknown: use {', '.join(PRESETS)}")
        return cls(thresholds=PRESETS[name])

    @property
    def chosen_form(self) -> Form:
        """The form that `auto` stands for."""
        if self.form != "auto":
            return self.form
        return "pair" if self.thresholds is not None else "pivot"


@dataclass(frozen=True)
class LayerReport:
    """What became of a layer. `rank` None is dense; `left_out` is the share of its energy that is lost.

    `seconds` are those of the dense layer and of the one that it became, where layers were timed.
    """

    name: str
    inputs: int
    outputs: int
    rank: int | None
    form: Form | None
    left_out: float
    spectrum: tuple[float, ...]  # the share of the energy that ranks 0, 16, 32, ... leave out
    seconds: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Compressed:
    """The layers to put into the model, and what they cost.

    Parameters are those of the encoder, without a table of positions; `decoder` those of the decoder without its
    embeddings, where it is compressed too, before and after. `divergence` is the mean KL in nats of a
    prediction on windows held out; `places` predictions were compared. `timed_on` is the engine that layers were timed
    on, where they were: none is then slower than dense.
    """

    layers: Mapping[str, nn.Module]
    reports: Sequence[LayerReport]
    parameters: tuple[int, int]
    divergence: float
    places: int
    options: CompressOptions
    audio_seconds: float
    windows: int
    skipped: Mapping[str, int] = field(default_factory=dict)
    decoder: tuple[int, int] | None = None
    timed_on: str | None = None

    @property
    def share(self) -> float:
        """Of the encoder's parameters, what is left."""
        return self.parameters[1] / self.parameters[0]


class Study:
    """What was measured of a model, to make any number of compressed ones from. Its model stays as it is."""

    def __init__(
        self,
        subject: Subject,
        audio: Audio,
        options: CompressOptions,
        notify: Notify | None = None,
        *,
        part: Part = "encoder",
        state: Mapping[str, Any] | None = None,
    ) -> None:
        """Measure all layers of one part of the model, or take the `state` of another study of the same.

        The decoder is measured while it reads the model's own transcripts.

        Raises `OptionError` (too little audio), `ModelError` (nothing to do, or compressed already).
        """
        self._say = notify or ignore
        self.subject, self.audio, self.part = subject, audio, part
        self._options = options
        self._analyses: dict[tuple[bool, bool], dict[str, Analysis]] = {}
        refuse_compressed(subject)
        self.sites: list[Site]
        self.measured: dict[str, Measured]
        if state is not None:
            self.sites, self.measured, self.fisher, held_out = (state[key] for key in _STATE)
            self.held_out = HeldOut(subject, held_out)
            return
        decoding = part == "decoder"
        self.sites = find_sites(subject, subject.transcribed(audio.teaching[0]), part)
        self._say(f"measuring {len(self.sites)} layers of the {part} on {len(audio.teaching)} windows")
        self.measured = measure(
            subject,
            self._transcribed(len(audio.teaching)) if decoding else audio.teaching,
            self.sites,
            include_padding=options.include_padding,
            run=subject.logits if decoding else self._heard(),
        )
        self.held_out = HeldOut(subject, [subject.transcribed(one) for one in islice(audio.held_out, HELD_OUT)])

    def state(self) -> dict[str, Any]:
        """All that was measured, to begin another study with."""
        return dict(zip(_STATE, (self.sites, self.measured, self.fisher, self.held_out.examples), strict=True))

    def _heard(self) -> Callable[[Example], None]:
        """A pass of one example after the other through the encoder, with transcripts where they will be needed."""
        count = self._options.fisher_windows if self._options.thresholds is None else 0
        places = itertools.count()

        def hear(example: Example) -> None:
            if (index := next(places)) < count and self.subject.decoder is not None:
                self.audio.transcripts[index] = self.subject.transcribed(example).tokens
            else:
                self.subject.encode(example)

        return hear

    def _transcribed(self, count: int) -> Iterator[Example]:
        """The first windows with their transcripts, which are all made now: whoever measures must not see that."""
        for index, one in enumerate(islice(self.audio.teaching, count)):
            if index not in self.audio.transcripts:
                self.audio.transcripts[index] = self.subject.transcribed(one).tokens
        first = enumerate(islice(self.audio.teaching, count))
        return (replace(one, tokens=self.audio.transcripts[index]) for index, one in first)

    @cached_property
    def fisher(self) -> dict[str, Tensor]:
        """The Fisher information of each layer's outputs, measured when it is first asked for."""
        count = min(self._options.fisher_windows, len(self.audio.teaching))
        self._say(f"differentiating the transcripts of {count} windows by the outputs of the {self.part}'s layers")
        examples = self._transcribed(count)
        return fisher(
            self.subject,
            examples,
            self.sites,
            seed=self._options.seed,
            include_padding=self._options.include_padding,
        )

    def analyses(self, *, priced: bool, weighted: bool) -> dict[str, Analysis]:
        """The principal directions of each layer: of the variance, priced by the Fisher or not, or weighted by it."""
        kind = (priced or weighted, weighted)
        if kind not in self._analyses:
            made = {}
            most = max(found.count for found in self.measured.values())
            for site in self.sites:
                layer, found = dense_of(self.subject, site), self.measured[site.name]
                # the Fisher is of one row: a decoder's cross-attention keys have one for each frame, not for each token
                cost = self.fisher[site.name] * (found.count / most) if kind[0] else None
                made[site.name] = analyze(layer, found, cost, weighted=weighted)
            self._analyses = {kind: made}  # one kind is kept: they are as large as the model, in float64
        return self._analyses[kind]

    @property
    def parameters(self) -> int:
        """Those of the dense encoder, without a table of positions; of the decoder, without any embeddings."""
        module = self.subject.encoder if self.part == "encoder" else self.subject.decoder
        named = [] if module is None else module.named_parameters()
        tables = (_POSITIONS,) if self.part == "encoder" else (_POSITIONS, "embed_tokens")
        return sum(value.numel() for name, value in named if not any(table in name for table in tables))

    @property
    def frames(self) -> int:
        """Those of a window, that layers are to be timed on."""
        most = self.audio.teaching[0].positions or max(one.count for one in self.measured.values())
        return min(most, MOST_FRAMES)

    def added_biases(self, sites: Iterable[Site]) -> int:
        """Parameters that factored layers have and dense ones have not: the bias that folds what is left out."""
        return sum(site.outputs for site in sites if dense_of(self.subject, site).bias is None)


def compress(study: Study, options: CompressOptions, times: LayerTimes | None = None) -> Compressed:
    """Choose ranks, make the layers, and measure what they cost. The study's model is left dense: `put_in` changes it.

    With `times` a layer is factored only where that is faster by them; a budget of time takes them. Raises
    `OptionError` for a budget that cannot be met.
    """
    by_budget = options.thresholds is None
    analyses = study.analyses(priced=by_budget, weighted=by_budget and options.weighted)
    ranks = choose_ranks(study, analyses, options, times)
    return build(study, analyses, ranks, options, times)


def build(
    study: Study,
    analyses: Mapping[str, Analysis],
    ranks: Ranks,
    options: CompressOptions,
    times: LayerTimes | None = None,
) -> Compressed:
    """The layers of these ranks, judged on the windows held out."""
    layers, reports, added = {}, [], 0
    for site in study.sites:
        dense, layer = dense_of(study.subject, site), _factored(site, analyses[site.name], ranks, options, times)
        if layer is not None:
            layers[site.name] = layer.to(dense.weight.dtype)
            added += _parameters(layer) - _parameters(dense)
        reports.append(_report(site, analyses[site.name], layer, times))
    with put_in(study.subject, layers):
        divergence = study.held_out.divergence()
    whole = study.parameters
    return Compressed(
        layers=layers,
        reports=reports,
        parameters=(whole, whole + added),
        divergence=divergence,
        places=study.held_out.places,
        options=options,
        audio_seconds=study.audio.seconds,
        windows=len(study.audio.teaching) + len(study.audio.held_out),
        skipped=dict(study.audio.skipped),
        timed_on=None if times is None else times.where,
    )


def _factored(
    site: Site, analysis: Analysis, ranks: Ranks, options: CompressOptions, times: LayerTimes | None
) -> LowRank | None:
    """The layer of the rank that was chosen; None where it stays dense."""
    rank = ranks[site.name]
    if rank is None:
        return None
    layer = low_rank_layer(analysis.factors(rank), options.chosen_form)
    fallen = layer.form != options.chosen_form  # a pair where pivots would be ill-conditioned, which may take longer
    return None if times is not None and fallen and not times.is_faster(site, rank, layer.form) else layer


def together(study: Study, encoder: Compressed, decoder: Compressed) -> Compressed:
    """Both parts of one model as one, judged together. `study` is the encoder's."""
    layers = {**encoder.layers, **decoder.layers}
    with put_in(study.subject, layers):
        divergence = study.held_out.divergence()
    reports = [*encoder.reports, *decoder.reports]
    return replace(encoder, layers=layers, reports=reports, divergence=divergence, decoder=decoder.parameters)


@contextmanager
def put_in(subject: Subject, layers: Mapping[str, nn.Module]) -> Iterator[None]:
    """The model with these layers for the length of the block; its own are put back afterward."""
    dense = {name: subject.model.get_submodule(name) for name in layers}
    replace_layers(subject.model, layers)
    try:
        yield
    finally:
        replace_layers(subject.model, dense)


def refuse_compressed(subject: Subject) -> None:
    """Raise `ModelError` for a model that has low-rank layers already."""
    if is_low_rank(subject.model):
        raise ModelError(
            f"{subject.name} is compressed already: compress the model that it was made from, to another budget"
        )


def _parameters(layer: nn.Module) -> int:
    return sum(value.numel() for value in layer.parameters())


def _report(site: Site, analysis: Analysis, layer: LowRank | None, times: LayerTimes | None) -> LayerReport:
    left = [analysis.share_left(kept) for kept in range(0, len(analysis.energies), STEP)]
    seconds = None
    if times is not None:
        dense = times.dense(site)
        seconds = dense, dense if layer is None else times.seconds(site, layer.rank, layer.form)
    return LayerReport(
        name=site.name,
        inputs=site.inputs,
        outputs=site.outputs,
        rank=None if layer is None else layer.rank,
        form=None if layer is None else layer.form,
        left_out=0.0 if layer is None else analysis.share_left(layer.rank),
        spectrum=tuple(round(share, 9) for share in left),
        seconds=seconds,
    )
