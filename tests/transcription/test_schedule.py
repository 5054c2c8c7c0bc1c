"""Jobs side by side: batches, failures and order, with a backend of a few lines."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from linnet.audio.source import AudioSource
from linnet.audio.types import SAMPLE_RATE, Audio
from linnet.errors import AudioError, ModelError, OptionError
from linnet.transcription.backend import Job, Outcome, Request
from linnet.transcription.options import TranscriptionOptions
from linnet.transcription.schedule import Progress, Recording, Result, Scheduler, in_order, run_jobs
from linnet.transcription.transcript import Segment
from tests.support.counting_backend import Counting, Torn, tone


def texts(results: Sequence[Result]) -> dict[int, str]:
    return {one.index: " ".join(part.text for part in one.outcome.segments) for one in results if one.outcome}


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_every_recording_is_whole_whatever_shares_its_batch(batch_size: int) -> None:
    sources = [tone(0.1, 2), tone(0.2, 4), tone(0.3, 1), tone(0.4, 2.5)]
    backend = Counting()
    results = list(run_jobs(backend, sources, TranscriptionOptions(), batch_size))
    assert texts(results) == {0: "1 1", 1: "2 2 2 2", 2: "3", 3: "4 4 4"}
    assert max(map(len, backend.batches)) == min(batch_size, 3 if batch_size == 5 else batch_size) or batch_size == 5
    assert sum(map(len, backend.batches)) == 10
    assert all(result.seconds > 0 for result in results)


def test_a_recording_is_yielded_when_it_is_done_and_its_place_is_taken() -> None:
    sources = [tone(0.1, 3), tone(0.2, 1), tone(0.3, 1)]
    backend = Counting()
    order = [result.index for result in run_jobs(backend, sources, TranscriptionOptions(), 2)]
    assert order == [1, 0, 2] or order == [1, 2, 0]
    assert backend.batches[1] == [0.1, 0.3]


@given(st.permutations(range(7)))
def test_in_order_gives_each_result_as_soon_as_those_before_it_are_there(order: list[int]) -> None:
    taken: list[int] = []

    def results() -> Iterator[Result]:
        for index in order:
            taken.append(index)
            yield Result(index, None, "one")

    for place, result in enumerate(in_order(results())):
        assert result.index == place
        assert len(taken) == 1 + max(order.index(earlier) for earlier in range(place + 1))


def test_arrays_are_told_apart_by_their_place_among_the_inputs() -> None:
    sources = [np.zeros(SAMPLE_RATE, np.float32), tone(0.1, 1), np.zeros(SAMPLE_RATE, np.float32)]
    assert [one.name for one in run_jobs(Counting(), sources, TranscriptionOptions(), 1)] == [
        "array 0",
        "tone 0.1",
        "array 2",
    ]


def test_sources_are_opened_only_as_places_become_free() -> None:
    opened: list[int] = []

    def sources() -> Any:
        for index in range(4):
            opened.append(index)
            yield tone(0.1, 1)

    results = run_jobs(Counting(), sources(), TranscriptionOptions(), 2)
    next(results)
    assert opened == [0, 1]
    results.close()


def test_one_broken_file_does_not_stop_the_rest(tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_text("not a sound")
    sources = [tone(0.1, 1), broken, tmp_path / "gone.wav", tone(0.2, 1)]
    results = list(run_jobs(Counting(), sources, TranscriptionOptions(), 2))
    assert texts(results) == {0: "1", 3: "2"}
    errors = {result.index: result.error for result in results if result.error}
    assert set(errors) == {1, 2}
    assert all(isinstance(error, AudioError) for error in errors.values())
    assert "broken.wav" in str(errors[1])
    assert "gone.wav" in str(errors[2])


class Locked:
    """A file object that cannot be read."""

    name = "locked"

    def read(self, size: int) -> bytes:
        raise IndexError("locked")


def test_any_error_of_one_recording_fails_that_one_only() -> None:
    faults = [OSError(5, "Input/output error"), IndexError("list index out of range"), ValueError("odd")]
    sources = [*map(Torn, faults), Locked(), tone(0.2, 3)]
    results = sorted(run_jobs(Counting(), sources, TranscriptionOptions(), 2), key=lambda result: result.index)
    assert texts(results) == {4: "2 2 2"}
    for result, fault in zip(results, faults, strict=False):
        assert isinstance(result.error, AudioError)
        assert str(result.error).startswith(f"torn: cannot be transcribed ({type(fault).__name__}: {fault});")
        assert result.error.__cause__ is fault
    assert isinstance(results[3].error, AudioError)
    assert "locked" in str(results[3].error)


def test_options_that_the_model_cannot_honor_stop_everything() -> None:
    with pytest.raises(OptionError, match="no language tlh"):
        list(run_jobs(Counting(), [tone(0.1, 1)], TranscriptionOptions(language="tlh"), 1))


def test_a_batch_that_fails_fails_its_recordings_only() -> None:
    results = list(run_jobs(Counting(ModelError("broken")), [tone(0.1, 1), tone(0.2, 1)], TranscriptionOptions(), 1))
    assert [str(result.error) for result in results] == ["broken", "broken"]


class Tight(Counting):
    """As `Counting`, with memory for a few windows only, and several windows asked at once."""

    def __init__(self, room: int, fault: Exception) -> None:
        super().__init__()
        self.room, self.full = room, fault

    def _windows(self, source: AudioSource, options: TranscriptionOptions) -> Job:
        seconds = [source.read(at * SAMPLE_RATE, SAMPLE_RATE) for at in range(9)]
        words = yield [Request(samples, options, position=float(at)) for at, samples in enumerate(seconds)]
        return Outcome(tuple(Segment(at, at + 1, word) for at, word in enumerate(words)), notices=("It was long.",))

    def run(self, requests: Sequence[Request]) -> list[Any]:
        if len(requests) > self.room:
            raise self.full
        return super().run(requests)


@pytest.mark.parametrize(
    "fault",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("not enough memory: you tried to allocate 7 bytes"),
    ],
)
def test_a_batch_that_memory_cannot_hold_is_halved_and_said_once(fault: Exception) -> None:
    backend = Tight(2, fault)
    (result,) = run_jobs(backend, [tone(0.3, 9)], TranscriptionOptions(), 8)
    assert texts([result]) == {0: "3 3 3 3 3 3 3 3 3"}
    assert [len(batch) for batch in backend.batches] == [2, 2, 2, 2, 1]
    halved = [notice for notice in result.notices if "out of memory" in notice]
    assert halved == ["out of memory with 8 windows per batch; continued with 2 (set by --batch-size)."]
    assert result.notices[-1] == "It was long."


def test_out_of_memory_with_one_window_fails_its_recording_with_a_way_out() -> None:
    results = list(run_jobs(Tight(0, MemoryError()), [tone(0.1, 9), tone(0.2, 9)], TranscriptionOptions(), 4))
    assert ["smaller model" in str(result.error) for result in results] == [True, True]


def test_another_error_of_the_model_fails_its_recording_and_is_told() -> None:
    (result,) = run_jobs(Tight(0, RuntimeError("shapes differ")), [tone(0.1, 9)], TranscriptionOptions(), 4)
    assert isinstance(result.error, ModelError)
    assert "tone 0.1: the model failed on it (RuntimeError: shapes differ)" in str(result.error)


class Choosy(Counting):
    """Fails on every batch with a certain sound in it."""

    def run(self, requests: Sequence[Request]) -> list[Any]:
        if any(request.samples[0] > 0.25 for request in requests):
            raise IndexError("too loud")
        return super().run(requests)


def test_of_a_batch_that_fails_only_the_recording_that_it_fails_on_is_lost() -> None:
    results = list(run_jobs(Choosy(), [tone(0.1, 2), tone(0.3, 2), tone(0.2, 2)], TranscriptionOptions(), 3))
    assert texts(results) == {0: "1 1", 2: "2 2"}
    (error,) = (result.error for result in results if result.error)
    assert str(error).startswith("tone 0.3: the model failed on it (IndexError: too loud)")


def test_progress_moves_forward_to_the_end() -> None:
    seen: list[Progress] = []
    list(run_jobs(Counting(), [tone(0.1, 3)], TranscriptionOptions(), 1, on_progress=seen.append))
    assert [step.position for step in seen] == [1.0, 2.0, 3.0]
    assert seen[-1].duration == 3.0


def test_a_recording_has_a_channel_of_its_own() -> None:
    stereo = np.stack([np.full(SAMPLE_RATE, 0.1), np.full(SAMPLE_RATE, 0.5)], 1).astype(np.float32)
    sounds = [Recording(stereo, "right"), Recording(stereo, "left"), stereo, Recording(stereo, track=2)]
    results = list(run_jobs(Counting(), sounds, TranscriptionOptions(), 1))
    assert texts(results) == {0: "5", 1: "1", 2: "3"}
    assert isinstance(results[3].error, OptionError)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_an_error_in_making_sources_comes_after_what_was_begun(batch_size: int) -> None:
    def sources() -> Iterator[Audio]:
        yield tone(0.1, 1)
        yield tone(0.2, 1)
        raise RuntimeError("no more")

    results = run_jobs(Counting(), sources(), TranscriptionOptions(), batch_size)
    assert texts([next(results), next(results)]) == {0: "1", 1: "2"}
    with pytest.raises(RuntimeError, match="no more"):
        next(results)


def test_a_source_that_is_slow_to_come_holds_up_nothing_that_was_begun() -> None:
    heard = threading.Event()

    def sources() -> Iterator[Audio]:
        yield tone(0.1, 2)
        assert heard.wait(60), "the first result did not come before the second source"
        yield tone(0.2, 1)

    results = run_jobs(Counting(), sources(), TranscriptionOptions(), 8)
    first = next(results)
    heard.set()
    assert texts([first, *results]) == {0: "1 1", 1: "2"}


def test_a_source_that_comes_while_others_run_joins_their_batches() -> None:
    backend = Counting()
    asked = threading.Event()

    def sources() -> Iterator[Audio]:
        yield tone(0.1, 60)
        assert asked.wait(60)
        yield tone(0.2, 1)

    def on_progress(progress: Progress) -> None:
        asked.set()

    results = list(run_jobs(backend, sources(), TranscriptionOptions(), 2, on_progress=on_progress))
    assert sorted(texts(results)) == [0, 1]
    assert sum(map(len, backend.batches)) == 61


def test_submitted_recordings_run_side_by_side_and_end_when_they_are_done() -> None:
    backend = Counting()
    with Scheduler(backend, 4) as scheduler:
        assert not scheduler.busy
        assert scheduler.step() == []
        long, short = (scheduler.submit(sound, TranscriptionOptions()) for sound in (tone(0.1, 3), tone(0.2, 1)))
        assert (long, short, scheduler.room) == (0, 1, 2)
        (first,) = scheduler.step()
        late = scheduler.submit(tone(0.3, 2), TranscriptionOptions())
        rest = [*scheduler.step(), *scheduler.step()]
        assert not scheduler.busy
    assert texts([first]) == {short: "2"}
    assert texts(rest) == {long: "1 1 1", late: "3 3"}
    assert backend.batches == [[0.1, 0.2], [0.1, 0.3], [0.1, 0.3]]


def test_a_canceled_recording_is_closed_and_has_no_result() -> None:
    class Closing(Torn):
        closed = False

        def close(self) -> None:
            self.closed = True

    source = Closing(OSError())
    backend = Counting()
    with Scheduler(backend, 4) as scheduler:
        given_up, kept = (scheduler.submit(one, TranscriptionOptions()) for one in (source, tone(0.1, 2)))
        assert scheduler.step() == []
        scheduler.cancel(given_up)
        assert source.closed
        assert texts(scheduler.step()) == {kept: "1 1"}
        scheduler.cancel(kept)  # has ended: nothing happens
    assert backend.batches == [[0.3, 0.1], [0.1]]


def test_progress_may_cancel_any_recording() -> None:
    with Scheduler(Counting(), 4, on_progress=lambda _: [scheduler.cancel(one) for one in (0, 1)]) as scheduler:
        for level in (0.1, 0.2):
            scheduler.submit(tone(level, 2), TranscriptionOptions())
        assert scheduler.step() == []
        assert not scheduler.busy


def test_a_sound_that_cannot_be_opened_has_its_result_at_once(tmp_path: Path) -> None:
    with Scheduler(Counting(), 1) as scheduler:
        index = scheduler.submit(tmp_path / "gone.wav", TranscriptionOptions())
        (result,) = scheduler.ended()
        assert (result.index, scheduler.busy) == (index, False)
        assert isinstance(result.error, AudioError)
        assert scheduler.ended() == []


def test_recordings_may_have_options_of_their_own() -> None:
    with Scheduler(Counting(), 2) as scheduler:
        scheduler.submit(tone(0.1, 1), TranscriptionOptions(language="en"))
        with pytest.raises(OptionError, match="no language tlh"):
            scheduler.submit(tone(0.2, 1), TranscriptionOptions(language="tlh"))
        assert texts(scheduler.step()) == {0: "1"}
