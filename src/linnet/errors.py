"""Errors for the user, each also a suitable builtin.

The text of a `LinnetError` is safe to show: it names the input, what was expected and what to do next. Any other error
that escapes is a defect of Linnet.
"""

from __future__ import annotations


class LinnetError(Exception):
    """Base of all errors meant for users of Linnet."""


class AudioError(LinnetError, ValueError):
    """A recording that cannot be read, or that holds no usable samples."""


class ModelError(LinnetError, ValueError):
    """A model that is missing, incomplete, damaged or unsuitable."""


class OptionError(LinnetError, ValueError):
    """An option, recipe key or manifest row that is invalid or not supported."""


class OutputError(LinnetError, OSError):
    """A result that cannot be written."""


class MissingExtra(LinnetError, ImportError):  # noqa: N818 (reads better where it is raised)
    """A feature whose optional libraries are not installed.

    >>> str(MissingExtra("mp4 audio", extra="av"))
    'mp4 audio needs an optional library: install it with  pip install "linnet[av]"'
    """

    def __init__(self, feature: str, *, extra: str) -> None:
        super().__init__(f'{feature} needs an optional library: install it with  pip install "linnet[{extra}]"')
        self.extra = extra
