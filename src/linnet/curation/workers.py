"""Many items, one function: in this process, in several processes, or on a Ray cluster, with the same results.

Items say what is to be done and results say what came of it; recordings and tables travel through files alone.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
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


@dataclass(frozen=True)
class WorkerOptions:
    """Who works: `workers` processes of one thread each (None: one for each core), here or on a Ray `cluster`.

    `cluster` is `ray` for a Ray of this machine's own, or the address of one that runs, such as `10.0.0.5:6379`. All
    its machines must see the recordings and the work folder under the same paths, and have Linnet installed.
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


def run_alone(function: Callable[[Item], Result], item: Item) -> Result:
    """The function's result, worked out with one thread of linear algebra."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return function(item)


def _map_in_processes(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    pool = ProcessPoolExecutor(workers, context)
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


def _map_on_ray(function: Callable[[Item], Result], items: Sequence[Item], options: WorkerOptions) -> Iterator[Result]:
    with _ray(options) as ray:
        rows = [{"index": index, "item": pickle.dumps(item)} for index, item in enumerate(items)]
        if not rows:
            return
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
        limit = {"concurrency": options.workers} if options.workers else {}
        done = dataset.map_batches(_OnRay(function), batch_size=1, num_cpus=1, **limit)
        pairs = ((row["index"], pickle.loads(row["result"])) for row in done.iter_rows())
        yield from in_order(pairs)


class _OnRay:
    """A function of an item as one of Ray's batches, which hold one item each."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        results = [pickle.dumps(run_alone(self._function, pickle.loads(item))) for item in batch["item"]]
        return {"index": batch["index"], "result": results}


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


@contextmanager
def _ray(options: WorkerOptions) -> Iterator[Any]:
    """Ray with its data library, connected; one that was begun here is ended here."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
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
            raise LinnetError(
                f"cluster {options.cluster!r}: no Ray can be reached there ({error}); start one with  ray start --head,"
                " or give  --cluster ray  for one of this machine's own"
            ) from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    try:
        yield ray
    finally:
        if begun:
            ray.shutdown()
