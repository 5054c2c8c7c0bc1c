"""Damaged sounds never crash, never hang, and raise nothing but `LinnetError`."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support import damaged_sounds
from tests.support.sounds import speechlike, write, write_container

BATCH = 125


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeds")
    for name in ("a.wav", "b.flac", "c.ogg", "d.mp3", "e.opus"):
        write(folder / name, speechlike(1.5, 16000), 16000)
    write(folder / "f.wav", speechlike(1, 44100), 44100, subtype="FLOAT")
    if find_spec("av"):
        write_container(folder / "g.mp4", speechlike(1.5, 16000), 16000)
        write_container(folder / "h.mp4", speechlike(1.5, 16000), 16000, movflags="faststart")
        write_container(folder / "i.webm", speechlike(1.5, 48000), 48000, "libopus")
    return folder


@pytest.mark.parametrize("first", range(0, 500, BATCH))
def test_mutated_files(seeds: Path, first: int) -> None:
    command = [sys.executable, damaged_sounds.__file__, str(seeds), str(first), str(first + BATCH)]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired as error:
        pytest.fail(f"a file hangs the decoder: seed {(error.stdout or b'').decode().splitlines()[-1]}")
    last = (run.stdout.splitlines() or ["none"])[-1]
    assert run.returncode == 0, f"seed {last} ended with status {run.returncode}:\n{run.stderr[-3000:]}"
    times = [float(time) for time in re.findall(r"in ([\d.]+)$", run.stdout, re.MULTILINE)]
    assert len(times) == BATCH
    assert max(times) < 20
    assert all(len(line) > 60 for line in run.stdout.splitlines() if "Error" in line)  # each says something
