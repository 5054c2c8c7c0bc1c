"""A wheel built from the project works outside the checkout, with the embedded weights inside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is written into the checkout."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(root / name, copy / name)
    shutil.copytree(root / "src", copy / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(copy / "dist"), str(copy)],
        check=True,
        capture_output=True,
    )
    (built,) = (copy / "dist").glob("*.whl")
    return built


def test_the_wheel_holds_the_weights_the_types_and_the_license(wheel: Path, root: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert "linnet/py.typed" in names
    assert {"linnet/models/embedded/digits/model.safetensors", "linnet/models/embedded/digits/README.md"} <= names
    embedded = root / "src" / "linnet" / "models" / "embedded"
    assert {f"linnet/models/embedded/{path.relative_to(embedded)}" for path in embedded.glob("*/*")} <= names
    assert any(name.endswith("licenses/NOTICE") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "scripts/"))]


def test_the_installed_wheel_transcribes_outside_the_checkout(wheel: Path, root: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    sound = shutil.copy(root / "examples" / "digits-en.flac", tmp_path / "spoken.flac")
    done = subprocess.run(
        [sys.executable, "-m", "linnet", "transcribe", str(sound), "--model", "digits"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["three", "one", "four", "one", "five", "nine"]
    where = subprocess.run(
        [sys.executable, "-c", "import linnet; print(linnet.__file__)"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.strip().startswith(str(target))
