"""Choose the fastest form of a low-rank layer's attention on a GPU by measurement."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from linnet.engines.torch.ops import Apply
from linnet.models.lowrank.attention import Attend, ReducedAttention

log = logging.getLogger(__name__)
Seconds = Callable[[Callable[[], object], torch.device], float]
_WARM, _TIMED = 3, 10  # timed runs


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """Mean seconds per run over ten runs, after three for warm-up."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda _: None
    for _ in range(_WARM):
        run()
    wait(device)
    begun = time.perf_counter()
    for _ in range(_TIMED):
        run()
    wait(device)
    return (time.perf_counter() - begun) / _TIMED


class FastestAttention:
    """Times one window in each form of a layer's attention; layers with the same ranks are timed once."""

    def __init__(self, positions: int, *, fused: Attend | None = None, seconds: Seconds = seconds_of) -> None:
        """`fused` is the attention in one kernel, None if unavailable."""
        self._positions, self._fused, self._seconds = positions, fused, seconds
        self._known: dict[Any, str] = {}

    @torch.no_grad()
    def choose(self, plain: Apply, reduced: ReducedAttention) -> ReducedAttention | None:
        """The reduced form with its attention function, or None if the plain form is the fastest.

        A form that fails, or whose result differs from the plain one's, is rejected.
        """
        ranks = tuple(reduced.widths), reduced.reducible, tuple(type(each).__name__ for each in reduced.seconds)
        if ranks not in self._known:
            self._known[ranks] = self._measure(plain, reduced)
        if self._known[ranks] == "fused":
            reduced.attend = self._fused or reduced.attend
        return None if self._known[ranks] == "plain" else reduced

    def _measure(self, plain: Apply, reduced: ReducedAttention) -> str:
        weight = reduced.first.weight
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(1, self._positions, weight.shape[1], generator=generator).to(weight.device, weight.dtype)
        want, own = plain(x), reduced.attend
        times = {"plain": self._seconds(lambda: plain(x), weight.device)}
        for name, attend in (("products", own), ("fused", self._fused)):
            if attend is None:
                continue
            reduced.attend = attend
            try:
                if _agree(reduced(x), want):
                    times[name] = self._seconds(lambda: reduced(x), weight.device)
            except Exception as error:  # noqa: BLE001 (whatever a compiler for this GPU may raise)
                log.warning("attention in reduced dimension (%s) is not available: %s", name, error)
            finally:
                reduced.attend = own
        return min(times, key=times.__getitem__)


def _agree(got: Tensor, want: Tensor) -> bool:
    most = 1e-3 if want.dtype == torch.float32 else 0.03  # relative to the largest value: rounding in 16 bits
    return bool((got.float() - want.float()).abs().max() <= most * want.float().abs().max())
