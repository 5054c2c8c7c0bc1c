"""Files and folders that appear whole or not at all, logs that outlive `kill -9`, drafts of killed processes."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from linnet.errors import OutputError
from linnet.files import (
    Existing,
    JsonLog,
    check_place,
    clear_once,
    draft_path,
    restore_folder,
    whole_folder,
    whole_lines,
    write_atomic,
)
from tests.support.killed_process import killed_draft

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
    clear_once.cache_clear()  # as in a new process
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
    name, machine, pid, begun, _ = draft_path(tmp_path).name.split("-")
    mine, older = (f"{name}-{machine}-{pid}-{time}-00000000.tmp" for time in (begun, 5))
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


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    write_atomic(target, "für\n")
    assert target.read_bytes() == "für\n".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    killed_draft(tmp_path)
    write_atomic(tmp_path / "a.txt", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_names_in_other_encodings_are_escaped(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a.json", json.dumps({"source": "caf\udce9.wav"}, ensure_ascii=False))
    assert json.loads((tmp_path / "a.json").read_text())["source"] == "caf\udce9.wav"


def test_a_full_disk_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError) as caught:
        write_atomic(target, "new")
    assert str(caught.value) == (
        f"{target}: cannot write: the disk is full; free some space or choose another --output"
    )
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_beyond_the_limit_of_the_system(tmp_path: Path) -> None:
    """The kernel itself refuses: the process may write files of 1,000 bytes at most."""
    code = (
        "import resource, signal, sys\n"
        "from linnet.files import write_atomic\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (1000, {resource.RLIM_INFINITY}))\n"
        "write_atomic(sys.argv[1], 'x' * 5000)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.txt")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "a.txt: cannot write: the file would be larger than is allowed here" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write: the folder is missing; create it or choose another --output"):
        write_atomic(tmp_path / "none" / "a.txt", "x")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="no permission to write there"):
        write_atomic(tmp_path / "a.txt", "x")


def test_a_folder_without_permission_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", closed)
    with pytest.raises(OutputError, match="no permission to write there; choose another"):
        write_atomic(tmp_path / "a.txt", "x")


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "made" / "model"
    with suppress(KeyError), whole_folder(target) as draft:
        (draft / "half").touch()
        raise KeyError
    assert list(target.parent.iterdir()) == []
    with whole_folder(target) as draft:
        (draft / "file").write_text("first")
        assert not target.exists()
    assert [path.name for path in target.parent.iterdir()] == ["model"]


@pytest.mark.parametrize(("existing", "stays"), [("refuse", "first"), ("keep", "first"), ("replace", "second")])
def test_what_becomes_of_a_folder_that_is_there(tmp_path: Path, existing: Existing, stays: str) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "file").write_text("first")
    refused = pytest.raises(OSError, match="not empty") if existing == "refuse" else nullcontext()
    with refused, whole_folder(target, existing) as draft:
        (draft / "file").write_text("second")
    assert (target / "file").read_text() == stays
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_replacement_that_was_killed_half_way_is_undone(tmp_path: Path) -> None:
    old = tmp_path / ".model.old"
    old.mkdir()
    restore_folder(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    old.mkdir()
    restore_folder(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


LOG = r"""
import os, signal, sys
from pathlib import Path
from linnet.files import JsonLog
log = JsonLog(Path(sys.argv[1]))
for number in range(3):
    log.append({"row": number, "name": "caf\udce9", "text": "f\u00fcr\u2028"})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_log_outlives_the_kill_of_its_process(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", LOG, str(path)], check=False).returncode == -signal.SIGKILL
    rows = [json.loads(line) for line in whole_lines(path)]
    assert [row["row"] for row in rows] == [0, 1, 2, 0, 1, 2]
    assert rows[0]["name"] == "caf\udce9"
    assert rows[0]["text"] == "für\u2028"


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 15, 20])
@pytest.mark.parametrize("long", ["", "x" * 200_000])
def test_wherever_a_log_was_cut_it_goes_on_behind_the_last_whole_line(tmp_path: Path, size: int, long: str) -> None:
    path = tmp_path / "log.jsonl"
    lines = [json.dumps([number, long]) + "\n" for number in range(2)]
    whole = "".join(lines).encode()
    path.write_bytes(whole[: size * len(whole) // 20])
    kept = whole_lines(path)
    with JsonLog(path) as log:
        log.append({"row": 1})
    assert whole_lines(path) == [*kept, b'{"row": 1}']
    with JsonLog(path, restart=True) as log:
        log.append({"row": 2})
    assert whole_lines(path) == [b'{"row": 2}']


def test_a_log_may_refuse_what_json_does_not_know(tmp_path: Path) -> None:
    with JsonLog(tmp_path / "log.jsonl", allow_nan=False) as log, pytest.raises(ValueError, match="not JSON compliant"):
        log.append({"loss": float("nan")})
    assert whole_lines(tmp_path / "log.jsonl") == []


def test_a_place_where_nothing_can_be_written_is_seen_before_the_work(tmp_path: Path) -> None:
    check_place(tmp_path / "new" / "deep" / "a.txt")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"file/a.txt: cannot write: .*choose another --output"):
        check_place(tmp_path / "file" / "a.txt")
