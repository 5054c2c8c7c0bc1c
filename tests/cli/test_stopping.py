"""SIGTERM in the middle of a download: the temporary file goes, and the status says which signal it was."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import typer

from linnet.audio import load
from linnet.cli.processes import stoppable


class Endless(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(bytes(100_000))
                time.sleep(0.01)  # else it takes a core, and memory without end
        except OSError:
            pass  # the other side has gone

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/a.wav"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_download_leaves_nothing_behind(
    endless: str, number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen: list[int] = []

    def end() -> None:
        while not any(path.stat().st_size for path in tmp_path.iterdir()):
            time.sleep(0.01)
        seen.append(len(list(tmp_path.iterdir())))
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    threading.Thread(target=end, daemon=True).start()
    with pytest.raises(typer.Exit) as ended, stoppable():
        load(endless)
    assert (seen, ended.value.exit_code) == ([1], 128 + number)
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(number) is before


def test_what_is_ignored_stays_ignored() -> None:
    """As nohup leaves it."""
    with ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGHUP, signal.signal(signal.SIGHUP, signal.SIG_IGN))
        with stoppable():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
