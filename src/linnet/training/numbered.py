"""A plan of batches by their numbers, for tasks that put each batch together anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from linnet.errors import OptionError


class NumberedPlan:
    """A plan of `count` batches by their number, dealt to `world` processes in turn; one epoch is the whole run."""

    epoch = 0

    def __init__(
        self, count: int, world: int, seed: int, *, lower: str = "`batch_seconds` and `full_batch_seconds`"
    ) -> None:
        """`lower` names the keys of the recipe that make a batch smaller."""
        self._count, self._world, self._seed, self._step = count, world, seed, 0
        self._lower = lower

    @property
    def steps(self) -> int:
        """Batches of each rank."""
        return self._count // self._world

    def of_rank(self, rank: int) -> Iterator[int]:
        """The numbers of one rank's batches."""
        return iter(range(self._step * self._world + rank, self.steps * self._world, self._world))

    def seek(self, epoch: int, step: int = 0) -> None:
        """There is one epoch. Raises `OptionError` for a further one."""
        if epoch:
            raise OptionError(f"all {self._count} batches of the run have been read.")
        self._step = step

    def shrink(self, step: int, again: int) -> str:
        """Raises `OptionError`: these batches have the size that the recipe says."""
        del again
        raise OptionError(f"batch {step} does not fit into memory: lower {self._lower}.")

    def state(self, step: int) -> dict[str, Any]:
        """After `step` batches of each rank."""
        return {"seed": self._seed, "step": step, "world": self._world}

    def restore(self, state: Mapping[str, Any]) -> int:
        """Go on from a `state`. Raises `OptionError` where it is of another seed or number of processes."""
        if state != self.state(state["step"]):
            raise OptionError("the checkpoint is of a run with another seed or number of processes: go on with those.")
        self._step = int(state["step"])
        return self._step
