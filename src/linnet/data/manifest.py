"""Utterances, and manifests: one JSON object per line, one line per utterance."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from linnet.data.fields import BadRow, Row, integer, label, number, parse_json, resolve, seconds, shown, text, word
from linnet.errors import LinnetError
from linnet.files import whole_file
from linnet.urls import is_url, public_name


@dataclass(frozen=True, slots=True)
class WordTime:
    """A spoken word and when: seconds from the start of its utterance."""

    word: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Utterance:
    """A recording or a segment of one, with its metadata.

    `audio` is a path, a URL, or the address of a recording inside a file, such as `test.parquet::audio/17` (see
    `linnet.data.sources.AudioInputs`). The utterance spans `start` to `end` (seconds in the recording; `None`: its
    beginning, its end) and lasts `duration` seconds; `channel` counts from 0, `None` is all channels. `language` is a
    code such as `en`. A missing `text` is `None`; an empty one means silence. `domain` is the kind of speech, `source`
    the collection it is of. `snr` is the signal-to-noise ratio in dB. `hypothesis` and `seconds` (of computation) are
    those of a recognizer. `chunk` is the position of a piece whose `text` is that of the whole `recording`. `words` are
    the spoken words with their times, where the utterance was aligned.

    Example:
        >>> Utterance("a.wav", text="three one four").id
        'a.wav'
        >>> Utterance("a.wav", start=12.5, end=14.0).id
        'a.wav@12.500'
    """

    audio: str
    text: str | None = None
    duration: float | None = None
    language: str | None = None
    id: str = ""
    speaker: str | None = None
    start: float | None = None
    end: float | None = None
    channel: int | None = None
    recording: str | None = None
    session: str | None = None
    snr: float | None = None
    hypothesis: str | None = None
    seconds: float | None = None
    chunk: int | None = None
    domain: str | None = None
    source: str | None = None
    words: tuple[WordTime, ...] | None = None

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", default_id(self.audio, self.start))

    @property
    def stated_duration(self) -> float | None:
        """Seconds from `start` to `end`, else `duration`; nothing is measured.

        >>> Utterance("a.wav", start=12.5, end=14.0).stated_duration, Utterance("a.wav", duration=3.0).stated_duration
        (1.5, 3.0)
        """
        return self.duration if self.end is None else self.end - (self.start or 0.0)


_NAMES = tuple(field.name for field in fields(Utterance))


def default_id(audio: str, start: float | None) -> str:
    """The default id of an utterance: its audio and start."""
    name = public_name(audio)
    return name if start is None else f"{name}@{start:.3f}"


def read_manifest(path: str | os.PathLike[str]) -> Iterator[Utterance]:
    """Yield the utterances of a JSONL manifest in order, holding one line at a time.

    The keys are the fields of `Utterance`; only `audio` is required, and `id` is by default the `audio` value as
    written, without the secrets of a URL. Other keys are ignored. A relative `audio` path is relative to the manifest's
    folder. Blank lines are skipped; the first invalid line raises (`sources.open_source` skips and counts them).

    Raises:
        LinnetError: the file cannot be read, or a line is invalid; names the file and the line.
    """
    source = Path(path)
    try:
        with source.open("rb") as lines:
            for count, line in enumerate(lines, start=1):
                if line.strip():
                    try:
                        yield from_row(parse_json(line), source.parent)
                    except BadRow as error:
                        raise LinnetError(f"{source}, line {count}: {error}.") from error
    except OSError as error:
        raise LinnetError(f"{source}: cannot read the manifest: {error.strerror}.") from error


def from_row(row: Row, folder: Path, text_key: str = "text") -> Utterance:
    """The utterance of one row of a Linnet manifest in `folder`. Raises `BadRow`."""
    audio = row.get("audio")
    if not isinstance(audio, str) or not audio:
        raise BadRow(f"the key 'audio' must be a path or a URL, got {shown(audio)}")
    start = seconds(row, "start")
    return Utterance(
        audio=resolve(audio, folder),
        text=text(row, text_key),
        duration=seconds(row, "duration"),
        language=text(row, "language"),
        id=label(row, "id") or default_id(audio, start),
        speaker=label(row, "speaker"),
        start=start,
        end=after(start, seconds(row, "end")),
        channel=integer(row, "channel"),
        recording=label(row, "recording"),
        session=label(row, "session"),
        snr=number(row, "snr"),
        hypothesis=text(row, "hypothesis"),
        seconds=seconds(row, "seconds"),
        chunk=integer(row, "chunk"),
        domain=word(row, "domain"),
        source=word(row, "source"),
        words=word_times(row.get("words")),
    )


def word_times(value: Any) -> tuple[WordTime, ...] | None:
    """The words of a list of objects with `word`, `start` and `end`; None for what other tools keep there.

    Raises `BadRow` for a word without times, or one that ends before it starts.

    >>> word_times([{"word": "one", "start": 0.1, "end": 0.4}])
    (WordTime(word='one', start=0.1, end=0.4),)
    """
    if not isinstance(value, list) or not all(isinstance(one, dict) and "word" in one for one in value):
        return None
    return tuple(_word_time(one) for one in value)


def _word_time(row: Row) -> WordTime:
    said, start, end = text(row, "word"), seconds(row, "start"), seconds(row, "end")
    if said is None or start is None or end is None or end < start:
        raise BadRow(f"each of its words needs start and end in seconds, in this order, got {shown(dict(row))}")
    return WordTime(said, start, end)


def after(start: float | None, end: float | None) -> float | None:
    """`end`, which must be after `start`."""
    if end is not None and end <= (start or 0.0):
        raise BadRow(f"it ends at {end:g} s and starts at {start or 0.0:g} s; the end must be later")
    return end


def to_line(utterance: Utterance) -> str:
    """A line of a manifest, without missing values and without the line break."""
    row = {name: value for name in _NAMES if (value := getattr(utterance, name)) is not None}
    if utterance.words is not None:
        row["words"] = [asdict(one) for one in utterance.words]
    return json.dumps(row, ensure_ascii=False)


def from_line(line: str | bytes) -> Utterance:
    """The utterance of a line that `to_line` wrote, its `audio` as it was.

    >>> from_line(to_line(Utterance("a.wav", words=(WordTime("one", 0.1, 0.4),)))).words[0].word
    'one'
    """
    values: dict[str, Any] = json.loads(line)
    return Utterance(**{**values, "words": word_times(values.get("words"))})


def place(audio: str, folder: Path) -> str:
    """The path of a recording in a manifest of `folder`: relative if it is inside, else absolute; not of a URL.

    >>> place("/data/a/b.wav", Path("/data")), place("/data/b.wav", Path("/out")), place("s3://x/b.wav", Path("/out"))
    ('a/b.wav', '/data/b.wav', 's3://x/b.wav')
    """
    if is_url(audio) or "://" in audio:
        return audio
    whole, base = os.path.abspath(audio), os.path.abspath(folder)  # noqa: PTH100  links stay
    return os.path.relpath(whole, base) if whole.startswith(os.path.join(base, "")) else whole  # noqa: PTH118


def write_manifest(path: str | os.PathLike[str], utterances: Iterable[Utterance]) -> int:
    """Write utterances as JSONL, atomically, and return their number.

    Missing values are omitted. `audio` is written as it is: `place` gives the path to write for one from elsewhere.
    """
    count = 0
    with whole_file(Path(path)) as file:
        for utterance in utterances:
            file.write(f"{to_line(utterance)}\n".encode(errors="backslashreplace"))  # JSON reads \udcxx back
            count += 1
    return count
