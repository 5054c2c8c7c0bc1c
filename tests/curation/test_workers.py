"""One function over many items, wherever it runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from linnet.curation.workers import WorkerOptions, map_items, shared_workers
from linnet.errors import LinnetError, MissingExtra, OptionError

ITEMS = list(range(7))


def square(item: int) -> tuple[int, int, int]:
    """The square, and who worked it out with how many threads."""
    np.ones((8, 8)) @ np.ones((8, 8))
    return item * item, os.getpid(), max(one["num_threads"] for one in threadpool_info())


_PARENT = """
from linnet.curation.workers import WorkerOptions, map_items
from tests.curation.test_workers import square
if __name__ == "__main__":
    found = map_items(square, range(4), WorkerOptions(workers=2))
    print(next(found)[1], flush=True)
    import time; time.sleep(60)
"""


def test_calls_share_their_processes() -> None:
    two = WorkerOptions(workers=2)
    with shared_workers(two), shared_workers(two):
        first, second = (list(map_items(square, ITEMS, two)) for _ in range(2))
        with pytest.raises(OptionError, match="item 3 is bad"):
            list(map_items(fail, ITEMS, two))
        third = list(map_items(square, ITEMS, two))  # an error in an item is not one of the processes
    used = {process for found in (first, second, third) for _, process, _ in found}
    assert len(used) <= 2
    assert os.getpid() not in used
    after = {process for _, process, _ in map_items(square, ITEMS, two)}
    assert not used & after


def fail(item: int) -> int:
    if item == 3:
        raise OptionError("item 3 is bad")
    return item


def die(item: int) -> int:
    if item == 1:
        os._exit(9)
    return item


def test_one_worker_is_this_process() -> None:
    found = list(map_items(square, ITEMS, WorkerOptions(workers=1)))
    assert found == [(item * item, os.getpid(), 1) for item in ITEMS]


def test_processes_of_one_thread_give_the_same_in_the_same_order() -> None:
    found = list(map_items(square, ITEMS, WorkerOptions(workers=2)))
    assert [value for value, _, _ in found] == [item * item for item in ITEMS]
    assert os.getpid() not in {process for _, process, _ in found}
    assert {threads for _, _, threads in found} == {1}
    assert list(map_items(square, [], WorkerOptions(workers=2))) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_is_that_of_the_function(workers: int) -> None:
    found = map_items(fail, ITEMS, WorkerOptions(workers=workers))
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OptionError, match="item 3 is bad"):
        next(found)


def test_a_worker_that_dies_is_told() -> None:
    with pytest.raises(LinnetError, match="a worker process died"):
        list(map_items(die, ITEMS, WorkerOptions(workers=2)))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://[::1]:1", "127.0.0.1:99999"])
def test_where_no_ray_answers_the_address_is_named(address: str) -> None:
    with pytest.raises(LinnetError, match=r"no Ray can be reached there .*ray start --head"):
        list(map_items(square, ITEMS, WorkerOptions(cluster=address)))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc tells whether a process lives")
def test_workers_end_with_a_parent_that_is_killed() -> None:
    run = [sys.executable, "-c", _PARENT]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
    for _ in range(500):
        if not Path(f"/proc/{worker}").exists():
            break
        time.sleep(0.02)
    assert not Path(f"/proc/{worker}").exists()


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"linnet\[ray\]"):
        list(map_items(square, ITEMS, WorkerOptions(cluster="ray")))


@pytest.mark.filterwarnings("ignore")  # of Ray, about its own ways
@pytest.mark.skipif("LINNET_TEST_RAY" not in os.environ, reason="a Ray takes seconds to begin: set LINNET_TEST_RAY=1")
def test_ray_gives_the_same(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    found = list(map_items(square, ITEMS, WorkerOptions(workers=2, cluster="ray")))
    assert [value for value, _, _ in found] == [item * item for item in ITEMS]
    assert os.getpid() not in {process for _, process, _ in found}
    with pytest.raises(OptionError, match="item 3 is bad"):
        list(map_items(fail, ITEMS, WorkerOptions(workers=2, cluster="ray")))
