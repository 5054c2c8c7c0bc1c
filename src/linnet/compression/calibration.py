"""Second moments of the inputs and outputs of linear layers, streamed over windows: the only statistics for the
factors.

The covariance of a layer's outputs is exactly W Cov(inputs) W^T, so a site is measured on its narrower side: the inputs
of q, k, v and the first layer of an MLP, and the outputs of the second layer of an MLP. Memory does not grow with the
number of windows. Shapes: n frames of a window, D width of the side that is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from linnet.compression.sites import Site, hooked
from linnet.compression.subject import Example, Subject
from linnet.errors import OptionError

Side = Literal["inputs", "outputs"]
FRAMES_PER_DIMENSION = 4  # rows per dimension: with fewer, small eigenvalues are noise


class Moments:
    """The mean [D] and covariance [D, D] of rows, added in float64 around the mean of the first block."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self._shift: Tensor | None = None
        self._sum = torch.zeros(width, dtype=torch.float64)
        self._products = torch.zeros(width, width, dtype=torch.float64)

    def add(self, rows: Tensor) -> None:
        """Add rows [n, D]."""
        if not len(rows):
            return
        exact = rows.detach().double()
        if self._shift is None:  # a mean far from 0 would cost precision
            self._shift = exact.mean(0)
        exact = exact - self._shift
        self.count += len(exact)
        self._sum += exact.sum(0)
        self._products.addmm_(exact.T, exact)

    @property
    def mean(self) -> Tensor:
        """[D], float64."""
        return self._sum / max(self.count, 1) + (0.0 if self._shift is None else self._shift)

    @property
    def covariance(self) -> Tensor:
        """[D, D], float64, divided by the number of rows."""
        off = self._sum / max(self.count, 1)
        return self._products / max(self.count, 1) - torch.outer(off, off)


@dataclass(frozen=True, eq=False)
class Measured:
    """The moments of a site's `side`."""

    side: Side
    count: int
    mean: Tensor
    covariance: Tensor


def side_of(site: Site) -> Side:
    """The narrower side; the inputs if both are equal, since other sites may share them."""
    return "inputs" if site.inputs <= site.outputs else "outputs"


def measure(
    subject: Subject,
    examples: Iterable[Example],
    sites: Sequence[Site],
    *,
    include_padding: bool = False,
    run: Callable[[Example], Any] | None = None,
) -> dict[str, Measured]:
    """The moments of each site, by name, over the frames without padding, or all with `include_padding`.

    `run` passes an example through the model, by default through its encoder. Raises `OptionError` with the required
    amount of audio if there are too few frames for the widest site.
    """
    moments = {_key(site): Moments(_width(site)) for site in sites}
    padding: list[Example | None] = [None]
    read = {name: _reading(found, padding) for (name, side), found in moments.items() if side == "inputs"}
    written = {name: _writing(found, padding) for (name, side), found in moments.items() if side == "outputs"}
    with torch.no_grad(), hooked(subject.model, read, before=True), hooked(subject.model, written):
        for example in examples:
            padding[0] = None if include_padding else example
            (run or subject.encode)(example)
    for (name, _), found in moments.items():
        _check_enough(name, found)
    return {site.name: _measured(moments[_key(site)], side_of(site)) for site in sites}


def rows_of(values: Tensor, padded: Example | None) -> Tensor:
    """The inputs or outputs of a layer for one window [1, T, D] as rows [n, D]; without padding frames, if given."""
    if padded is not None and padded.frames is not None and values.ndim == 3 and values.shape[1] == padded.positions:
        values = values[:, : padded.frames]
    return values.reshape(-1, values.shape[-1])


def _key(site: Site) -> tuple[str, Side]:
    side = side_of(site)
    return (site.shares if side == "inputs" else site.name), side


def _width(site: Site) -> int:
    return min(site.inputs, site.outputs)


def _measured(found: Moments, side: Side) -> Measured:
    return Measured(side, found.count, found.mean, found.covariance)


def _reading(moments: Moments, padding: list[Example | None]) -> Callable[..., None]:
    def hook(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        moments.add(rows_of(given[0], padding[0]))

    return hook


def _writing(moments: Moments, padding: list[Example | None]) -> Callable[..., None]:
    def hook(_: nn.Module, __: Any, made: Tensor) -> None:
        moments.add(rows_of(made, padding[0]))

    return hook


def _check_enough(name: str, found: Moments) -> None:
    least = FRAMES_PER_DIMENSION * len(found.mean)
    if found.count < least:
        raise OptionError(
            f"too little calibration audio: {found.count} frames at {name}, whose width needs {least} or more: give "
            f"at least {least / max(found.count, 1):.1f} times as much"
        )
