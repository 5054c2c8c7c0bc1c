"""Suites: which sets belong together in one table, as YAML that anyone can write."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from linnet.data.sources import Source, SourceSpec, open_source
from linnet.data.sources.detect import is_hub_id
from linnet.errors import LinnetError, OptionError

T = TypeVar("T")


@dataclass(frozen=True)
class SuiteSet:
    """One set of a suite: where it is, what of it, and how it is scored.

    `path` is a Hub id, or a path relative to the suite's file; the fields up to `parent` are those of a `SourceSpec`.
    `table` groups the sets that one average is over, `weight` is the set's share in it. `protocol` and `normalizer` say
    how it is scored, where it is not as the rest; a `long_form` set has recordings longer than a model's window.
    `unverified` says what about the entry nobody has checked.
    """

    name: str
    path: str
    kind: str | None = None
    subset: str | None = None
    split: str | None = None
    revision: str | None = None
    text: str | None = None
    audio: str | None = None
    language: str | None = None
    parent: str | None = None
    table: str = "all"
    weight: float = 1.0
    protocol: str | None = None
    normalizer: str | None = None
    long_form: bool = False
    unverified: str | None = None

    @property
    def spec(self) -> SourceSpec:
        """What `open_source` needs of it."""
        return SourceSpec(**{field.name: getattr(self, field.name) for field in fields(SourceSpec)})


@dataclass(frozen=True)
class Suite:
    """Sets with a name; `about` is a sentence on where they are from."""

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
            raise OptionError(f"suite {self.name}: {_unknown('table', name, self.tables)}")
        return replace(self, sets=tuple(one for one in self.sets if one.table == name))


@dataclass(frozen=True)
class Opened:
    """A set with its source, or with the reason why it cannot be had."""

    set: SuiteSet
    source: Source | None = None
    error: LinnetError | None = None


def read_suite(name: str) -> Suite:
    """A suite by the name of one that comes with Linnet, or by the path of a YAML file.

    `NAME:TABLE` of a shipped suite is one table of it.

    Raises:
        OptionError: no such suite, not YAML, an unknown key (names the nearest), a value of the wrong type, or two
            sets of one name.

    >>> read_suite("open-asr:english").table("english").sets[1].split
    'test'
    """
    short, colon, table = name.partition(":")
    if short in shipped():
        content = (resources.files(__name__) / f"{short}.yaml").read_text(encoding="utf-8")
        suite = _parse(content, short, short, None)
        return suite.table(table) if colon else suite
    path = Path(name)
    try:
        content = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise OptionError(f"{name}: no such file, and {_unknown('suite', short, shipped())}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"{name}: cannot read the suite: {error}") from error
    return _parse(content, name, path.stem, path.parent)


def shipped() -> tuple[str, ...]:
    """The names of the suites that come with Linnet."""
    return tuple(sorted(file.name[:-5] for file in resources.files(__name__).iterdir() if file.name.endswith(".yaml")))


def open_sets(suite: Suite) -> Iterator[Opened]:
    """Each set in turn, opened far enough to know that it can be had; one that cannot is no end of the others."""
    for one in suite.sets:
        try:
            source = open_source(one.spec)
            source.peek()
        except LinnetError as error:
            yield Opened(one, error=error)
        else:
            yield Opened(one, source)


def _parse(content: str, where: str, name: str, folder: Path | None) -> Suite:
    import yaml

    try:
        values = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # an integer, or a nesting, without end
        raise OptionError(f"{where}: not YAML: {error}") from error
    if not isinstance(values, dict):
        raise OptionError(f"{where}: expected the keys about and sets, got {values!r}")
    rows = values.get("sets")
    if not isinstance(rows, list) or not rows:
        raise OptionError(f"{where}: the key 'sets' must be a list of sets")
    sets = tuple(_set(row, f"{where}: set {at}", folder) for at, row in enumerate(rows, start=1))
    names = [one.name for one in sets]
    for one in names:
        if names.count(one) > 1:
            raise OptionError(f"{where}: two sets are named {one!r}; give each a name of its own")
    return _build(Suite, {"name": name, **values, "sets": sets}, where)


def _set(row: Any, where: str, folder: Path | None) -> SuiteSet:
    one = _build(SuiteSet, row, where)
    if one.weight <= 0:
        raise OptionError(f"{where}: weight: expected more than zero, got {one.weight:g}")
    if folder is None or (one.kind or "").startswith("hub"):
        return one
    if one.kind is None and is_hub_id(one.path) and not (folder / one.path).exists():
        return replace(one, kind="hub")
    return replace(one, path=str(folder / one.path))


def _build(kind: type[T], content: Any, where: str) -> T:
    """A dataclass of plain values from a mapping; `where` names the place in messages."""
    if not isinstance(content, dict):
        raise OptionError(f"{where}: expected keys and values, got {content!r}")
    hints = typing.get_type_hints(kind)
    for key, value in content.items():
        if key not in hints:
            raise OptionError(f"{where}: {_unknown('key', str(key), tuple(hints))}")
        content[key] = _value(hints[key], value, f"{where}: {key}")
    for field in fields(kind):  # type: ignore[arg-type]
        if field.default is MISSING and field.name not in content:
            raise OptionError(f"{where}: the key {field.name!r} is missing")
    return kind(**content)


def _value(hint: Any, value: Any, where: str) -> Any:
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (typing.get_origin(hint) or hint,)
    if float in allowed and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) not in allowed:
        wanted = " or ".join("nothing" if one is types.NoneType else one.__name__ for one in allowed)
        raise OptionError(f"{where}: expected {wanted}, got {value!r}")
    return value


def _unknown(what: str, name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"unknown {what} {name!r}; did you mean {near[0]!r}? Known: {', '.join(known)}"
