"""Runs over many recordings: each is written as soon as it is done, and a second run resumes the first.

A hidden record next to the files of a recording, `.NAME.linnet`, holds the fingerprint of model, options and input for
each format. It is written before the files (then claimed, not done) and again after them, each file by a rename, so a
format counts as done only if its file is complete, whenever a run is killed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

from linnet.errors import LinnetError, OutputError
from linnet.files import cannot_write, open_folder, write_atomic
from linnet.transcription.journal import Journal
from linnet.transcription.naming import Item, place
from linnet.transcription.options import TranscriptionOptions
from linnet.transcription.schedule import Progress, Recording, Result
from linnet.transcription.subtitles import SubtitleLayout
from linnet.transcription.transcript import Transcript
from linnet.transcription.writers import Writer, make_writer
from linnet.urls import is_url

Status = Literal["done", "skipped", "failed", "not begun"]
_CLAIMED = "being written"


class Recognizes(Protocol):
    """The part of a `Recognizer` that a run needs."""

    @property
    def name(self) -> str:
        """The model, as requested."""
        ...

    @property
    def revision(self) -> str | None:
        """The revision of the model: a commit or a fingerprint of its files."""
        ...

    @property
    def dtype(self) -> str:
        """The precision of the model."""
        ...

    def transcribe_many(
        self,
        sources: Iterable[Any],
        *,
        options: TranscriptionOptions | None,
        batch_size: int,
        channel: str = "mix",
        in_order: bool,
        on_progress: Callable[[Progress], None] | None,
    ) -> Iterator[Result]:
        """As `Recognizer.transcribe_many`."""
        ...


@dataclass(frozen=True)
class RunOptions:
    """Options of a run, for every recording."""

    formats: tuple[str, ...] = ("txt",)
    decoding: TranscriptionOptions = field(default_factory=TranscriptionOptions)
    batch_size: int = 1
    channel: str = "mix"
    track: int | None = None
    skip_existing: bool = False
    layout: SubtitleLayout | None = None  # of srt and vtt
    paragraphs: bool = False  # of txt

    def writer(self, name: str, fingerprint: str) -> Writer:
        """The writer of a format."""
        return make_writer(name, layout=self.layout, fingerprint=fingerprint, paragraphs=self.paragraphs)


@dataclass(frozen=True)
class ItemResult:
    """The result for one recording of a run. `seconds` is of computation, `duration` of audio."""

    item: Item
    status: Status
    transcript: Transcript | None = None
    error: LinnetError | None = None
    duration: float = 0.0
    seconds: float = 0.0
    notices: tuple[str, ...] = ()


def run_batch(
    recognizer: Recognizes,
    items: Sequence[Item],
    options: RunOptions,
    *,
    on_progress: Callable[[Progress], None] | None = None,
) -> Iterator[ItemResult]:
    """Transcribe and write every item; yields each once, when its files exist or it has failed.

    A failed recording does not affect the others, but a full disk ends the run: the rest is "not begun". With
    `skip_existing`, an item is skipped if every format exists and was made with the same model, revision, precision and
    options from the same input (path, size, modification time).

    Raises:
        OptionError: options that the model does not support.
    """
    pending: list[tuple[int, Item, str]] = []
    for index, item in enumerate(items):
        fingerprint = make_fingerprint(recognizer, item.source, options)
        known = _read_record(item)
        if options.skip_existing and item.source != "-" and _is_done(item, known, fingerprint, options.formats):
            yield ItemResult(item, "skipped")
        elif error := _obstacle(item, known, options.formats):
            yield ItemResult(item, "failed", error=error)
        else:
            pending.append((index, item, fingerprint))

    def report(progress: Progress) -> None:
        if on_progress is not None:
            on_progress(replace(progress, index=pending[progress.index][0]))

    yield from _transcribe(recognizer, [(item, fingerprint) for _, item, fingerprint in pending], options, report)


def _transcribe(
    recognizer: Recognizes,
    pending: Sequence[tuple[Item, str]],
    options: RunOptions,
    report: Callable[[Progress], None],
) -> Iterator[ItemResult]:
    left = dict(enumerate(pending))
    results = recognizer.transcribe_many(
        [
            Recording(item.source, options.channel, options.track, partial(Journal, item.journal, fingerprint))
            for item, fingerprint in pending
        ],
        options=options.decoding,
        batch_size=options.batch_size,
        in_order=False,  # each is written as soon as it is done
        on_progress=report,
    )
    for result in results:
        item, fingerprint = left.pop(result.index)
        finished = _finish(item, result, fingerprint, options)
        yield finished
        if _disk_is_full(finished.error):
            break
    for item, _ in left.values():
        yield ItemResult(item, "not begun")


def _finish(item: Item, result: Result, fingerprint: str, options: RunOptions) -> ItemResult:
    error = result.error
    if error is None and result.transcript is not None:
        try:
            write_outputs(item, result.transcript, options, fingerprint)
        except OutputError as failure:
            error = failure
    return ItemResult(
        item,
        status="failed" if error else "done",
        transcript=result.transcript,
        error=error,
        duration=result.duration,
        seconds=result.seconds,
        notices=result.notices,
    )


def write_outputs(item: Item, transcript: Transcript, options: RunOptions, fingerprint: str) -> None:
    """Write a transcript in every format, then record that they are done. Raises `OutputError`."""
    known = _read_record(item)
    _write_record(item, {**known, **dict.fromkeys(options.formats, _CLAIMED)})
    marks = {}
    for name in options.formats:
        text = options.writer(name, fingerprint).render(transcript)
        write_atomic(item.target(name), text)
        marks[name] = _mark(fingerprint, empty=not text)
    _write_record(item, {**known, **marks})
    item.journal.unlink(missing_ok=True)


def make_fingerprint(recognizer: Recognizes, source: str, options: RunOptions) -> str:
    """32 hexadecimal digits of everything that determines a transcript: model, options and input."""
    made_of = {
        "model": recognizer.name,
        "revision": recognizer.revision,
        "dtype": recognizer.dtype,
        "options": asdict(options.decoding),
        "channel": options.channel,
        "track": options.track,
        "layout": None if options.layout is None else asdict(options.layout),
        "paragraphs": options.paragraphs,
        "input": [place(source), *_stamp(source)],
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:32]


def _stamp(source: str) -> tuple[int, ...]:
    if source == "-" or is_url(source):
        return ()
    try:
        status = Path(source).stat()
    except OSError:
        return ()  # reading it will fail with a better message
    return status.st_size, status.st_mtime_ns


def prepare_folder(folder: Path) -> None:
    """Create an output folder and check that it is writable, before any work is done.

    Raises:
        OutputError: it is a file, cannot be created, or is not writable.
    """
    try:
        open_folder(folder)
    except (FileExistsError, NotADirectoryError):
        raise OutputError(f"{folder}: expected a folder for results, found a file; choose another --output") from None
    except OSError as error:
        raise cannot_write(folder, error) from error


def _is_done(item: Item, known: dict[str, str], fingerprint: str, formats: Sequence[str]) -> bool:
    return all(_is_there(item.target(name), known.get(name), fingerprint) for name in formats)


def _is_there(path: Path, known: str | None, fingerprint: str) -> bool:
    """Whether a file was made this way. A file that was emptied since counts as missing, an edited one does not."""
    try:
        if not path.is_file():
            return False
        size = path.stat().st_size
    except OSError:
        return False
    return known == _mark(fingerprint, empty=True) or (known == fingerprint and size > 0)


def _mark(fingerprint: str, *, empty: bool) -> str:
    """The record of a file made this way, including whether there was nothing to write."""
    return f"{fingerprint} empty" if empty else fingerprint


def _obstacle(item: Item, known: dict[str, str], formats: Sequence[str]) -> OutputError | None:
    """Why the files of an item cannot be written, as far as this is known before the work."""
    if item.folder.is_dir() and not os.access(item.folder, os.W_OK | os.X_OK):
        return OutputError(f"{item.folder}: cannot write: no permission to write there; choose another --output")
    foreign = [item.target(name) for name in formats if name not in known and item.target(name).exists()]
    if item.beside and foreign:
        return OutputError(f"{foreign[0]}: already exists and was not written by Linnet; choose a folder with --output")
    return None


def _read_record(item: Item) -> dict[str, str]:
    try:
        formats = json.loads(item.record.read_text(encoding="utf-8"))["formats"]
        return {str(name): str(fingerprint) for name, fingerprint in formats.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # none, or not ours: nothing counts as done


def _write_record(item: Item, formats: dict[str, str]) -> None:
    from linnet import __version__

    data = {"linnet": __version__, "source": item.label, "formats": formats}
    write_atomic(item.record, json.dumps(data, indent=2) + "\n")


def _disk_is_full(error: LinnetError | None) -> bool:
    cause = error.__cause__ if error is not None else None
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
