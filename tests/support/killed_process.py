"""What a process that was killed leaves behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_MAKE = """
import os, signal, sys
from pathlib import Path
from linnet.files import draft_path
draft = draft_path(Path(sys.argv[1]))
draft.mkdir(parents=True)
(draft / "half.bin").write_bytes(b"x")
print(draft, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed_draft(folder: Path) -> Path:
    """A draft in this folder whose maker was killed before it was done."""
    done = subprocess.run([sys.executable, "-c", _MAKE, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode < 0, done.stderr
    draft = Path(done.stdout.strip())
    assert draft.is_dir()
    return draft
