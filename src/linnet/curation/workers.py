"""Many items, one function: in this process, in several processes, or on a Ray cluster, with the same results.

Items say what is to be done and results say what came of it; recordings and tables travel through files alone.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from linnet.errors import LinnetError, MissingExtra
from linnet.machine import usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

LOCAL_RAY = "ray"

_PATIENCE = 10.0  # seconds for an answer


@dataclass(frozen=True)
class WorkerOptions:
    """Who works: `workers` processes of one thread each (None: one for each core), here or on a Ray `cluster`.

    `cluster` is `ray` for a Ray of this machine's own, or the address of one that runs, such as `10.0.0.5:6379`, all
    processors of which are used. All its machines must see the recordings and the work folder under the same paths, and
    have Linnet installed.
    """

    workers: int | None = None
    cluster: str | None = None

    @property
    def count(self) -> int:
        """How many processes of this machine."""
        return max(1, usable_cores() if self.workers is None else self.workers)


def map_items(
    function: Callable[[Item], Result], items: Sequence[Item], options: WorkerOptions | None = None
) -> Iterator[Result]:
    """The function's results in the order of the items, each given when it and those before it are done.

    `function` is one of a module, items and results can be pickled. It runs with one thread of linear algebra wherever
    it runs, so that results do not depend on where.

    Raises:
        LinnetError: a worker died, as one that runs out of memory does. MissingExtra: Ray is not installed.
        Whatever the function raises.
    """
    options = options or WorkerOptions()
    if options.cluster is not None:
        yield from _map_on_ray(function, items, options)
    elif options.count == 1 or len(items) < 2:
        yield from (run_alone(function, item) for item in items)
    else:
        yield from _map_in_processes(function, items, min(options.count, len(items)))


@contextmanager
def connected(options: WorkerOptions | None = None) -> Iterator[None]:
    """A block in which all calls of `map_items` share one connection to Ray, which each would make for itself.

    Nothing happens for processes of this machine. Raises as `map_items` does.
    """
    if options is None or options.cluster is None:
        yield
    else:
        with _ray(options):
            yield


def run_alone(function: Callable[[Item], Result], item: Item) -> Result:
    """The function's result, worked out with one thread of linear algebra."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return function(item)


def _map_in_processes(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    pool = ProcessPoolExecutor(workers, context, _end_with_parent)
    try:
        futures = [pool.submit(run_alone, function, item) for item in items]
        while futures:
            yield futures.pop(0).result()
    except BrokenProcessPool as error:
        raise LinnetError(
            "a worker process died, perhaps for lack of memory; run the command again: what is done is kept, and fewer "
            "--workers need less memory"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """End this worker when its parent is gone: one that was killed cannot tell it to."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _map_on_ray(function: Callable[[Item], Result], items: Sequence[Item], options: WorkerOptions) -> Iterator[Result]:
    if not items:
        return
    with _ray(options) as ray:
        rows = [{"index": index, "item": pickle.dumps(item)} for index, item in enumerate(items)]
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
        done = dataset.map_batches(_OnRay(function), batch_size=1, num_cpus=1)
        for result in in_order((row["index"], pickle.loads(row["result"])) for row in done.iter_rows()):
            if isinstance(result, LinnetError):
                raise result
            yield result


class _OnRay:
    """A function of an item as one of Ray's batches, which hold one item each; an error of ours is a result there."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"index": batch["index"], "result": [pickle.dumps(self._result(item)) for item in batch["item"]]}

    def _result(self, item: bytes) -> Any:
        try:
            return run_alone(self._function, pickle.loads(item))
        except LinnetError as error:
            return error


def in_order(pairs: Iterable[tuple[int, Result]]) -> Iterator[Result]:
    """Results that come with their places, from 0 on, in the order of these.

    >>> list(in_order([(1, "b"), (0, "a"), (2, "c")]))
    ['a', 'b', 'c']
    """
    early: dict[int, Result] = {}
    following = 0
    for place, result in pairs:
        early[int(place)] = result
        while following in early:
            yield early.pop(following)
            following += 1


def _require_reachable(address: str) -> None:
    """Raise a `LinnetError` where nobody answers at `HOST:PORT`; Ray itself would try for minutes."""
    found = re.fullmatch(r"(?:ray://)?\[?(?P<host>[^/]+?)\]?:(?P<port>\d+)", address)
    if found is None:  # `ray`, `auto`: Ray knows where to look
        return
    try:
        socket.create_connection((found["host"], int(found["port"])), _PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> LinnetError:
    return LinnetError(
        f"cluster {address!r}: no Ray can be reached there ({error}); start one with  ray start --head,"
        " or give  --cluster ray  for one of this machine's own"
    )


@contextmanager
def _ray(options: WorkerOptions) -> Iterator[Any]:
    """Ray with its data library, connected; one that was begun here is ended here."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    _require_reachable(options.cluster or LOCAL_RAY)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtra("working on a Ray cluster", extra="ray") from error
    begun = not ray.is_initialized()
    if begun:
        own = options.cluster == LOCAL_RAY
        where = {"num_cpus": options.count, "include_dashboard": False} if own else {"address": options.cluster}
        try:
            ray.init(**where, log_to_driver=False, logging_level="error")
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise _unreachable(str(options.cluster), error) from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield ray
    finally:
        if begun:
            ray.shutdown()
