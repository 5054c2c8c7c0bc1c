"""The architectures in Transformers, read without importing it, which takes seconds and PyTorch."""

from __future__ import annotations

import ast
import importlib
import sys
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_MODULE = "transformers.models.auto.modeling_auto"


def known(table: str) -> dict[str, str]:
    """A table of Transformers' Auto classes, such as MODEL_FOR_CTC_MAPPING_NAMES: model type to architecture.

    It is a literal in the source; if it is not, or the module is already loaded, the module is used, which then also
    has our own models.
    """
    if _MODULE not in sys.modules:
        with suppress(OSError, SyntaxError, ValueError, LookupError, TypeError):
            return _read(table)
        # the source has another form: importing it is slower, but always right
    return dict(getattr(importlib.import_module(_MODULE), table))


@cache
def _read(table: str) -> dict[str, str]:
    """The table from the source. Raises various errors if it is not `OrderedDict([(..., ...), ...])`."""
    spec = find_spec("transformers")
    if spec is None or not spec.submodule_search_locations:
        raise LookupError("transformers")
    path = Path(spec.submodule_search_locations[0], *_MODULE.split(".")[1:]).with_suffix(".py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and [ast.unparse(name) for name in node.targets] == [table]:
            if isinstance(node.value, ast.Call) and len(node.value.args) == 1:
                return dict(ast.literal_eval(node.value.args[0]))
            break
    raise LookupError(table)
