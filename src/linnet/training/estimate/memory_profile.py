"""Peak memory of each moment of a training step, as counted by the allocator.

A moment lies between two marks: where a module with children begins or ends, where the gradient of its output is ready,
where the optimizer begins. Within a moment memory follows a simple formula of the batch's shape, unlike the peak of a
whole step. On a GPU the caching allocator counts. On a CPU the profiler records PyTorch's allocations, which is exact
and reproducible, unlike resident memory; weights and other existing tensors are counted by their storages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

Moments = dict[str, int]  # bytes at the peak of each
_BEGIN = "begin"


def step_moments(step: Callable[[], object], loss: nn.Module, optimizer: Any, held: int) -> Moments:
    """Run `step` (forward, backward and the optimizer's step of `loss`) and return the peak bytes of its moments.

    `held` are the bytes allocated before, used on CPUs only. Moments have the same names in every step of a model.
    """
    device = next(loss.parameters()).device
    ledger = _Cuda(device) if device.type == "cuda" else _Profiled(held)
    with ExitStack() as hooks:
        for hook in _hooks(ledger.mark, loss, optimizer):
            hooks.callback(hook.remove)
        with ledger.open():
            step()
    return ledger.moments


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """The bytes of their storages on this process; shared ones count once."""
    own: Iterator[Any] = (tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors)
    storages = [tensor.untyped_storage() for tensor in own]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def optimizer_tensors(optimizer: Any) -> Iterator[Tensor]:
    """The state tensors of an optimizer."""
    for state in optimizer.state.values():
        yield from (value for value in state.values() if isinstance(value, Tensor))


# --- marks


def _hooks(mark: Callable[[str], None], loss: nn.Module, optimizer: Any) -> Iterator[Any]:
    """Hooks that call `mark` at each boundary; recomputation in the backward pass has its own marks."""
    direction = ["forward"]

    def turn(to: str) -> None:
        direction[0] = to
        mark(to)

    for name, module in loss.named_modules():
        if any(True for _ in module.children()):
            yield module.register_forward_pre_hook(_begins(mark, direction, name))
            yield module.register_forward_hook(_ends(mark, direction, name))
    yield loss.register_forward_pre_hook(lambda *_: turn("forward"), prepend=True)
    yield loss.register_forward_hook(lambda *_: turn("backward"))
    yield getattr(optimizer, "optimizer", optimizer).register_step_pre_hook(lambda *_: turn("optimizer"))


def _begins(mark: Callable[[str], None], direction: list[str], name: str) -> Callable[..., None]:
    def hook(*_: Any) -> None:
        mark(f"{direction[0]} {name} begins")

    return hook


def _ends(mark: Callable[[str], None], direction: list[str], name: str) -> Callable[..., None]:
    def hook(_module: nn.Module, _given: Any, made: Any) -> None:
        mark(f"{direction[0]} {name} ends")
        value: Any  # its register_hook has no types
        for value in _tensors(made):
            if value.requires_grad:
                value.register_hook(lambda _: mark(f"gradient {name}"))

    return hook


def _tensors(made: Any) -> Iterator[Tensor]:
    if isinstance(made, Tensor):
        yield made
    elif isinstance(made, Mapping):
        for value in made.values():
            yield from _tensors(value)
    elif isinstance(made, tuple | list):
        for value in made:
            yield from _tensors(value)


# --- ledgers


class _Cuda:
    """Peaks from the caching allocator's counters."""

    def __init__(self, device: torch.device) -> None:
        self.moments: Moments = {}
        self._device, self._name = device, _BEGIN

    @contextmanager
    def open(self) -> Iterator[None]:
        torch.cuda.reset_peak_memory_stats(self._device)
        yield
        self.mark(_BEGIN)

    def mark(self, name: str) -> None:
        """End the current moment and begin `name`."""
        peak = torch.cuda.max_memory_allocated(self._device)
        self.moments[self._name] = max(self.moments.get(self._name, 0), peak)
        torch.cuda.reset_peak_memory_stats(self._device)
        self._name = name


class _Profiled:
    """Peaks from the profiler's record of CPU allocations."""

    _MARK = "linnet: "

    def __init__(self, held: int) -> None:
        self.moments: Moments = {}
        self._held = held

    @contextmanager
    def open(self) -> Iterator[None]:
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
            yield
        name, held = _BEGIN, self._held
        events: Any = profiler.profiler.kineto_results.events()
        for event in sorted(events, key=lambda event: event.start_ns()):
            if event.name() == "[memory]":
                held += event.nbytes()
            elif event.name().startswith(self._MARK):
                name = event.name().removeprefix(self._MARK)
            else:
                continue
            self.moments[name] = max(self.moments.get(name, 0), held)

    def mark(self, name: str) -> None:
        """Add a mark to the profiler's record."""
        with torch.profiler.record_function(self._MARK + name):
            pass
