"""HTTP(S) requests for recordings: login, redirects, encoded bodies, a time limit, forbidden hosts."""

from __future__ import annotations

import http.client
import io
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urljoin, urlsplit
from urllib.request import (
    AbstractHTTPHandler,
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from linnet.urls import split_login

TIMEOUT = 30.0  # seconds without a byte from a server
BLOCK = 1 << 16
_REDIRECTS = 10
_SAFE = "%/:=&?~#+!$,;'@()*[]"
_NAT64 = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True)
class DownloadLimits:
    """Limits of one download: bytes, total seconds, and whether only hosts on the public internet are allowed."""

    size: int
    seconds: float
    public_only: bool = False


def open_url(url: str, agent: str, limits: DownloadLimits) -> http.client.HTTPResponse:
    """The response to a GET request, after redirects. Its reads raise `OSError` when the time is over.

    A login in the URL is sent to its own host only. Raises `HTTPError` for an unsuccessful status, `OSError` and
    `http.client.HTTPException` for a network failure, `ValueError` for an invalid URL.
    """
    opener = OpenerDirector()
    connections = _Connections(limits)
    proxies = [] if limits.public_only else [ProxyHandler()]  # a proxy hides which host is connected to
    for handler in (*proxies, connections, HTTPDefaultErrorHandler(), HTTPErrorProcessor()):
        opener.add_handler(handler)
    request = _request(quote(url, safe=_SAFE), agent)
    for left in reversed(range(_REDIRECTS)):
        try:
            response: http.client.HTTPResponse = opener.open(request, timeout=TIMEOUT)
            return response
        except HTTPError as error:
            place = error.headers.get("Location")
            if error.code not in (301, 302, 303, 307, 308) or not place or not left:
                raise
            error.close()
            request = _follow(request, quote(place, safe=_SAFE, encoding="latin-1"), agent)
    raise AssertionError("the last redirect is raised")


def _request(url: str, agent: str) -> Request:
    address, login = split_login(url)
    request = Request(address, headers={"User-Agent": agent, "Accept": "*/*"})
    if login is not None:
        request.add_header("Authorization", login)
    return request


def _follow(request: Request, place: str, agent: str) -> Request:
    """The request for a redirect; a login is kept on the same host only."""
    url = urljoin(request.full_url, place)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise URLError(f"it redirects to a {parts.scheme}: URL; only http and https are followed")
    new = _request(url, agent)
    login = request.get_header("Authorization")
    old = urlsplit(request.full_url)  # request.host may be a proxy
    if login is not None and (parts.scheme, parts.netloc.rpartition("@")[2]) == (old.scheme, old.netloc):
        new.headers.setdefault("Authorization", login)
    return new


def body(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The body of a response, decompressed if necessary. Raises `EOFError` for a truncated one."""
    blocks = iter(partial(response.read, BLOCK), b"")
    coding = response.headers.get("Content-Encoding", "").strip().lower()
    if coding in ("gzip", "x-gzip", "deflate"):
        return _inflated(blocks)
    if coding in ("br", "zstd", "compress"):
        raise URLError(f"the server compresses it by {coding}, which was not requested")
    return blocks


def _inflated(blocks: Iterator[bytes]) -> Iterator[bytes]:
    make = partial(zlib.decompressobj, wbits=32 + zlib.MAX_WBITS)  # gzip or zlib, as the first bytes say
    inflate = make()
    for block in blocks:
        while block:
            if inflate.eof:  # a gzip file may have several members
                inflate = make()
            yield inflate.decompress(block, BLOCK)  # never much more than a block, at any compression ratio
            block = inflate.unused_data.lstrip(b"\0") if inflate.eof else inflate.unconsumed_tail  # noqa: PLW2901
    yield inflate.flush()
    if not inflate.eof:
        raise EOFError


class _Connections(AbstractHTTPHandler):
    """Connections that enforce the limits."""

    def __init__(self, limits: DownloadLimits) -> None:
        super().__init__()
        self._limits = limits
        self._end = time.monotonic() + limits.seconds

    def http_open(self, request: Request) -> http.client.HTTPResponse:
        return self.do_open(self._maker(http.client.HTTPConnection), request)

    def https_open(self, request: Request) -> http.client.HTTPResponse:
        return self.do_open(self._maker(http.client.HTTPSConnection), request)

    http_request = https_request = AbstractHTTPHandler.do_request_

    def _maker(self, kind: type[http.client.HTTPConnection]) -> Any:
        def make(host: str, **options: Any) -> http.client.HTTPConnection:
            connection: Any = kind(host, **options)
            connection.response_class = partial(_Response, end=self._end, seconds=self._limits.seconds)
            if self._limits.public_only:
                connection._create_connection = connect_public
            return connection  # type: ignore[no-any-return]

        return make


class _Response(http.client.HTTPResponse):
    """A response whose head and body must arrive before `end`."""

    def __init__(self, sock: socket.socket, *arguments: Any, end: float, seconds: float, **more: Any) -> None:
        super().__init__(sock, *arguments, **more)
        self.fp: Any = io.BufferedReader(_Ending(sock, self.fp.detach(), end, seconds))


class _Ending(io.RawIOBase):
    """A socket with a deadline: its own timeout restarts with each byte, so a slow server could take forever."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase, end: float, seconds: float) -> None:
        self._socket, self._raw, self._end, self._seconds = sock, raw, end, seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._end - time.monotonic()
        if left > 0:
            self._socket.settimeout(min(TIMEOUT, left))
            try:
                return self._raw.readinto(buffer)
            except TimeoutError:
                if left > TIMEOUT:
                    raise
        raise OSError(f"it is not complete after {self._seconds:g} s, the limit set by LINNET_DOWNLOAD_MINUTES")

    def close(self) -> None:
        self._raw.close()
        super().close()


def connect_public(
    address: tuple[str, int], timeout: float | None = None, source_address: tuple[str, int] | None = None
) -> socket.socket:
    """As `socket.create_connection`, but to hosts on the public internet only.

    A name is resolved once, and only the checked addresses are connected to, which defeats DNS rebinding. Raises
    `OSError` if any address is private.
    """
    host, port = address
    places = [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for place in places:
        if not is_public(place):
            raise OSError(f"{place} is not an address on the public internet")
    return _first(places, lambda place: socket.create_connection((place, port), timeout, source_address))


def _first(places: list[str], connect: Callable[[str], socket.socket]) -> socket.socket:
    for place in places[:-1]:
        try:
            return connect(place)
        except OSError:
            continue  # the last one's error is raised
    return connect(places[-1])


def is_public(address: str) -> bool:
    """Whether an IP address is on the public internet; an IPv4 address embedded in IPv6 is checked itself.

    >>> is_public("8.8.8.8"), is_public("10.0.0.1"), is_public("64:ff9b::a00:1")
    (True, False, False)
    """
    ip: IPv4Address | IPv6Address | None = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        nat64 = IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None
        ip = ip.ipv4_mapped or ip.sixtofour or nat64 or ip
    return ip is not None and ip.is_global and not ip.is_multicast
