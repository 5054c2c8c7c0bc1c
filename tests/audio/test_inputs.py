"""Files, folders and globs as a list."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from linnet.audio import expand
from linnet.errors import AudioError


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in (
        *("b.wav", "a.MP3", "notes.txt", ".hidden.wav", "sub/c.flac", "sub/deep/d.mp4", ".git/e.wav"),
        *("odd[1].wav", "texts/readme.md", "sub/z.opus"),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def complaint(*inputs: str) -> str:
    with pytest.raises(AudioError) as caught:
        expand(inputs)
    return str(caught.value)


def test_order_is_kept_and_duplicates_go(tree: Path) -> None:
    url = "https://example.org/a b?x=*"
    assert expand(["b.wav", "-", url, "a.MP3", "-", "b.wav", url, "notes.txt"]) == [
        *("b.wav", "-", url, "a.MP3", "notes.txt"),
    ]
    assert expand([]) == []


def test_folders(tree: Path) -> None:
    assert expand(["."]) == ["./a.MP3", "./b.wav", "./odd[1].wav", "./sub/c.flac", "./sub/z.opus", "./sub/deep/d.mp4"]
    assert expand(["sub/"]) == ["sub/c.flac", "sub/z.opus", "sub/deep/d.mp4"]
    assert expand([str(tree / "sub/deep")]) == [str(tree / "sub/deep/d.mp4")]
    (tree / "sub/again").symlink_to(tree)  # a circle
    assert len(expand(["sub"])) == 3


def test_globs(tree: Path) -> None:
    assert expand(["*.wav"]) == ["b.wav", "odd[1].wav"]
    assert expand(["odd[1].wav"]) == ["odd[1].wav"]  # a file of that very name
    assert expand(["**/*.flac"]) == ["sub/c.flac"]
    assert expand(["s?b"]) == ["sub/c.flac", "sub/z.opus", "sub/deep/d.mp4"]
    assert expand(["*.txt", "[ab].*"]) == ["notes.txt", "a.MP3", "b.wav"]


def test_what_is_not_there(tree: Path) -> None:
    assert complaint("gone.wav") == "gone.wav: there is no such file or folder; check the path"
    assert complaint("b.wav", "*.ogg").startswith("*.ogg: no file matches this pattern")
    assert complaint("t*s").startswith("t*s: no file matches")
    message = complaint("texts")
    assert message.startswith("texts: no audio in this folder or its subfolders; looked for .3g2, ")
    assert ".wav" in message
    assert "there is no such file" in complaint("")


@pytest.mark.parametrize("closed", ["", "inner"])
def test_folder_without_permission(closed: str) -> None:
    import tempfile

    folder = Path(tempfile.mkdtemp())
    (folder / "inner").mkdir()
    (folder / "a.wav").touch()
    folder.chmod(0o755)
    (folder / closed).chmod(0)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        message = complaint(str(folder))
        assert message.startswith(
            f"{(folder / closed)}: this folder cannot be read: permission denied; make it readable"
        )
        if not closed:
            assert "permission denied" in complaint(str(folder / "a.wav"))
    finally:
        os.seteuid(user)
        folder.chmod(0o755)
        (folder / "inner").chmod(0o755)
        (folder / "a.wav").unlink()
        (folder / "inner").rmdir()
        folder.rmdir()


def test_large_folder(tmp_path: Path) -> None:
    for number in range(3000):
        (tmp_path / f"{number:05}.wav").touch()
    found = expand([str(tmp_path)])
    assert len(found) == 3000
    assert found == sorted(found)
