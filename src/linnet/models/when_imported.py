"""Run a function once a module of another library is imported: immediately if it already is.

`import linnet` must be instant and load neither torch nor transformers, yet Transformers' Auto classes should know
Linnet's models after it. So a hook is registered with Python's import system, at no cost until then.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

Step = Callable[[], None]


def when_imported(module: str, step: Step) -> None:
    """Run `step` once after this module has been loaded; now if it already is."""
    if module in sys.modules:
        step()
        return
    finder = next((one for one in sys.meta_path if isinstance(one, _AfterImport)), None)
    if finder is None:
        finder = _AfterImport()
        sys.meta_path.insert(0, finder)
    finder.waiting.setdefault(module, []).append(step)


class _AfterImport(MetaPathFinder):
    """Lets the other finders find a module, and runs steps after it has been loaded."""

    def __init__(self) -> None:
        self.waiting: dict[str, list[Step]] = {}

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """A spec for each awaited module, once; None for all others."""
        del path, target
        steps = self.waiting.pop(name, None)
        if steps is None:
            return None
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _ThenLoader(spec.loader, steps)
        return spec


class _ThenLoader(Loader):
    """Wraps another loader and then runs steps."""

    def __init__(self, loader: Loader, steps: Sequence[Step]) -> None:
        self._loader, self._steps = loader, steps

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the wrapped loader."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """As the wrapped loader, which is then restored on the module."""
        spec = module.__spec__
        if spec is not None:
            spec.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        for step in self._steps:
            step()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
