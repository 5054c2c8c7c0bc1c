"""One torch thread in a block, and what was there before everywhere else."""

import threading
from collections.abc import Iterator

import pytest
import torch

from linnet.engines.torch_threads import one_torch_thread


@pytest.fixture(autouse=True)
def _three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def in_another_thread() -> int:
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return seen[0]


def test_the_block_has_one_thread_and_threads_that_begin_meanwhile_have_all() -> None:
    with one_torch_thread():
        assert torch.get_num_threads() == 1
        assert in_another_thread() == 3
        with one_torch_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
    assert in_another_thread() == 3


def test_an_error_in_the_block_brings_the_threads_back() -> None:
    with pytest.raises(ZeroDivisionError), one_torch_thread():
        raise ZeroDivisionError
    assert torch.get_num_threads() == 3


def test_blocks_in_many_threads_at_once() -> None:
    inside: list[int] = []

    def work() -> None:
        for _ in range(20):
            with one_torch_thread():
                inside.append(torch.get_num_threads())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inside == [1] * 80
    assert in_another_thread() == 3
    assert torch.get_num_threads() == 3
