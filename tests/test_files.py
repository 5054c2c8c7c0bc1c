"""Drafts: those of killed processes go at a next run, those that anybody may still write stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from linnet.files import _begun, _clear_once, _machine, draft_path

MAKE = """
import sys, time
from pathlib import Path
from linnet.files import draft_path
draft = draft_path(Path(sys.argv[1]))
draft.mkdir()
(draft / "part.bin").write_bytes(b"x")
draft_path(Path(sys.argv[1])).write_text("half")
print("there", flush=True)
time.sleep(600)
"""


@pytest.fixture
def maker(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has begun a file and a folder."""
    process = subprocess.Popen([sys.executable, "-c", MAKE, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def left(folder: Path) -> list[str]:
    _clear_once.cache_clear()  # as in a new process
    draft_path(folder)
    return sorted(path.name for path in folder.iterdir())


def aged(path: Path, hours: float) -> Path:
    when = path.lstat().st_mtime - 3600 * hours
    os.utime(path, (when, when), follow_symlinks=False)
    return path


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="without /proc only the age of a draft tells")
def test_drafts_of_a_killed_process_go_and_those_of_a_living_one_stay(
    tmp_path: Path, maker: subprocess.Popen[str]
) -> None:
    for path in tmp_path.iterdir():
        aged(path, 100)  # asleep with the machine, say
    assert len(left(tmp_path)) == 2
    maker.send_signal(signal.SIGKILL)
    maker.wait()
    assert left(tmp_path) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="without /proc only the age of a draft tells")
def test_a_process_number_that_is_used_again_is_another_process(tmp_path: Path) -> None:
    pid = os.getpid()
    mine, older = (f".linnet-{_machine()}-{pid}-{begun}-00000000.tmp" for begun in (_begun(pid), 5))
    for name in (mine, older):
        (tmp_path / name).touch()
    assert left(tmp_path) == [mine]


def test_drafts_of_other_machines_go_when_they_have_not_changed_for_a_day(tmp_path: Path) -> None:
    fresh = tmp_path / ".linnet-00000000-1-1-00000000.tmp"
    fresh.touch()
    aged_file = tmp_path / ".linnet-00000000-1-1-00000001.tmp"
    aged_file.touch()
    aged(aged_file, 25)
    written = tmp_path / ".linnet-00000000-1-1-00000002.tmp"
    written.mkdir()
    (written / "part.bin").touch()
    aged(written, 25)
    done = tmp_path / ".linnet-00000000-1-1-00000003.tmp"
    done.mkdir()
    aged(done, 25)
    assert left(tmp_path) == [fresh.name, written.name]


def test_nothing_else_goes_and_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    names = [".linnet-notes", "linnet-1.tmp", "a.tmp", ".a.wav.linnet"]
    for name in names:
        (tmp_path / name).touch()
        aged(tmp_path / name, 100)
    link = tmp_path / ".linnet-00000000-1-1-00000000.tmp"
    link.symlink_to("kept")
    aged(link, 25)
    assert left(tmp_path) == sorted([*names, "kept"])
    assert (tmp_path / "kept" / "file").exists()


def test_a_draft_has_a_name_of_its_own_and_needs_no_folder(tmp_path: Path) -> None:
    first, second = draft_path(tmp_path / "not there"), draft_path(tmp_path / "not there")
    assert first != second
    assert first.parent == tmp_path / "not there"
    assert first.name.startswith(".linnet-")
    assert not first.parent.exists()
