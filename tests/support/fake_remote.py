"""Another machine in a folder: `ssh`, `rsync`, `python3` (and `tmux` where there is none) that work there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_SSH = """
options = iter(arguments)
for word in options:
    if word == "-o":
        next(options)
    else:
        break
command = " ".join(options)
if "tail -n" in command and (home / "broken").exists():
    sys.exit(255)
import subprocess
sys.exit(subprocess.run(["sh", "-c", command], cwd=home).returncode)
"""
_RSYNC = """
import shutil
from pathlib import Path
places = [word for word in arguments if not word.startswith("-")]
*sources, target = (home / word.partition(":")[2] if ":" in word.partition("/")[0] else word for word in places)
target = Path(target)
if "--files-from=-" in arguments:
    for path in filter(None, sys.stdin.buffer.read().decode().split(chr(0))):
        goal = target / path.lstrip("/")
        goal.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(path, goal, dirs_exist_ok=True) if Path(path).is_dir() else shutil.copy(path, goal)
    sys.exit()
left_out = shutil.ignore_patterns(*(word.partition("=/")[2] for word in arguments if word.startswith("--exclude")))
for place, source in zip(places, sources):
    target.mkdir(parents=True, exist_ok=True)
    if place.endswith("/"):
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=left_out)
    else:
        shutil.copy(source, target)
"""
_PYTHON = """
from pathlib import Path
if arguments[:2] == ["-m", "venv"]:
    python = Path(arguments[2]) / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(Path(__file__).absolute())
elif arguments[:2] != ["-m", "pip"]:
    (home / "environment").write_text(json.dumps(dict(os.environ)))
    if (home / "train.sh").exists():
        os.execvp("sh", ["sh", str(home / "train.sh")])
    os.execv(sys.executable, [sys.executable, *arguments])
"""
_TMUX = """
import subprocess
from pathlib import Path
if arguments[0] == "has-session":
    file = home / f"tmux-{arguments[2].removeprefix('=')}"
    alive = file.exists() and not subprocess.run(["kill", "-0", file.read_text()], stderr=subprocess.DEVNULL).returncode
    sys.exit(not alive)
if arguments[0] == "new-session":
    started = subprocess.Popen(["sh", "-c", arguments[4]], start_new_session=True, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (home / f"tmux-{arguments[3]}").write_text(str(started.pid))
"""
_HEAD = """#!{python}
import json, os, sys
from pathlib import Path
home, arguments = Path({home!r}), sys.argv[1:]
with open(home / "calls.jsonl", "a") as file:
    file.write(json.dumps([{name!r}, *arguments]) + "\\n")
"""


class Elsewhere:
    """The folder, and what was called there."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = folder / "there"
        programs = folder / "programs"
        self.home.mkdir()
        programs.mkdir()
        for name, body in (("ssh", _SSH), ("rsync", _RSYNC), ("python3", _PYTHON), ("tmux", _TMUX)):
            if name != "tmux" or shutil.which("tmux") is None:
                file = programs / name
                file.write_text(_HEAD.format(python=sys.executable, home=str(self.home), name=name) + body)
                file.chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("TMUX_TMPDIR", str(folder))  # a tmux of its own
        monkeypatch.delenv("TMUX", raising=False)
        self._tmux = shutil.which("tmux") or ""

    def close(self) -> None:
        """End the tmux of this test."""
        subprocess.run([self._tmux, "kill-server"], capture_output=True, check=False)

    @property
    def calls(self) -> list[list[Any]]:
        """Programs with their arguments."""
        return [json.loads(line) for line in (self.home / "calls.jsonl").read_text().splitlines()]

    def train_by(self, script: str) -> None:
        """What stands for the training there."""
        (self.home / "train.sh").write_text(script)
