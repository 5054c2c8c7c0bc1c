"""Steps that are taken once a module of another library has been imported: at once where it already exists.

`import linnet` must stay instant and load neither torch nor transformers, and yet Transformers' Auto classes should
know Linnet's models after it. So a note is left with Python's import system, which costs nothing until then.
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
    """Take a step after the module of this name has been loaded, once; now where it already is."""
    if module in sys.modules:
        step()
        return
    finder = next((one for one in sys.meta_path if isinstance(one, _AfterImport)), None)
    if finder is None:
        finder = _AfterImport()
        sys.meta_path.insert(0, finder)
    finder.waiting.setdefault(module, []).append(step)


class _AfterImport(MetaPathFinder):
    """Lets the other finders find a module, and does something after it has been loaded."""

    def __init__(self) -> None:
        self.waiting: dict[str, list[Step]] = {}

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """None for all modules but those that are waited for; each of these once."""
        del path, target
        steps = self.waiting.pop(name, None)
        if steps is None:
            return None
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _ThenLoader(spec.loader, steps)
        return spec


class _ThenLoader(Loader):
    """A loader that wraps another one and then runs steps."""

    def __init__(self, loader: Loader, steps: Sequence[Step]) -> None:
        self._loader, self._steps = loader, steps

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the other loader."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """As the other loader, which the module has again afterward."""
        spec = module.__spec__
        if spec is not None:
            spec.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        for step in self._steps:
            step()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
