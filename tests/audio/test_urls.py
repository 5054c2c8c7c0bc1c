"""Sounds at http addresses, from a server on this machine."""

from __future__ import annotations

import gzip
import logging
import tempfile
import threading
import time
import traceback
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from linnet.audio import fetch, load, open_audio, web
from linnet.errors import AudioError, OptionError
from linnet.urls import public_name
from tests.support.sounds import speechlike, write

BOMB = b"".join([gzip.compress(bytes(1_000_000))] * 50)  # members of gzip follow one another: 50 MB in all


class Server(BaseHTTPRequestHandler):
    sound = b""
    agents: ClassVar[list[str]] = []
    logins: ClassVar[list[tuple[str, str | None]]] = []  # the path and what came with it
    elsewhere = ""  # the same server by another name

    def do_GET(self) -> None:
        self.agents.append(self.headers["User-Agent"])
        self.logins.append((self.path, self.headers["Authorization"]))
        answers = {
            "/a.wav": (200, {}, self.sound),
            "/a%20b.wav": (200, {}, self.sound),
            "/moved.wav": (302, {"Location": "/a.wav"}, b""),
            "/loop.wav": (302, {"Location": "/loop.wav"}, b""),
            "/page.mp3": (200, {"Content-Type": "text/html"}, b"<!doctype html><html>Log in</html>"),
            "/short.wav": (200, {"Content-Length": str(len(self.sound) + 1000)}, self.sound),
            "/empty.wav": (200, {}, b""),
            "/secret.wav": (403, {}, b"no"),
            "/login.wav": (401, {"WWW-Authenticate": "Basic"}, b"no"),
            "/radio": (200, {"icy-name": "Radio"}, self.sound),
            "/file.wav": (302, {"Location": "file:///etc/passwd?key=s3cret"}, b""),
            "/ftp.wav": (302, {"Location": "ftp://me:s3cret@127.0.0.1/a.wav"}, b""),
            "/away.wav": (302, {"Location": f"{self.elsewhere}/a.wav"}, b""),
            "/key.wav": (302, {"Location": "/no.wav?key=s3cret"}, b""),
            "/in.wav": (302, {"Location": f"{self.elsewhere.replace('//', '//you:and%40me@')}/a.wav"}, b""),
            "/gzip.wav": (
                200,
                {"Content-Encoding": "gzip"},
                gzip.compress(self.sound) + gzip.compress(b"") + b"\0" * 9,
            ),
            "/deflate.wav": (200, {"Content-Encoding": "deflate"}, zlib.compress(self.sound)),
            "/torn.wav": (200, {"Content-Encoding": "gzip"}, gzip.compress(self.sound)[:-20]),
            "/bad.wav": (200, {"Content-Encoding": "gzip"}, self.sound),
            "/chunks.wav": (200, {"Transfer-Encoding": "chunked"}, b"zz\r\nabc"),
            "/br.wav": (200, {"Content-Encoding": "br"}, self.sound),
            "/bomb.wav": (200, {"Content-Encoding": "gzip"}, BOMB),
            "/large.wav": (200, {"Content-Length": str(20 * 10**9)}, self.sound),
        }
        if self.path in ("/drip.wav", "/slow.wav"):
            self._drip()
            return
        if self.path == "/stalled.wav":
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            threading.Event().wait(2)
            return
        status, headers, body = answers.get(self.path.removeprefix("http://far.example"), (404, {}, b"nothing"))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _drip(self) -> None:
        """A byte every 0.1 s, of the head or of the body."""
        if self.path == "/drip.wav":
            self.send_response(200)
            self.end_headers()
        try:
            for byte in b"HTTP/1.0 200 OK\r\nX-Much: " + b"x" * 100:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(0.1)
        except OSError:
            pass  # the other side has had enough

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
        patch.setenv("no_proxy", "127.0.0.1,localhost")
        Server.elsewhere = f"http://localhost:{server.server_port}"
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
        assert np.array_equal(source.read(0, 99_999), whole)
    for name in ("moved.wav", "a b.wav", "a%20b.wav"):
        assert np.array_equal(load(f"{site}/{name}").samples, whole)
    assert not list(tmp_path.iterdir())
    assert all(agent.startswith("linnet/") for agent in Server.agents)


def test_what_goes_wrong(site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert complaint(f"{site}/no.wav") == f"{site}/no.wav: the server answered 404 Not Found; check the address"
    assert "the server answered 403 Forbidden; check that it is public" in complaint(f"{site}/secret.wav")
    assert f"{site}/page.mp3: is a web page, not audio" in complaint(f"{site}/page.mp3")
    assert "401 Unauthorized; check the login, given as in  http://user:pass" in complaint(f"{site}/login.wav")
    size = len(Server.sound)
    assert f"the download broke off after {size} of {size + 1000} bytes; try again" in complaint(f"{site}/short.wav")
    assert "is empty (0 bytes)" in complaint(f"{site}/empty.wav")
    assert "is an endless radio stream" in complaint(f"{site}/radio")
    assert "/loop.wav: the server answered 302" in complaint(f"{site}/loop.wav")
    assert "/file.wav: cannot be downloaded (it redirects to a file: URL" in complaint(f"{site}/file.wav")
    assert "/ftp.wav: cannot be downloaded (it redirects to a ftp: URL" in complaint(f"{site}/ftp.wav")
    assert not list(tmp_path.iterdir())


def test_no_answer(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "cannot be downloaded (Connection refused); check the URL and the network" in complaint(
        "http://127.0.0.1:9/a.wav"
    )
    monkeypatch.setattr(web, "TIMEOUT", 1.0)
    assert "stalled.wav: reading stopped after 0 bytes (no answer within" in complaint(f"{site}/stalled.wav")


def test_addresses_that_are_none() -> None:
    assert complaint("s3://bucket/a.wav").startswith("s3://bucket/a.wav: s3:// addresses are not supported; use http")
    assert complaint("http://[::1/a.wav").startswith("http://[::1/a.wav: is not a valid URL; check it")


def test_a_login_is_sent_to_its_own_host_only(site: str) -> None:
    url = site.replace("//", "//me:p%40ss%3A%2Fw@")
    given = "Basic bWU6cEBzczovdw=="  # base64 of me:p@ss:/w
    Server.logins.clear()
    assert load(f"{url}/a.wav").name == f"{site}/a.wav"
    load(f"{url}/moved.wav")
    assert Server.logins == [("/a.wav", given), ("/moved.wav", given), ("/a.wav", given)]
    Server.logins.clear()
    load(f"{url}/away.wav")
    load(f"{url}/in.wav")
    other = "Basic eW91OmFuZEBtZQ=="  # you:and@me
    assert Server.logins == [("/away.wav", given), ("/a.wav", None), ("/in.wav", given), ("/a.wav", other)]


def test_a_proxy_with_a_login(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", site.replace("//", "//proxy:s3cret@"))
    monkeypatch.delenv("no_proxy")
    Server.logins.clear()
    assert load("http://me:pass@far.example/moved.wav").name == "http://far.example/moved.wav"
    given = "Basic bWU6cGFzcw=="
    assert Server.logins == [(f"http://far.example/{name}.wav", given) for name in ("moved", "a")]
    assert complaint("http://far.example/no.wav").startswith("http://far.example/no.wav: the server answered 404")


SECRETS = ("s3cret", "me:", "%40x", "@x")


@pytest.mark.parametrize(
    "url",
    [
        "SITE/no.wav?key=s3cret&x=1",
        "SITE/no.wav#key=s3cret",
        "SITE/secret.wav?s3cret",
        "SITE/key.wav",
        "SITE/ftp.wav",
        "SITE/file.wav?s3cret",
        "SITE/page.mp3?key=s3cret",
        "http://me:s3cret@127.0.0.1:9/a.wav",
        "http://me:s3cret%40x@127.0.0.1:9/a.wav",
        "http://me:s3cret%40127.0.0.1:9/a.wav",
        "http://me:a/s3cret@127.0.0.1:9/a.wav",
        "http://me:a?s3cret#@x@127.0.0.1:9/a.wav",
        "http://me:s3cret@[::1/a.wav?s3cret",
        "http://me:s3cret@127.0.0.1:nine/a.wav",
        "http://me:s3cret@127.0.0.1:9/a\nb.wav?s3cret",
        "s3://me:s3cret@bucket/a.wav?s3cret",
    ],
)
def test_no_secret_of_an_address_is_told(site: str, url: str) -> None:
    with pytest.raises(AudioError) as caught:
        load(url.replace("SITE", site))
    told = "".join(traceback.format_exception(caught.value, limit=0)) + str(caught.value)
    assert [secret for secret in SECRETS if secret in told] == []
    assert caught.value.args[0].startswith(("http://", "s3://bucket/a.wav?…"))


def test_addresses_that_differ_in_their_query_have_different_names() -> None:
    names = {public_name(f"https://me@example.org/a%20b.wav{tail}") for tail in ("", "?a=1", "?a=2", "#a=1")}
    assert len(names) == 4
    assert {public_name(name) for name in names} == names
    assert all(name.startswith("https://example.org/a%20b.wav") for name in names)
    assert public_name("https://example.org:8080/@scope/pkg@1.2/a.wav") == (
        "https://example.org:8080/@scope/pkg@1.2/a.wav"
    )
    assert public_name("a/b@c?d") == "a/b@c?d"  # a path


def test_encoded_answers_are_decoded(site: str) -> None:
    whole = load(Server.sound).samples
    assert np.array_equal(load(f"{site}/gzip.wav").samples, whole)
    assert np.array_equal(load(f"{site}/deflate.wav").samples, whole)
    assert "torn.wav: its gzip encoding is truncated or damaged; try again" in complaint(f"{site}/torn.wav")
    assert "bad.wav: its gzip encoding is truncated or damaged; try again" in complaint(f"{site}/bad.wav")
    assert "chunks.wav: reading stopped after 0 bytes" in complaint(f"{site}/chunks.wav")
    assert "br.wav: cannot be downloaded (the server compresses it by br" in complaint(f"{site}/br.wav")


def test_a_download_that_is_too_large(site: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert "large.wav: is larger than 10 GB, the limit that LINNET_DOWNLOAD_GB sets" in complaint(f"{site}/large.wav")
    monkeypatch.setenv("LINNET_DOWNLOAD_GB", "0.001")
    assert "bomb.wav: is larger than 0.001 GB" in complaint(f"{site}/bomb.wav")
    load(f"{site}/a.wav")
    monkeypatch.setenv("LINNET_DOWNLOAD_GB", "many")
    with pytest.raises(OptionError, match="LINNET_DOWNLOAD_GB=many: expected a number above 0, such as 10"):
        load(f"{site}/a.wav")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["drip.wav", "slow.wav"])  # its body, its head
def test_a_download_that_takes_too_long(site: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINNET_DOWNLOAD_MINUTES", "0.01")
    begun = time.monotonic()
    assert "it is not complete after 0.6 s, the limit set by LINNET_DOWNLOAD_MINUTES" in complaint(f"{site}/{name}")
    assert time.monotonic() - begun < 8  # it would take 12


def test_the_log_is_told_of_a_slow_download(
    site: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fetch, "FIRST_WORD", 0.0)
    with caplog.at_level(logging.INFO, "linnet.audio"):
        load(f"{site}/a.wav")
    assert caplog.messages[0] == f"{site}/a.wav: 0.0 of 0.0 MB downloaded"


def test_only_the_public_internet(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a name leads elsewhere the second time that it is asked for."""
    with (
        ExitStack() as stack,
        pytest.raises(AudioError, match=r"127\.0\.0\.1 is not an address on the public"),
    ):
        fetch.download(f"{site}/a.wav", stack, public_only=True)
    answers = iter(["8.8.8.8", "127.0.0.1"])
    connected: list[tuple[str, int]] = []

    def resolve(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(2, 1, 6, "", (next(answers), port))]

    def connect(address: tuple[str, int], *_: object) -> None:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(web.socket, "getaddrinfo", resolve)
    monkeypatch.setattr(web.socket, "create_connection", connect)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy")
    for reason in ("ConnectionRefusedError", "127.0.0.1 is not an address"):
        with ExitStack() as stack, pytest.raises(AudioError, match=reason):
            fetch.download("http://two.faced.example/a.wav", stack, public_only=True)
    assert connected == [("8.8.8.8", 80)]


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1"),
        *("fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1"),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not web.is_public(address)
    assert web.is_public("93.184.215.14")
    assert web.is_public("2606:2800:21f:cb07:6820:80da:af6b:8b2c")


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("http:/me:secret@host/a.wav", "http:/host/a.wav"),
        ("//me:secret@host/a.wav", "//host/a.wav"),
        ("  http://me:secret@host/a.wav".strip(), "http://host/a.wav"),
        ("talks/me:you@home.wav", "talks/me:you@home.wav"),
    ],
)
def test_mistyped_addresses_hide_their_login(typed: str, shown: str) -> None:
    assert public_name(typed) == shown


def test_parameters_of_a_path_are_hidden() -> None:
    assert "secret" not in public_name("http://host/a.wav;session=secret")
