"""The errors of this package, also defined without Linnet for the copies of its files saved beside a model."""

from __future__ import annotations

try:
    from linnet.errors import MissingExtra, ModelError
except ImportError:

    class ModelError(ValueError):  # type: ignore[no-redef]
        """A model that is missing, incomplete, damaged or unsuitable."""

    class MissingExtra(ImportError):  # type: ignore[no-redef]  # noqa: N818
        """A feature whose optional libraries are not installed."""

        def __init__(self, feature: str, *, extra: str) -> None:
            super().__init__(f"{feature} needs an optional library: install {extra} with pip")


__all__ = ["MissingExtra", "ModelError"]
