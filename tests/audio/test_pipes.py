"""Named pipes, the shell's <(command), and devices: read where sound comes in, and never waited for without end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from linnet.audio import expand, fetch, load
from linnet.errors import AudioError
from tests.support.sounds import speechlike, write


def complaint(path: str | Path) -> str:
    with pytest.raises(AudioError) as caught:
        load(path)
    return str(caught.value)


def test_a_pipe_that_nobody_writes_into_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "WRITER", 0.2)
    os.mkfifo(tmp_path / "a.wav")
    begun = time.monotonic()
    assert "a.wav: no program writes to this pipe; start the writer first" in complaint(tmp_path / "a.wav")
    assert time.monotonic() - begun < 2


def test_a_pipe_whose_writer_sends_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "SILENCE", 0.2)
    path = tmp_path / "a.wav"
    os.mkfifo(path)
    silent = os.open(path, os.O_RDWR)
    try:
        assert "a.wav: the program that writes to this pipe sends nothing" in complaint(path)
        os.write(silent, b"RIFF")  # and no more
        assert "the program that writes to this pipe sends nothing" in complaint(path)
    finally:
        os.close(silent)


def test_a_slow_writer_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "WRITER", 5.0)
    sound = Path(write(tmp_path / "sound.wav", speechlike(1, 16000), 16000))
    path = tmp_path / "a.wav"
    os.mkfifo(path)

    def send() -> None:
        time.sleep(0.2)
        with path.open("wb") as pipe:
            data = sound.read_bytes()
            for start in range(0, len(data), 10_000):
                pipe.write(data[start : start + 10_000])
                pipe.flush()
                time.sleep(0.05)

    threading.Thread(target=send, daemon=True).start()
    assert np.array_equal(load(path).samples, load(sound).samples)


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="this system has no /dev/fd")
def test_a_command_of_the_shell(tmp_path: Path) -> None:
    sound = write(tmp_path / "sound.wav", speechlike(1, 16000), 16000)
    code = "import sys; from linnet.audio import load; print(*(len(load(path).samples) for path in sys.argv[1:]))"
    script = f"{sys.executable} -c '{code}' <(cat {sound}) <(sleep 0.3; cat {sound})"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "16000 16000\n"
    script = f"{sys.executable} -c '{code}' <(true)"
    failed = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert "is empty (0 bytes)" in failed.stderr


def test_folders_and_globs_give_no_pipes_or_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.wav")
    Path("null.wav").symlink_to("/dev/null")
    Path("link.wav").symlink_to("real.flac")
    Path("broken.wav").symlink_to("gone")
    Path("real.flac").touch()
    assert expand(["."]) == ["./broken.wav", "./link.wav", "./real.flac"]  # the first fails when it is opened
    assert expand(["*.wav"]) == ["broken.wav", "link.wav"]
    assert expand(["pipe.wav", "null.wav"]) == ["pipe.wav", "null.wav"]
    assert "null.wav: is a device or a socket" in complaint("null.wav")
