"""A comparison as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from linnet.evaluation.changes import Changes, InsertedWord, WordChange
from linnet.evaluation.strata import Stratum
from linnet.scoring.scores import WordErrors

if TYPE_CHECKING:
    from linnet.evaluation.compare import Comparison

_SHOWN = 10  # strata, words and utterances of each kind


def describe(found: Comparison) -> list[str]:
    """The comparison as lines for a terminal: the verdict, the tests, then words and utterances that differ."""
    name_a, name_b = found.names
    width = max(len(name_a), len(name_b))
    lines = [verdict(found), ""]
    for name, counts, runs in zip(found.names, (found.a, found.b), found.runs, strict=True):
        note = f", first of {runs} runs" if runs > 1 else ""
        lines.append(f"{name:<{width}}  WER {_percent(counts.rate)} {_edits(counts)}{note}")
    lines += ["", *certainty(found), f"scored by: {found.label}"]
    lines.append(f"compared on {found.utterances} utterances, {found.a.words} words")
    lines += [f"left out: {count} utterances, {why}" for why, count in found.left_out.items()]
    for field in dict.fromkeys(stratum.field for stratum in found.strata):
        lines += ["", *_table(field, [part for part in found.strata if part.field == field], found)]
    return lines + list(_changed(found.changes, found.names))


def verdict(found: Comparison) -> str:
    """One sentence: which system is better, by how much, and the p-value."""
    name_a, name_b = found.names
    if found.difference is None or found.p_value is None:
        return f"{name_a} and {name_b}: too few utterances or words to establish a difference"
    points = found.difference.value
    better, worse, rate = (name_b, name_a, found.a.rate) if points > 0 else (name_a, name_b, found.b.rate)
    relative = f", {abs(points) / rate:.1%} fewer errors" if rate and max(found.runs) == 1 else ""
    by = f"by {100 * abs(points):.2f} points of WER{relative} (p = {_p(found.p_value)})"
    if found.winner is None:
        if points == 0:
            return f"{name_a} and {name_b} make the same number of errors"
        return f"no significant difference between {name_a} and {name_b}: {better} is ahead of {worse} {by}"
    return f"{better} is better than {worse} {by}"


def certainty(found: Comparison) -> Iterator[str]:
    """The results of the two tests."""
    if found.difference is not None:
        interval = found.difference.interval
        text = (
            f"{found.names[0]} minus {found.names[1]}: {100 * found.difference.value:+.2f} points, "
            f"{interval.level:.0%} interval {100 * interval.low:+.2f} to {100 * interval.high:+.2f}, over "
            f"{interval.units} {interval.unit} ({interval.method})"
        )
        yield text
        if interval.unit == "utterances":
            yield f"{interval.why}: correlated errors make this interval too narrow"
    if max(found.runs) > 1:
        yield f"the interval includes the variation between seeds: {found.runs[0]} and {found.runs[1]} runs"
    if found.compared > 1:
        yield f"p is adjusted for {found.compared} comparisons (Holm)"
    pairs = found.matched_pairs
    yield f"MAPSSWE: p = {_p(pairs.p_value)} over {pairs.segments} segments; {_opinion(found)}"


def _opinion(found: Comparison) -> str:
    pairs = found.matched_pairs
    second = pairs.p_value < 1 - found.level
    if second != (found.winner is not None):
        return "it DISAGREES: " + ("significant" if second else "not significant")
    ahead = found.names[1] if pairs.mean > 0 else found.names[0]
    return "it agrees" if not second or ahead == found.winner else "it DISAGREES: the other system is better"


def _table(field: str, parts: Sequence[Stratum], found: Comparison) -> Iterator[str]:
    width = max(len(field), *(len(part.value) for part in parts))
    first, second = (max(len(name), 7) for name in found.names)
    yield f"{field:<{width}}  {'words':>8}  {found.names[0]:>{first}}  {found.names[1]:>{second}}  difference"
    for part in parts[:_SHOWN]:
        rates = f"{_percent(part.a.rate):>{first}}  {_percent(part.b.rate):>{second}}"
        yield f"{part.value:<{width}}  {part.a.words:>8}  {rates}  {_difference(part, found.level)}".rstrip()
    if len(parts) > _SHOWN:
        yield f"and {len(parts) - _SHOWN} more"


def _difference(part: Stratum, level: float) -> str:
    if part.difference is None or part.p_value is None:
        return ""
    interval = part.difference.interval
    text = f"{100 * part.difference.value:+.2f} ({100 * interval.low:+.2f} to {100 * interval.high:+.2f})"
    unit = f", {interval.units} {interval.unit}"
    return text + unit + (", significant" if part.p_value < 1 - level else "")


def _changed(changes: Changes, names: tuple[str, str]) -> Iterator[str]:
    if changes.words:
        yield ""
        yield f"words that only {names[1]} has right: {changes.fixed}; that only {names[0]} has right: {changes.broken}"
        yield from (_word(change, names) for change in changes.words[:_SHOWN])
    if changes.inserted:
        yield ""
        yield f"words inserted, by {names[0]} and by {names[1]}: " + ", ".join(
            map(_inserted, changes.inserted[:_SHOWN])
        )
    if changes.utterances:
        yield ""
        yield f"utterances that changed most (errors of {names[0]}, of {names[1]}):"
        for utterance in changes.utterances[:_SHOWN]:
            yield f"  {utterance.id}: {utterance.errors_a}, {utterance.errors_b}"


def _word(change: WordChange, names: tuple[str, str]) -> str:
    parts = [f"  {change.word}: {change.fixed} better, {change.broken} worse"]
    for name, forms in zip(names, (change.as_a, change.as_b), strict=True):
        if forms:
            parts.append(f"{name}: " + ", ".join(f"{form} {count}" for form, count in forms))
    return "; ".join(parts)


def _inserted(word: InsertedWord) -> str:
    return f"{word.word} {word.a}/{word.b}"


def _edits(counts: WordErrors) -> str:
    return f"({counts.substitutions} substituted, {counts.deletions} deleted, {counts.insertions} inserted)"


def _percent(rate: float | None) -> str:
    return "no words" if rate is None else f"{rate:.2%}"


def _p(value: float) -> str:
    return "below 0.001" if value < 0.001 else f"{value:.3f}"
