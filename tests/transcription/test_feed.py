"""Sources as they come, from a list or from a generator in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import pytest

from linnet.audio.types import Samples
from linnet.transcription import feed as module
from linnet.transcription.feed import Feed
from linnet.transcription.options import TranscriptionOptions
from linnet.transcription.schedule import Recording, run_jobs
from tests.support.counting_backend import Counting, Torn, tone

VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="unset")


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "linnet-feed"]


def everything(feed: Feed) -> list[Any]:
    found = []
    while (item := feed.take(wait=True)) is not None:
        found += item
    return found


@pytest.mark.parametrize("kind", [list, iter])
def test_all_sources_come_in_order(kind: Any) -> None:
    with Feed(kind([3, None, 1]), print) as feed:
        assert everything(feed) == [3, None, 1]
        feed.check()
    assert not threads()


def test_a_list_needs_no_thread() -> None:
    with Feed([1], print):
        assert not threads()


def test_no_source_is_made_before_it_is_asked_for() -> None:
    made: list[int] = []

    def sources() -> Iterator[int]:
        for number in range(9):
            made.append(number)
            yield number

    with Feed(sources(), print) as feed:
        assert feed.take(wait=True) == (0,)
        assert made == [0]
        feed.ask(3)
        assert [feed.take(wait=True) for _ in range(3)] == [(1,), (2,), (3,)]
        assert made == [0, 1, 2, 3]


def test_a_slow_source_is_waited_for_once_only(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, clock = threading.Event(), [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def sources() -> Iterator[int]:
        assert go_on.wait(60)
        yield 1

    with Feed(sources(), print) as feed:
        assert feed.take(wait=False) is None
        monkeypatch.setattr(module, "PATIENCE", 30.0)
        clock[0] = 31.0  # since it was asked for first
        begun = time.perf_counter()
        assert feed.take(wait=False) is None
        assert time.perf_counter() - begun < 20.0
        go_on.set()
        assert feed.take(wait=True) == (1,)
        assert feed.take(wait=True) is None


def test_an_error_ends_the_sources_and_one_that_is_no_exception_is_raised_at_once() -> None:
    def sources(error: BaseException) -> Iterator[int]:
        yield 1
        raise error

    with Feed(sources(ValueError("odd")), print) as feed:
        assert everything(feed) == [1]
        with pytest.raises(ValueError, match="odd"):
            feed.check()
    with Feed(sources(KeyboardInterrupt()), print) as feed, pytest.raises(KeyboardInterrupt):
        everything(feed)
    assert not threads()


def test_a_generator_sees_its_callers_context() -> None:
    def sources() -> Iterator[str]:
        yield VARIABLE.get()

    token = VARIABLE.set("set")
    with Feed(sources(), print) as feed:
        assert everything(feed) == ["set"]
    VARIABLE.reset(token)


def test_closing_early_closes_the_generator_and_what_nobody_took() -> None:
    closed, dropped = threading.Event(), []

    def sources() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.set()

    with Feed(sources(), dropped.append) as feed:
        feed.ask(3)
        assert feed.take(wait=True) == (0,)
    assert closed.is_set()
    assert dropped == list(range(1, 1 + len(dropped)))
    assert len(dropped) < 3
    assert not threads()


def test_closing_does_not_wait_for_a_generator_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FAREWELL", 0.01)
    go_on, closed, dropped = threading.Event(), threading.Event(), []

    def sources() -> Iterator[int]:
        try:
            yield 0
            assert go_on.wait(60)
            yield 1
        finally:
            closed.set()

    with Feed(sources(), dropped.append) as feed:
        assert feed.take(wait=True) == (0,)
        assert feed.take(wait=False) is None
    assert not closed.is_set()
    (thread,) = threads()
    go_on.set()
    thread.join(60)
    assert closed.is_set()
    assert dropped == [1]


class Open(Torn):
    """A recording of a second that is open already."""

    def __init__(self) -> None:
        self.closed = False

    def read(self, start: int, count: int) -> Samples:
        return tone(0.3, 1).samples[start : start + count]

    def close(self) -> None:
        self.closed = True


def test_sources_that_were_opened_and_not_begun_are_closed() -> None:
    first, later = Open(), [Open(), Open()]
    go_on, last = threading.Event(), threading.Event()

    def sources() -> Iterator[Any]:
        yield first
        assert go_on.wait(60)
        yield later[0]
        last.set()
        yield Recording(later[1])

    results = run_jobs(Counting(), sources(), TranscriptionOptions(), 3)
    assert next(results).index == 0
    go_on.set()  # two more were asked for before the first one ran
    assert last.wait(60)
    results.close()
    assert [one.closed for one in (first, *later)] == [True] * 3
    assert not threads()
