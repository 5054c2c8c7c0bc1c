"""HTTP client for transcription services: API key, retries that honor Retry-After, errors that quote the response."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, ClassVar

from linnet.closing import Closing
from linnet.errors import MissingExtra
from linnet.evaluation.providers.protocol import Identity, ProviderError, ProviderOptions, ProviderRefusal
from linnet.urls import public_name, secrets

if TYPE_CHECKING:
    import httpx2
    from tenacity import RetryCallState

_SHOWN = 200  # characters of a response that an error quotes
_LONGEST_PAUSE = 60.0
_LONGEST_RETRY_AFTER = 300.0
_CONNECT_TIMEOUT = 10.0
_REFUSED = {
    401: "check the key in {key}",
    402: "the account has no credit left",
    403: "check the permissions of the key in {key}",
    404: "check the name of the model and the address",
}
_WAY_OUT = {
    400: "check the model, the language and the fields",
    408: "try again later",
    413: "the recording is too large: split it first",
    415: "the service cannot read FLAC",
    422: "check the model, the language and the fields",
    429: "too many requests: lower the concurrency, or try again later",
}


@dataclass(frozen=True)
class Answer:
    """A JSON object from a service, and the seconds that its successful request took."""

    data: dict[str, Any]
    seconds: float


class Server:
    """A thread-safe client of one service at one address.

    Connection failures, timeouts, status 429 and 5xx are retried up to `options.attempts` attempts, after the pause of
    Retry-After or else exponential backoff. Everything else raises a `ProviderError` at once.
    """

    def __init__(self, name: str, url: str, key: Key, headers: Mapping[str, str], options: ProviderOptions) -> None:
        httpx = _import_httpx()
        from linnet import __version__

        self.name, self.url = name, public_name(url)
        self._secrets = sorted({*secrets(url), *([key.value] * bool(key.value))}, key=len, reverse=True)
        self._key = key
        self._options = options
        self._stopped = threading.Event()
        self._free = threading.Condition()
        self._under_way = 0
        try:
            self._client = httpx.Client(
                base_url=url,
                headers={"User-Agent": f"linnet/{__version__}", **headers},
                timeout=httpx.Timeout(options.timeout, connect=min(_CONNECT_TIMEOUT, options.timeout)),
            )
        except httpx.InvalidURL:
            raise ProviderRefusal(
                name, f"{self.url} is not a valid URL", "expected http://host:port"
            ) from None  # the message may quote the login

    def ask(self, method: str, path: str, **content: Any) -> Answer:
        """Send a request (`content` as httpx takes it); returns the JSON object of the response."""
        from tenacity import (
            Retrying,
            retry_if_exception,
            sleep_using_event,
            stop_after_attempt,
            stop_when_event_set,
        )

        retrying = Retrying(
            retry=retry_if_exception(_may_pass),
            wait=self._pause,
            stop=stop_after_attempt(self._options.attempts) | stop_when_event_set(self._stopped),
            sleep=sleep_using_event(self._stopped),
            retry_error_callback=_give_up,
        )
        answer: Answer = retrying(self._once, method, path, content)
        return answer

    def wait(self, seconds: float) -> None:
        """Wait between two requests; returns at once when closed."""
        self._stopped.wait(seconds)

    def error(self, problem: str, way_out: str, data: object = None) -> ProviderError:
        """An error of this service that quotes its response."""
        return ProviderError(self.name, problem + self._quoted(data), way_out)

    def close(self) -> None:
        """Stop waiting for retries, let running requests finish, close the connections."""
        self._stopped.set()
        with self._free:
            self._free.wait_for(lambda: self._under_way == 0)
        self._client.close()

    @contextmanager
    def _request_under_way(self) -> Iterator[None]:
        with self._free:
            if self._stopped.is_set():
                raise ProviderError(self.name, "was stopped", "run it again to resume")
            self._under_way += 1
        try:
            yield
        finally:
            with self._free:
                self._under_way -= 1
                self._free.notify_all()

    def _once(self, method: str, path: str, content: Mapping[str, Any]) -> Answer:
        with self._request_under_way():
            return self._send(method, path, content)

    def _send(self, method: str, path: str, content: Mapping[str, Any]) -> Answer:
        httpx = _import_httpx()
        begun = time.perf_counter()
        try:
            response = self._client.request(method, path, **content)
        except httpx.TimeoutException as error:
            problem = f"{self.url} did not respond within {self._options.timeout:g} s"
            raise ProviderError(self.name, problem, "raise the timeout, or try again later", passing=True) from error
        except httpx.TransportError as error:
            problem = f"{self.url} cannot be reached ({_cause(error)})"
            raise ProviderError(self.name, problem, "check the URL and the network", passing=True) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self.error(f"the request failed ({_cause(error)})", "run it again") from error
        if not response.is_success:
            raise self._failure(response)
        return Answer(self._object(response), time.perf_counter() - begun)

    def _object(self, response: httpx2.Response) -> dict[str, Any]:
        try:
            data = response.json()
        except ValueError as error:
            kind = response.headers.get("content-type", "no content type")
            raise self.error(
                f"expected JSON, got {kind}", f"check that {self.url} is the URL of its API", response.text
            ) from error
        if not isinstance(data, dict):
            raise self.error("expected a JSON object", f"check the address {self.url}", data)
        return data

    def _failure(self, response: httpx2.Response) -> ProviderError:
        status = response.status_code
        problem = f"status {status}{self._quoted(response.text)}"
        if status in _REFUSED:
            return ProviderRefusal(self.name, problem, _REFUSED[status].format(key=self._key.variable), status=status)
        passing = status == 429 or status >= 500
        way_out = _WAY_OUT.get(status, "try again later" if passing else f"check the address {self.url}")
        wanted = retry_after(response.headers.get("retry-after")) if passing else None
        if wanted is not None and wanted > _LONGEST_RETRY_AFTER:
            passing, way_out = False, f"it asks to retry after {wanted:.0f} s"
        return ProviderError(self.name, problem, way_out, status=status, passing=passing, retry_after=wanted)

    def _quoted(self, data: object) -> str:
        text = " ".join(str(data).split()) if data is not None else ""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        shown = "".join(letter if letter.isprintable() else "?" for letter in text[:_SHOWN])
        return f": {shown}" if shown else ""

    def _pause(self, state: RetryCallState) -> float:
        from tenacity import wait_exponential, wait_random

        error = state.outcome.exception() if state.outcome is not None else None
        if isinstance(error, ProviderError) and error.retry_after is not None:
            return error.retry_after
        pause = self._options.pause
        return (wait_exponential(multiplier=pause, max=_LONGEST_PAUSE) + wait_random(0, pause))(state)


@dataclass(frozen=True)
class Key:
    """A secret from the environment, and the name of its variable."""

    variable: str
    value: str = field(default="", repr=False)

    @classmethod
    def read(cls, provider: str, variable: str, *, required: bool = True) -> Key:
        """The key in an environment variable. Raises `ProviderRefusal` where it is missing or invalid."""
        value = os.environ.get(variable, "").strip()
        if not value and required:
            raise ProviderRefusal(provider, "has no API key", f"set the environment variable {variable}")
        if not value.isascii() or not value.isprintable():
            raise ProviderRefusal(provider, f"the key in {variable} has non-ASCII characters", "set it again")
        return cls(variable, value)


class HttpProvider(Closing):
    """Base of the services: URL, key, identity. Each subclass sends its request and parses the response."""

    kind: ClassVar[str]
    home: ClassVar[str]  # the default URL
    key_variable: ClassVar[str]
    header: ClassVar[tuple[str, str]] = ("Authorization", "Bearer {}")  # the header with the key
    version: ClassVar[int] = 1  # of the request: raise it when responses may change
    defaults: ClassVar[Mapping[str, Any]] = {}  # fields of every request unless overridden
    keyless: ClassVar[bool] = False  # whether a server at another URL works without a key

    def __init__(self, model: str, options: ProviderOptions) -> None:
        url = (options.url or self.home).rstrip("/")
        self.fields: dict[str, Any] = {**self.defaults, **options.fields}
        self.identity = Identity(self.kind, model, f"request {self.version}", url=public_name(url), fields=self.fields)
        self.concurrency = options.concurrency
        self.options = options
        required = not (self.keyless and options.url)
        key = Key.read(self.identity.name, options.key_variable or self.key_variable, required=required)
        self.server = Server(self.identity.name, url, key, self._authorization(key.value), options)

    def _authorization(self, key: str) -> dict[str, str]:
        name, form = self.header
        return {name: form.format(key)} if key else {}

    def close(self) -> None:
        """Cancel what is running."""
        self.server.close()


def text_of(server: Server, data: Mapping[str, Any], key: str = "text") -> str:
    """The transcript in a response, possibly empty. Raises `ProviderError` where it is missing."""
    text = data.get(key)
    if not isinstance(text, str):
        raise server.error(f"the response has no {key!r}", "check the model and the address", dict(data))
    return text


def form(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields as form or query values: without None, booleans as true and false.

    >>> form({"diarize": False, "language": None, "n": 2})
    {'diarize': 'false', 'n': '2'}
    """
    return {key: _plain(value) for key, value in fields.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else str(value)


def _import_httpx() -> Any:
    try:
        import httpx2
        import tenacity  # noqa: F401
    except ImportError as error:
        raise MissingExtra("using a transcription service", extra="providers") from error
    return httpx2


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, ProviderError) and error.passing


def _give_up(state: RetryCallState) -> Any:
    error = state.outcome.exception() if state.outcome is not None else None
    if isinstance(error, ProviderError):
        error.attempts = state.attempt_number
        raise error
    raise RuntimeError("a request ended without a response or an error")


def retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, given as seconds or a date (RFC 9110, 10.2.3); None if it is neither."""
    if value is None:
        return None
    with suppress(ValueError):
        seconds = float(value)
        return seconds if 0 <= seconds < float("inf") else None
    with suppress(ValueError, TypeError):
        moment = parsedate_to_datetime(value)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    return None


def _cause(error: BaseException) -> str:
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
