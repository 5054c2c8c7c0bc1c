"""An error analysis as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from linnet.evaluation.errors.result import Analysis, Group, WordCount


def render(analysis: Analysis, rows: int) -> str:
    """Non-empty tables of at most `rows` lines, separated by blank lines."""
    return "\n\n".join("\n".join(block) for block in _blocks(analysis, rows))


def _blocks(analysis: Analysis, rows: int) -> Iterator[list[str]]:
    if not analysis.total.errors:
        yield ["no word errors"]
    kinds = [kind.group for kind in analysis.kinds if kind.group.utterances]
    if kinds:
        yield _groups("kind of utterance", kinds)
    for title, table in (
        ("substituted", analysis.substitutions),
        ("deleted", analysis.deletions),
        ("inserted", analysis.insertions),
        ("compounds", analysis.compounds),
    ):
        if table.total:
            yield [title, *_lines([_count(one) for one in table.rows[:rows]], left=1)]
    if any(one.words for one in analysis.classes[:-1]):
        cells = [
            (one.name, f"{one.words}", percent(one.rate), f"{one.errors}", percent(one.share))
            for one in analysis.classes
        ]
        yield _lines([("class of words", "words", "wrong", "errors", "share"), *cells])
    for name, groups in analysis.groups.items():
        if groups.total > 1:
            yield _groups(name, groups.rows[:rows])
    if analysis.failed.total:
        reasons = [f"{one.id}: {one.error}" for one in analysis.failed.rows[:rows]]
        yield [f"{analysis.failed.total} not scored", *reasons]


def _groups(title: str, groups: Sequence[Group]) -> list[str]:
    cells = [(one.name, f"{one.utterances}", percent(one.rate), f"{one.errors}", percent(one.share)) for one in groups]
    return _lines([(title, "utterances", "WER", "errors", "share"), *cells])


def _count(one: WordCount) -> tuple[str, ...]:
    words = " -> ".join(word for word in (one.reference, one.hypothesis) if word is not None)
    return (f"{one.count}", words) if one.occurrences is None else (f"{one.count}", words, f"of {one.occurrences}")


def _lines(cells: Sequence[tuple[str, ...]], left: int = 0) -> list[str]:
    """Aligned columns, the column `left` to the left and all others to the right."""
    columns = max(map(len, cells))
    widths = [max(len(row[place]) for row in cells if place < len(row)) for place in range(columns)]
    return [
        "  ".join(
            f"{cell:<{widths[place]}}" if place == left else f"{cell:>{widths[place]}}"
            for place, cell in enumerate(row)
        ).rstrip()
        for row in cells
    ]


def percent(rate: float | None) -> str:
    """A rate in percent; a dash where undefined."""
    return "-" if rate is None else f"{rate:.2%}"
