"""Sounds at http addresses, from a server on this machine."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from sounds import speechlike, write

from linnet.audio import fetch, load, open_audio
from linnet.errors import AudioError


class Server(BaseHTTPRequestHandler):
    sound = b""
    agents: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.agents.append(self.headers["User-Agent"])
        answers = {
            "/a.wav": (200, {}, self.sound),
            "/a%20b.wav": (200, {}, self.sound),
            "/moved.wav": (302, {"Location": "/a.wav"}, b""),
            "/loop.wav": (302, {"Location": "/loop.wav"}, b""),
            "/page.mp3": (200, {"Content-Type": "text/html"}, b"<!doctype html><html>Log in</html>"),
            "/short.wav": (200, {"Content-Length": str(len(self.sound) + 1000)}, self.sound),
            "/empty.wav": (200, {}, b""),
            "/secret.wav": (403, {}, b"no"),
            "/radio": (200, {"icy-name": "Radio"}, self.sound),
            "/file.wav": (302, {"Location": "file:///etc/passwd"}, b""),
        }
        if self.path == "/stalled.wav":
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            threading.Event().wait(2)
            return
        status, headers, body = answers.get(self.path, (404, {}, b"nothing"))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = write(tmp_path_factory.mktemp("site") / "a.wav", speechlike(1, 16000), 16000)
    Server.sound = Path(path).read_bytes()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "127.0.0.1")
        yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def complaint(url: str) -> str:
    with pytest.raises(AudioError) as caught:
        load(url)
    return str(caught.value)


def test_a_sound_is_fetched_and_the_copy_removed(site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    whole = load(Server.sound).samples
    with open_audio(f"{site}/a.wav") as source:
        assert source.name == f"{site}/a.wav"
        assert len(list(tmp_path.iterdir())) == 1
        assert np.array_equal(source.window(0, 99_999), whole)
    for name in ("moved.wav", "a b.wav", "a%20b.wav"):
        assert np.array_equal(load(f"{site}/{name}").samples, whole)
    assert not list(tmp_path.iterdir())
    assert all(agent.startswith("linnet/") for agent in Server.agents)


def test_what_goes_wrong(site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert complaint(f"{site}/no.wav") == f"{site}/no.wav: the server answered 404 Not Found; check the address"
    assert "the server answered 403 Forbidden; check that it is public" in complaint(f"{site}/secret.wav")
    assert f"{site}/page.mp3: is a web page, not sound" in complaint(f"{site}/page.mp3")
    size = len(Server.sound)
    assert f"the download broke off after {size} of {size + 1000} bytes; try again" in complaint(f"{site}/short.wav")
    assert "is empty (0 bytes)" in complaint(f"{site}/empty.wav")
    assert "is a live radio stream without an end" in complaint(f"{site}/radio")
    assert "/loop.wav: the server answered 302" in complaint(f"{site}/loop.wav")
    assert "/file.wav: the server answered 302" in complaint(f"{site}/file.wav")
    assert not list(tmp_path.iterdir())


def test_no_answer(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "cannot be downloaded (Connection refused); check the address and the network" in complaint(
        "http://127.0.0.1:9/a.wav"
    )
    monkeypatch.setattr(fetch, "TIMEOUT", 0.3)
    assert "stalled.wav: reading stopped after 0 bytes (no answer within" in complaint(f"{site}/stalled.wav")


def test_addresses_that_are_none() -> None:
    assert complaint("s3://bucket/a.wav").startswith("s3://bucket/a.wav: s3:// addresses are not supported; use http")
    assert "cannot be downloaded (Invalid IPv6 URL)" in complaint("http://[::1/a.wav")
    assert "secret" not in complaint("http://me:secret@127.0.0.1:9/a.wav")
