"""Making items in another thread: order, bounds, errors and ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_info

from linnet.transcription.prefetch import Prefetch


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "linnet-prefetch"]


def test_items_come_in_order_and_the_thread_ends() -> None:
    with Prefetch(range(100), ahead=3) as numbers:
        assert list(numbers) == list(range(100))
        assert next(numbers, None) is None
    assert not threads()


def test_only_so_many_are_made_beforehand() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(50):
            made.append(number)
            yield number

    with Prefetch(items(), ahead=2) as numbers:
        time.sleep(0.3)
        assert len(made) <= 3
        assert next(numbers) == 0
    assert len(made) <= 5
    assert not threads()


def test_an_error_comes_where_its_item_would() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("broken")

    with Prefetch(items(), ahead=5) as numbers:
        assert next(numbers) == 1
        with pytest.raises(KeyError, match="broken"):
            next(numbers)
        assert next(numbers, None) is None
    assert not threads()


def test_closing_closes_what_makes_the_items() -> None:
    closed: list[bool] = []

    def items() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.append(True)

    numbers = Prefetch(items(), ahead=1)
    next(numbers)
    numbers.close()
    numbers.close()
    assert closed == [True]
    assert not threads()


def blas_threads() -> set[int]:
    return {one["num_threads"] for one in threadpool_info() if one["prefix"] == "libscipy_openblas"}


def test_numpy_has_one_thread_meanwhile_and_as_many_as_before_afterward() -> None:
    before = blas_threads()
    with Prefetch((blas_threads() for _ in range(2)), ahead=1) as found:
        assert list(found) == [{1}, {1}] if before else [set(), set()]
    assert blas_threads() == before
