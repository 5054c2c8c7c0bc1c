"""Suites of test sets, defined in YAML."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from linnet.data.sources import Source, SourceSpec, open_source
from linnet.data.sources.detect import is_hub_id
from linnet.errors import LinnetError, OptionError
from linnet.settings import build, read_yaml, read_yaml_file, unknown


@dataclass(frozen=True, kw_only=True)
class SuiteSet(SourceSpec):
    """One set of a suite: a source and how it is scored; `path` is a Hub id, or relative to the suite's file.

    `table` groups sets that are averaged, `weight` is the set's weight in that average. `protocol` and `normalizer`
    override the scoring; a `long_form` set has recordings longer than a model's window. `unverified` notes what has not
    been checked.
    """

    name: str
    table: str = "all"
    weight: float = 1.0
    protocol: str | None = None
    normalizer: str | None = None
    long_form: bool = False
    unverified: str | None = None

    def __post_init__(self) -> None:
        if self.weight <= 0:
            raise OptionError(f"weight: expected more than zero, got {self.weight:g}")


@dataclass(frozen=True)
class Suite:
    """A named list of sets; `about` says where they are from."""

    name: str
    sets: tuple[SuiteSet, ...]
    about: str = ""

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of the tables, in their order."""
        return tuple(dict.fromkeys(one.table for one in self.sets))

    def table(self, name: str) -> Suite:
        """The sets of one table. Raises `OptionError`, which names the nearest."""
        if name not in self.tables:
            raise OptionError(f"suite {self.name}: {unknown('table', name, self.tables)}")
        return replace(self, sets=tuple(one for one in self.sets if one.table == name))


@dataclass(frozen=True)
class OpenedSet:
    """A set with its source, or with the error why it is unavailable."""

    set: SuiteSet
    source: Source | None = None
    error: LinnetError | None = None


def read_suite(name: str) -> Suite:
    """Read a shipped suite by name, or a YAML file; `NAME:TABLE` selects one table of a shipped suite.

    Raises:
        OptionError: no such suite, not YAML, an unknown key (names the nearest), a value of the wrong type, or two
            sets of one name.

    >>> read_suite("open-asr:english").table("english").sets[1].split
    'test'
    """
    short, colon, table = name.partition(":")
    if short in shipped():
        content = (resources.files(__name__) / f"{short}.yaml").read_text(encoding="utf-8")
        suite = _parse(read_yaml(content, short), short, short, None)
        return suite.table(table) if colon else suite
    path = Path(name)
    if not path.exists():
        raise OptionError(f"{name}: no such file, and {unknown('suite', short, shipped())}")
    return _parse(read_yaml_file(path, "suite"), name, path.stem, path.parent)


def shipped() -> tuple[str, ...]:
    """The names of the suites that come with Linnet."""
    return tuple(sorted(file.name[:-5] for file in resources.files(__name__).iterdir() if file.name.endswith(".yaml")))


def open_sets(suite: Suite) -> Iterator[OpenedSet]:
    """Open each set in turn and read its first utterance; unavailable sets are returned with their error."""
    for one in suite.sets:
        try:
            source = open_source(one)
            source.peek()
        except LinnetError as error:
            yield OpenedSet(one, error=error)
        else:
            yield OpenedSet(one, source)


def _parse(values: Any, where: str, name: str, folder: Path | None) -> Suite:
    if not isinstance(values, dict):
        raise OptionError(f"{where}: expected the keys about and sets, got {values!r}")
    rows = values.pop("sets", None)
    if not isinstance(rows, list) or not rows:
        raise OptionError(f"{where}: the key 'sets' must be a list of sets")
    sets = tuple(_set(row, f"{where}: set {at}", folder) for at, row in enumerate(rows, start=1))
    names = [one.name for one in sets]
    for one in names:
        if names.count(one) > 1:
            raise OptionError(f"{where}: two sets are named {one!r}; give each its own name")
    return replace(build(Suite, {"name": name, **values, "sets": []}, where), sets=sets)


def _set(row: Any, where: str, folder: Path | None) -> SuiteSet:
    one = build(SuiteSet, row, where)
    if folder is None or (one.kind or "").startswith("hub"):
        return one
    if one.kind is None and is_hub_id(one.path) and not (folder / one.path).exists():
        return replace(one, kind="hub")
    return replace(one, path=str(folder / one.path))
