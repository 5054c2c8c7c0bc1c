"""Model folders without torch, the Hub's cache built by hand, and a Hub of our own on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NOWHERE = "http://127.0.0.1:9"  # the discard port: refuses


def model_files(
    architecture: str = "Wav2Vec2ForCTC", model_type: str = "wav2vec2", *, seed: int = 0
) -> dict[str, bytes]:
    """The files of a model folder that is whole by its looks; its weights are 1000 random numbers."""
    weights = np.random.default_rng(seed).standard_normal(1000).astype(np.float32)
    texts: dict[str, Any] = {
        "config.json": {"architectures": [architecture], "model_type": model_type},
        "preprocessor_config.json": {"sampling_rate": 16000, "chunk_length": 30},
        "vocab.json": {"a": 0},
        "generation_config.json": {
            "lang_to_id": {"<|en|>": 1, "<|de|>": 2},
            "task_to_id": {"transcribe": 3, "translate": 4},
        },
    }
    files = {name: json.dumps(value).encode() for name, value in texts.items()}
    card = "---\nlicense: apache-2.0\nlanguage:\n- en\n---\n# A model\n"
    return {**files, "model.safetensors": save({"weight": weights}), "README.md": card.encode()}


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def add_to_cache(cache: Path, model_id: str, files: Mapping[str, bytes], commit: str = COMMIT) -> Path:
    """Lay files out as huggingface_hub does (blobs, refs, snapshots of links); the snapshot folder."""
    repository = cache / f"models--{model_id.replace('/', '--')}"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    write_files(repository / "refs", {"main": commit.encode()})
    for name, content in files.items():
        blob = hashlib.sha256(content).hexdigest()
        write_files(repository / "blobs", {blob: content})
        (snapshot / name).symlink_to(Path("../../blobs") / blob)
    return snapshot


def linnet(*arguments: str, cache: Path, endpoint: str = NOWHERE, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the real command with a cache of its own and no way to the real Hub."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "LINNET_", "TRANSFORMERS_"))}
    environment = {
        **clean,
        "HF_HUB_CACHE": str(cache),
        "LINNET_CACHE": str(cache.with_name(f"{cache.name}-linnet")),  # beside, not the user's own
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_XET": "1",
        "COLUMNS": "200",
    }
    environment.update(more)
    command = [sys.executable, "-m", "linnet", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)


@contextmanager
def hub(repositories: Mapping[str, Mapping[str, bytes]], status: int = 200) -> Iterator[tuple[str, list[str]]]:
    """Serve repositories as the Hub does: the endpoint, and the list of paths that were downloaded so far."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.repositories, server.status, server.downloaded = repositories, status, []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.downloaded
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    repositories: Mapping[str, Mapping[str, bytes]]
    status: int
    downloaded: list[str]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        model_id = "/".join(path.removeprefix("/api/models").split("/")[1:3])
        files = self.server.repositories.get(model_id)
        if self.server.status != 200:
            self._send(self.server.status, b"{}", {"X-Error-Code": "GatedRepo"} if self.server.status == 403 else {})
        elif files is None:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif path.startswith("/api/models/"):
            self._send(200, json.dumps(_described(model_id, files, tree="/tree/" in path)).encode())
        else:
            self._send_file(path.split("/", 5)[5], files)

    def _send_file(self, name: str, files: Mapping[str, bytes]) -> None:
        if self.command == "GET":
            self.server.downloaded.append(name)
        self._send(200, files[name], {"ETag": f'"{hashlib.sha256(files[name]).hexdigest()}"'})

    def _send(self, code: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(code)
        for key, value in {"X-Repo-Commit": COMMIT, "Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _described(model_id: str, files: Mapping[str, bytes], *, tree: bool) -> Any:
    if tree:
        return [_listed(name, content) for name, content in files.items()]
    return {"id": model_id, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}


def _listed(name: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
