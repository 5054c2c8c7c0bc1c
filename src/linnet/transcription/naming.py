"""Output names of a run: from the inputs' stems, and unique per input.

The default is the stem (`talk` for `talks/talk.mp3`). Inputs of one run with the same name in the same folder, ignoring
case, all use their whole file name instead (`talk.mp3`, `talk.wav`), and if these are equal too, the stem with eight
hexadecimal digits of the input's absolute path (`talk-1f3a9c02`). The names depend only on the set of inputs, not on
their order, so a repeated run finds its own files.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from linnet.urls import is_url, public_name

_LONGEST = 180  # bytes of a name; file systems allow 255 with extensions
_UNSAFE = re.compile(r'[\x00-\x1f/\\:*?"<>|]+')


@dataclass(frozen=True)
class Item:
    """One recording of a run and its output files.

    `beside`: the files are next to the input, because no folder was given.
    """

    source: str
    folder: Path
    name: str
    beside: bool

    @property
    def label(self) -> str:
        """The input for reports: as given, URLs without their secrets."""
        return "stdin" if self.source == "-" else public_name(self.source)

    def target(self, extension: str) -> Path:
        """The path of the file of one format."""
        return self.folder / f"{self.name}.{extension}"

    @property
    def record(self) -> Path:
        """The hidden file that records what the others were made with."""
        return self.folder / f".{self.name}.linnet"

    @property
    def journal(self) -> Path:
        """The hidden file with the results of a long recording while it is being transcribed."""
        return self.folder / f".{self.name}.linnet-journal"


def place(source: str) -> str:
    """The identity of the input: the URL, `-`, or the absolute path."""
    return source if source == "-" or is_url(source) else os.path.abspath(source)  # noqa: PTH100 (keeps links)


def plan_items(sources: Sequence[str], extensions: Sequence[str], output: Path | None) -> list[Item]:
    """The output files of each recording: in `output`, else beside it (URLs and stdin: the current folder).

    An input given twice is one item. No output file has the name of another or of an input.

    >>> [item.name for item in plan_items(["a.wav", "x/A.mp3", "b.wav"], ["txt"], Path("out"))]
    ['a.wav', 'A.mp3', 'b']
    """
    unique = list({place(source): source for source in reversed(sources)}.values())[::-1]
    levels = dict.fromkeys(unique, 0)
    inputs = {_key(place(source)) for source in unique}
    while True:
        items = [_item(source, levels[source], output) for source in unique]
        asked = Counter(_key(str(item.folder / item.name)) for item in items)
        clashing = [
            item.source
            for item in items
            if asked[_key(str(item.folder / item.name))] > 1
            or any(_key(place(str(item.target(extension)))) in inputs for extension in extensions)
        ]
        if not clashing:
            return items
        for source in clashing:
            levels[source] += 1


def _item(source: str, level: int, output: Path | None) -> Item:
    folder = output or (Path() if source == "-" or is_url(source) else Path(source).parent)
    return Item(source, folder, _name(source, level), beside=output is None)


def _name(source: str, level: int) -> str:
    full = _file_name(source)
    stem = Path(full).stem
    wanted = stem if level == 0 else full if level == 1 else f"{stem}-{_digest(f'{level} {place(source)}')}"
    if len(os.fsencode(wanted)) > _LONGEST:
        wanted = f"{os.fsdecode(os.fsencode(wanted)[: _LONGEST - 9])}-{_digest(f'{level} {place(source)}')}"
    return wanted


def _file_name(source: str) -> str:
    if source == "-":
        return "stdin"
    if not is_url(source):
        return Path(place(source)).name
    name = unquote(public_name(source).partition("?")[0]).rstrip("/").rpartition("/")[2]
    return _UNSAFE.sub("_", name).lstrip(".") or "audio"


def _digest(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:8]


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
