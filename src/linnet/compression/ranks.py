"""The rank of each layer of a study: by shares of variance, or by a budget of parameters or of time.

With the times of layers only ranks count at which a layer is faster than dense: what stays dense thereby is paid for by
the others, within the same budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from linnet.compression.allocation import Choice, Ranks, allocate, by_threshold, choices_of, least_cost
from linnet.compression.factors import Analysis
from linnet.compression.latency import LayerTimes
from linnet.compression.sites import Site
from linnet.errors import OptionError

if TYPE_CHECKING:
    from linnet.compression.job import CompressOptions, Study

_ROUNDS = 8  # of choosing, and timing what was chosen


def choose_ranks(
    study: Study, analyses: Mapping[str, Analysis], options: CompressOptions, times: LayerTimes | None = None
) -> Ranks:
    """The rank of each layer, None for dense; with `times` no layer that is not faster than dense by them.

    Raises `OptionError` for a budget that cannot be met.
    """
    if times is None:
        return _chosen(study, analyses, options, None)
    for _ in range(_ROUNDS):
        ranks = _chosen(study, analyses, options, times)
        form = options.chosen_form
        if not times.settle((site, rank, form) for site in study.sites if (rank := ranks[site.name]) is not None):
            break
    return _faster(study, ranks, options, times)


def _faster(study: Study, ranks: Ranks, options: CompressOptions, times: LayerTimes) -> Ranks:
    """These ranks where they are faster than dense."""
    kept: Ranks = {}
    for site in study.sites:
        rank = ranks[site.name]
        kept[site.name] = rank if rank is not None and times.is_faster(site, rank, options.chosen_form) else None
    return kept


def _chosen(
    study: Study, analyses: Mapping[str, Analysis], options: CompressOptions, times: LayerTimes | None
) -> Ranks:
    if options.thresholds is not None:
        return by_threshold(study.sites, analyses, *options.thresholds, step=options.step)
    if options.latency is not None:
        return _by_latency(study, analyses, options, times)
    return _by_parameters(study, analyses, options, times)


def _by_parameters(
    study: Study, analyses: Mapping[str, Analysis], options: CompressOptions, times: LayerTimes | None
) -> Ranks:
    whole = study.parameters
    fixed = whole - sum(site.weights for site in study.sites) + study.added_biases(study.sites)
    room = (options.budget or 0.0) * whole - fixed
    choices = _choices(study, analyses, options, times)
    least = least_cost(choices)
    if least > room:
        enough = (fixed + least) / whole
        ways = [f"give at least {enough:.3f}"] if enough < 1 else []
        if times is not None and (slow := _slow(choices, times)):
            ways.append(f"factor layers that are not faster, too, with  --for size  ({slow})")
        raise OptionError(
            f"a budget of {options.budget:g} cannot be met: {fixed:,} of the {study.part}'s {whole:,} parameters are "
            f"not in layers that can be factored, and the smallest ranks take {least:,.0f}: "
            f"{', or '.join(ways) or 'it cannot be made smaller'}"
        )
    return allocate(choices, room)


def _by_latency(
    study: Study, analyses: Mapping[str, Analysis], options: CompressOptions, times: LayerTimes | None
) -> Ranks:
    """Ranks that take this share of the time that the layers take dense."""
    if times is None:
        raise OptionError("a budget of time takes the times of layers on an engine")
    measured, share, form = times, options.latency or 0.0, options.chosen_form

    def cost(site: Site, rank: int | None) -> float:
        return measured.dense(site) if rank is None else measured.seconds(site, rank, form)

    choices = _choices(study, analyses, options, times, cost)
    whole, least = sum(measured.dense(site) for site in study.sites), least_cost(choices)
    if least > share * whole:
        raise OptionError(
            f"a budget of {share:g} of the time cannot be met: the smallest ranks take {least / whole:.3f} of it: "
            f"give more{f' ({slow})' if (slow := _slow(choices, times)) else ''}"
        )
    return allocate(choices, share * whole)


def _choices(
    study: Study,
    analyses: Mapping[str, Analysis],
    options: CompressOptions,
    times: LayerTimes | None,
    cost: Callable[[Site, int | None], float] | None = None,
) -> dict[str, list[Choice]]:
    """What each layer may become; `cost` is by default parameters."""
    form, found = options.chosen_form, {}
    for site in study.sites:
        options_of_site = choices_of(site, analyses[site.name], form, step=options.step, cost=cost)
        found[site.name] = [
            one for one in options_of_site if one.rank is None or times is None or times.is_faster(site, one.rank, form)
        ]
    return found


def _slow(choices: Mapping[str, list[Choice]], times: LayerTimes) -> str:
    """How many layers gain nothing here; empty where all gain."""
    slow = sum(all(one.rank is None for one in found) for found in choices.values())
    return f"{slow} of {len(choices)} layers are faster dense at every rank on {times.where}" if slow else ""
