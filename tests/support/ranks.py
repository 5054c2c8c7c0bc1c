"""Several processes that train together (gloo), forked from one that has the libraries loaded already."""

from __future__ import annotations

import os
import pickle
import socket
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

from tests.support.forked import CONTEXT


def on_ranks(world: int, function: Callable[..., Any], *arguments: Any, timeout: float = 60.0) -> list[Any]:
    """What a function of a module answers on each of `world` ranks.

    None stands for a rank that ended without an answer. Raises `TimeoutError`, and ends all, where they take longer.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pipes = [CONTEXT.Pipe(duplex=False) for _ in range(world)]
    processes = [
        CONTEXT.Process(target=_run, args=(rank, world, port, pipe, function, arguments))
        for rank, (_, pipe) in enumerate(pipes)
    ]
    for process, (_, pipe) in zip(processes, pipes, strict=True):
        process.start()
        pipe.close()
    answers: dict[Any, Any] = {}
    end = time.monotonic() + timeout
    try:
        while len(answers) < world:
            ready = wait([own for own, _ in pipes if own not in answers], max(0.0, end - time.monotonic()))
            if not ready:
                raise TimeoutError(f"{world - len(answers)} of {world} ranks have no answer after {timeout:g} s")
            for pipe in ready:
                answers[pipe] = _answer(pipe)
        for process in processes:
            process.join(max(0.1, end - time.monotonic()))
            assert process.exitcode is not None, "a rank does not end"
    finally:
        for process in processes:
            process.kill()
            process.join()
    return [answers[own] for own, _ in pipes]


def _answer(pipe: Any) -> Any:
    try:
        return pickle.loads(pipe.recv_bytes())
    except EOFError:
        return None


def _run(
    rank: int, world: int, port: int, pipe: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    import torch

    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # accelerate warns where it is not set
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    pipe.send_bytes(pickle.dumps(function(*arguments)))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
