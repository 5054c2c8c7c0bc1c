"""No test leans on a private name of ours: what a test needs to see or replace is public."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support.places import ROOT

CODE = ("src/linnet", "recipes")
PRIVATE = re.compile(r"_[A-Za-z]\w*[A-Za-z0-9]|_[A-Za-z]")
DOTTED = re.compile(r"\w+\.(_[A-Za-z]\w*)")  # in a name given as a string, or in a program that a test runs
REPLACED = {"setattr", "delattr", "getattr", "hasattr"}


def private(name: str) -> bool:
    return PRIVATE.fullmatch(name) is not None


def defined(tree: ast.AST) -> Iterator[str]:
    """The private names that a module or its classes define."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr


def own_names() -> frozenset[str]:
    files = [file for folder in CODE for file in (ROOT / folder).rglob("*.py")]
    return frozenset(name for file in files for name in defined(ast.parse(file.read_text())) if private(name))


def used(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The private names that a test reaches for from outside, each with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in {"linnet", "recipes"}:
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) not in {"self", "cls", "super()"}:
            yield node.lineno, node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in REPLACED:
            texts = [one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
            yield from ((node.lineno, text) for text in texts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from ((node.lineno, name) for name in DOTTED.findall(node.value))


def test_no_test_leans_on_a_private_name() -> None:
    ours = own_names()
    assert len(ours) > 500, "where is the code?"
    found = [
        f"{file.relative_to(ROOT)}:{line}: {name}"
        for file in sorted((ROOT / "tests").rglob("*.py"))
        for line, name in used(ast.parse(file.read_text()))
        if private(name) and name in ours
    ]
    assert not found, "make what is needed public, or test what is public already:\n" + "\n".join(found)


@pytest.mark.parametrize(
    "code",
    [
        "from linnet.files import _nowhere",
        "decoder._nowhere",
        "monkeypatch.setattr(module, '_nowhere', None)",
        "monkeypatch.setattr('linnet.files._nowhere', None)",
        "run('import linnet.files as files; files._nowhere()')",
    ],
)
def test_every_way_to_a_private_name_is_seen(code: str) -> None:
    assert any(private(name) for _, name in used(ast.parse(code)))


@pytest.mark.parametrize(
    "code", ["self._nowhere", "module.__name__", "from os import _exit", "'a _word_ of text'", "_ = 1"]
)
def test_what_is_no_private_name_of_ours_is_let_be(code: str) -> None:
    assert not any(private(name) for _, name in used(ast.parse(code)))
