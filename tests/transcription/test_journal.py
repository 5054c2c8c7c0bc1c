"""The journal of a long recording: a run that was killed goes on, with the transcript of a run without a break."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnet.alignment.words import TimedWord
from linnet.audio.source import AudioSource
from linnet.audio.types import SAMPLE_RATE, Audio
from linnet.decoding.result import DecodingResult
from linnet.transcription import generic, whisper
from linnet.transcription.backend import Job, Outcome, Request
from linnet.transcription.journal import Journal, rebuild
from linnet.transcription.options import TranscriptionOptions
from linnet.transcription.schedule import Recording, Result, run_jobs
from linnet.transcription.transcript import Segment

SECONDS = 130  # of a recording that is worth a journal


@dataclass(frozen=True)
class Level:
    """What is heard of a second: its place."""

    place: int


class Seconds:
    """Hears each second of a recording; dies after `life` of them."""

    languages: tuple[str, ...] = ()
    engine_name = "seconds"
    answer = Level

    def __init__(self, life: int = 10**6) -> None:
        self.heard: list[int] = []
        self.life = life

    def job(self, source: AudioSource, options: TranscriptionOptions, *, ahead: int = 1) -> Job:
        return self._job(source, options)

    def _job(self, source: AudioSource, options: TranscriptionOptions) -> Job:
        segments: list[Segment] = []
        for start in range(0, int(source.duration or 0), 2):
            parts = [source.read((start + place) * SAMPLE_RATE, SAMPLE_RATE) for place in (0, 1)]
            found = yield [Request(part, options) for part in parts]
            segments += [Segment(one.place, one.place + 1, str(one.place)) for one in found]
        return Outcome(tuple(segments))

    def run(self, requests: Sequence[Request]) -> list[Any]:
        places = [round(float(request.samples[0]) * SECONDS) for request in requests]
        if len(self.heard) + len(places) > self.life:
            raise KeyboardInterrupt
        self.heard += places
        return [Level(place) for place in places]


def recording() -> Audio:
    levels = np.arange(SECONDS, dtype=np.float32) / SECONDS
    return Audio(levels.repeat(SAMPLE_RATE), "levels")


def go(backend: Seconds, path: Path, fingerprint: str = "f", **changes: Any) -> Result:
    options = replace(TranscriptionOptions(), **changes)
    sound = Recording(recording(), journal=partial(Journal, path, fingerprint))
    (result,) = run_jobs(backend, [sound], options, 2)
    return result


def text(result: Result) -> str:
    assert result.outcome is not None
    return " ".join(segment.text for segment in result.outcome.segments)


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """The journal of a run that ended after 100 of 130 seconds."""
    path = tmp_path / ".levels.linnet-journal"
    with pytest.raises(KeyboardInterrupt):
        go(Seconds(life=100), path)
    return path


def test_a_run_that_was_killed_goes_on_where_it_was(killed: Path) -> None:
    backend = Seconds()
    assert text(go(backend, killed)) == " ".join(map(str, range(SECONDS)))
    assert backend.heard == list(range(100, SECONDS))


def test_it_can_be_killed_again(killed: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        go(Seconds(life=10), killed)
    backend = Seconds()
    go(backend, killed)
    assert backend.heard == list(range(110, SECONDS))


@pytest.mark.parametrize("changes", [{"fingerprint": "g"}, {"beam_size": 2}, {"prompt": "levels"}])
def test_what_was_made_otherwise_is_made_again(killed: Path, changes: dict[str, Any]) -> None:
    backend = Seconds()
    assert text(go(backend, killed, **changes)) == " ".join(map(str, range(SECONDS)))
    assert backend.heard == list(range(SECONDS))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2600))
def test_wherever_the_file_was_cut_nothing_is_lost(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "journal"
    with pytest.raises(KeyboardInterrupt):
        go(Seconds(life=20), path)
    path.write_bytes(path.read_bytes()[:cut])
    backend = Seconds(life=130)
    assert text(go(backend, path)) == " ".join(map(str, range(SECONDS)))
    again = Seconds()
    assert text(go(again, path)) == " ".join(map(str, range(SECONDS)))
    assert again.heard == []


def test_a_line_of_something_else_is_heard_again(killed: Path) -> None:
    lines = killed.read_text().splitlines()
    killed.write_text(
        "\n".join([*lines[:3], lines[3].replace('"place": ', '"place": "no", "x": '), "[[", *lines[4:]]) + "\n"
    )
    backend = Seconds()
    assert text(go(backend, killed)) == " ".join(map(str, range(SECONDS)))
    assert backend.heard == [2, *range(100, SECONDS)]


def test_short_recordings_leave_none(tmp_path: Path) -> None:
    made: list[int] = []

    def journal() -> Journal:
        made.append(1)
        return Journal(tmp_path / "journal", "f")

    sound = Audio(np.full(60 * SAMPLE_RATE, 0.5, np.float32), "short")
    list(run_jobs(Seconds(), [Recording(sound, journal=journal)], TranscriptionOptions(), 1))
    assert made == []


def test_a_journal_that_cannot_be_written_is_said_and_the_run_goes_on(tmp_path: Path) -> None:
    result = go(Seconds(), tmp_path / "nowhere" / "journal")
    assert text(result) == " ".join(map(str, range(SECONDS)))
    assert result.notices == ("its journal could not be written (No such file or directory).",)


def answers() -> Iterator[Any]:
    word = TimedWord(" one", 0.1, 0.2, None, True, (3,))
    decoded = DecodingResult((1, 2), "one", None, -0.1 / 3, 1e-300, 0.0, 0.2, (-0.1,))
    yield whisper.WindowResult(decoded, None)
    yield whisper.WindowResult(replace(decoded, language="de"), "de", {"de": 0.75, "en": 0.25}, (word,))
    yield generic.GenericWindowResult("one", 0.0, 1.0, -0.5, (word, word), tokens=(5, 3))


@pytest.mark.parametrize("answer", list(answers()))
def test_every_backends_answers_come_back_as_they_were(answer: Any) -> None:
    import json

    assert rebuild(type(answer), json.loads(json.dumps(asdict(answer)))) == answer


def test_an_answer_of_before_tokens_were_kept_is_recognized_again() -> None:
    old = asdict(generic.GenericWindowResult("one", 0.0, 1.0, -0.5, tokens=(5,)))
    del old["tokens"]
    with pytest.raises(KeyError, match="tokens"):  # `Journal.recall` then answers None
        rebuild(generic.GenericWindowResult, old)
