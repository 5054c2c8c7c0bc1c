"""What runs here: versions, for reports and for whatever must be found again."""

from __future__ import annotations

from functools import cache
from importlib import metadata


def versions(*packages: str) -> dict[str, str]:
    """The versions of installed packages, none of which is imported.

    Raises `importlib.metadata.PackageNotFoundError` for one that is not installed.
    """
    return {package: _version(package) for package in packages}


@cache
def _version(package: str) -> str:
    return metadata.version(package)
