"""What the values of a recipe may be: checked where a recipe is made, so that a dry run and a run refuse the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from linnet.errors import OptionError

_TOO_LARGE = 2**63  # for NumPy, PyTorch, and any run


@dataclass(frozen=True)
class Limit:
    """Which numbers are allowed, in words and as a test; one that is not finite never is."""

    words: str
    allows: Callable[[float], bool]

    def check(self, name: str, value: float) -> None:
        """Raise an `OptionError` that names the key where its value is not allowed.

        >>> SHARE.check("warmup", 500)
        Traceback (most recent call last):
        linnet.errors.OptionError: warmup must be from 0 to 1, got 500.
        """
        if value >= _TOO_LARGE:
            raise OptionError(f"{name} must be below 2**63.")
        if not self.allows(value):
            raise OptionError(f"{name} must be {self.words}, got {value!r}.")


POSITIVE = Limit("more than 0", lambda value: value > 0)
NOT_NEGATIVE = Limit("0 or more", lambda value: value >= 0)
ONE_OR_MORE = Limit("1 or more", lambda value: value >= 1)
SHARE = Limit("from 0 to 1", lambda value: 0 <= value <= 1)
BELOW_ONE = Limit("from 0 to below 1", lambda value: 0 <= value < 1)


def require(options: object, limit: Limit, *names: str) -> None:
    """Hold fields of a recipe's dataclass to a limit. Raises `OptionError`."""
    for name in names:
        limit.check(name, getattr(options, name))


def require_known(options: object, name: str, known: Iterable[str]) -> None:
    """Hold a field to the words that are known; an empty one among them stands for leaving it out."""
    value, words = getattr(options, name), tuple(known)
    if value not in words:
        left_out = ", or leave it out" if "" in words else ""
        raise OptionError(f"{name} {value!r} is unknown: use {', '.join(filter(None, words))}{left_out}.")
