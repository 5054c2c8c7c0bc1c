"""Tables of Mozilla Common Voice: `test.tsv` beside its folder `clips/`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from linnet.data.manifest import Utterance
from linnet.data.sources.base import Found, Problem, SourceSpec
from linnet.data.sources.lines import read_text_lines
from linnet.errors import OptionError

COLUMNS = frozenset({"path", "sentence"})


def read_common_voice(spec: SourceSpec) -> Iterator[Found]:
    """One utterance per line: `path` in `clips/`, `sentence`, `client_id` as speaker, `locale` as language.

    Fields are separated by tabs and never quoted. Early releases omit `.mp3`.

     Raises:
         OptionError: the file cannot be read, or its first line does not name the columns.
    """
    path = Path(spec.path)
    lines = read_text_lines(path)
    first = next(lines, (1, ""))[1]
    columns = first.split("\t") if isinstance(first, str) else []
    place = {name: at for at, name in enumerate(columns)}
    text_column = spec.text or "sentence"
    if not {"path", text_column} <= place.keys():
        raise OptionError(
            f"{path}: expected a first line with the tab-separated columns path and {text_column}, found {columns}"
        )
    return _rows(lines, place, text_column, path.parent / "clips")


def _rows(
    lines: Iterator[tuple[int, str | Problem]], place: dict[str, int], text_column: str, clips: Path
) -> Iterator[Found]:
    for number, line in lines:
        if isinstance(line, Problem):
            yield line
            continue
        cells = line.split("\t")
        if len(cells) != len(place):
            yield Problem(f"line {number}", f"expected {len(place)} tab-separated fields, found {len(cells)}")
            continue
        name = cells[place["path"]]
        if not name:
            yield Problem(f"line {number}", "the field path is empty")
            continue
        row = {column: cells[at] or None for column, at in place.items()}
        yield Utterance(
            audio=str(clips / (name if Path(name).suffix else f"{name}.mp3")),
            text=cells[place[text_column]],
            language=row.get("locale"),
            id=name,
            speaker=row.get("client_id"),
        )
