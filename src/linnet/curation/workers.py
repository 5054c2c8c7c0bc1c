"""Map a function over items: in this process, in several processes, or on a Ray cluster, with the same results.

Items and results are small; recordings and tables are passed as files.
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
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from linnet.errors import LinnetError, MissingExtra
from linnet.machine import usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

LOCAL_RAY = "ray"

_PATIENCE = 10.0  # seconds for an answer
_TASKS = 16  # of Ray for each of its processors: each has a cost, and the last ones leave processors idle
_shared: ContextVar[ProcessPoolExecutor | None] = ContextVar("shared", default=None)  # of `shared_workers`


@dataclass(frozen=True)
class WorkerOptions:
    """Options of workers: `workers` single-threaded processes (None: one per core), here or on a Ray `cluster`.

    `cluster` is `ray` for a new one on this machine, or the address of a running one, such as `10.0.0.5:6379`, whose
    processors are all used. All its machines need the recordings and the work folder at the same paths, and an
    installed Linnet.
    """

    workers: int | None = None
    cluster: str | None = None

    @property
    def count(self) -> int:
        """The number of processes on this machine."""
        return max(1, usable_cores() if self.workers is None else self.workers)


def map_items(
    function: Callable[[Item], Result], items: Sequence[Item], options: WorkerOptions | None = None
) -> Iterator[Result]:
    """Yield the function's results in the order of the items, each as soon as it and the earlier ones are done.

    `function` is at the top level of a module; items and results can be pickled. Linear algebra always uses one thread,
    so that results are the same everywhere.

    Raises:
        LinnetError: a worker died, for example out of memory.
        MissingExtra: Ray is not installed.
        Any error of the function.
    """
    options = options or WorkerOptions()
    if options.cluster is not None:
        yield from _map_on_ray(function, items, options)
    elif options.count == 1 or len(items) < 2:
        yield from (run_alone(function, item) for item in items)
    else:
        yield from _map_in_processes(function, items, min(options.count, len(items)))


@contextmanager
def shared_workers(options: WorkerOptions | None = None) -> Iterator[None]:
    """A context in which all calls of `map_items` share their workers: processes, or one connection to Ray.

    Processes start with their first items. Within another such context it has no effect. Raises as `map_items`.
    """
    options = options or WorkerOptions()
    if options.cluster is not None:
        with _ray(options):
            yield
    elif options.count == 1 or _shared.get() is not None:
        yield
    else:
        with _processes(options.count) as pool:
            token = _shared.set(pool)
            try:
                yield
            finally:
                _shared.reset(token)


def run_alone(function: Callable[[Item], Result], item: Item) -> Result:
    """The function's result with one thread for linear algebra."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return function(item)


def _map_in_processes(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    shared = _shared.get()
    with _processes(workers) if shared is None else nullcontext(shared) as pool:
        futures = [pool.submit(run_alone, function, item) for item in items]
        try:
            while futures:
                yield futures.pop(0).result()
        except BrokenProcessPool as error:
            raise LinnetError(
                "a worker process died, perhaps for lack of memory; run the command again: finished work is kept, "
                "fewer --workers need less memory"
            ) from error
        finally:
            for future in futures:
                future.cancel()


@contextmanager
def _processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("spawn")  # forking a process with threads may hang
    pool = ProcessPoolExecutor(workers, context, _end_with_parent)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """End this worker when its parent dies."""
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
        tasks = min(len(rows), _TASKS * max(1, int(ray.cluster_resources().get("CPU", 1))))
        dataset = ray.data.from_items(rows, override_num_blocks=tasks)
        done = dataset.map_batches(_OnRay(function), batch_size=1, num_cpus=1)
        for result in in_order((row["index"], pickle.loads(row["result"])) for row in done.iter_rows()):
            if isinstance(result, LinnetError):
                raise result
            yield result


class _OnRay:
    """Adapts a function of an item to Ray's batches of one item; Linnet's errors are returned as results."""

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
    """Sort results that come with their index, from 0 on.

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
    """Raise a `LinnetError` if `HOST:PORT` does not answer; Ray itself would try for minutes."""
    found = re.fullmatch(r"(?:ray://)?\[?(?P<host>[^/]+?)\]?:(?P<port>\d+)", address)
    if found is None:  # `ray`, `auto`: found by Ray
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
    """A context with Ray and its data library, connected; a cluster started here is stopped here."""
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
