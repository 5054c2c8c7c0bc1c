"""One virtual environment for each peer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from peers.client import PeerError

TORCH = "torch==2.13.0"  # one that the index has for CPUs
REQUIREMENTS = {
    "faster-whisper": ["faster-whisper==1.2.1", TORCH, "transformers==5.23.0"],  # the last two convert
    "openvino-genai": ["openvino-genai==2026.4.1.0", "optimum-intel[openvino]==2.2.0", TORCH],
    "transformers": ["transformers==5.23.0", TORCH],
    "openai-whisper": ["openai-whisper==20250625", "safetensors", TORCH],
}
UNWANTED = {"openvino-genai": ["torchvision"]}  # the index has it for CUDA only, and then nothing can be imported


def interpreter(folder: Path, peer: str) -> Path:
    """The Python of a peer's environment. Raises `PeerError` where it was not set up, or could not be."""
    place = folder / peer
    if (place / "failed").is_file():
        raise PeerError((place / "failed").read_text().strip())
    if not (place / "done").is_file():
        raise PeerError("it is not installed: run with --set-up")
    return place / "bin" / "python"


def set_up(folder: Path, peer: str) -> str | None:
    """Make the environment of a peer; what kept it from being made, or None."""
    place = folder / peer
    if (place / "done").is_file():
        return None
    place.mkdir(parents=True, exist_ok=True)
    (place / "failed").unlink(missing_ok=True)
    pip = [str(place / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    commands = [[sys.executable, "-m", "venv", str(place)], [*pip, "install", *REQUIREMENTS[peer]]]
    if peer in UNWANTED:
        commands.append([*pip, "uninstall", "--yes", *UNWANTED[peer]])
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr[-300:]]
            (place / "failed").write_text(f"cannot be installed: {errors[0]}")
            return errors[0]
    (place / "done").touch()
    return None
