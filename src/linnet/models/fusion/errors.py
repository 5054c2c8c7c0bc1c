"""The one error of this package, so that its files also run where they were saved beside a model, without Linnet."""

from __future__ import annotations

try:
    from linnet.errors import MissingExtra, ModelError
except ImportError:

    class ModelError(ValueError):  # type: ignore[no-redef]
        """A model that is missing, incomplete, damaged or not fit for the task."""

    class MissingExtra(ImportError):  # type: ignore[no-redef]  # noqa: N818
        """A feature whose optional libraries are not installed."""

        def __init__(self, feature: str, *, extra: str) -> None:
            super().__init__(f"{feature} needs an optional library: install {extra} with pip")


__all__ = ["MissingExtra", "ModelError"]
