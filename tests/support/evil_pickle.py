"""A pickle that does something when it is loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


class Evil:
    """Pickled, it makes the folder `marker` where it is loaded without care."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)
