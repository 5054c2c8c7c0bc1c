"""Stand-ins on loopback for transcription services: each reads the real request and answers in the real format."""

from __future__ import annotations

import email
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import soundfile

KEY = "sk-very-secret"


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    def form(self) -> tuple[dict[str, list[str]], dict[str, tuple[str, str, bytes]]]:
        """A multipart body: the fields, and the files as (name, content type, content)."""
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        fields: dict[str, list[str]] = {}
        files: dict[str, tuple[str, str, bytes]] = {}
        for part in email.message_from_bytes(head + self.body).get_payload():
            name = part.get_param("name", header="content-disposition")
            content = part.get_payload(decode=True)
            if part.get_filename():
                files[name] = (part.get_filename(), part.get_content_type(), content)
            else:
                fields.setdefault(name, []).append(content.decode())
        return fields, files


@dataclass(frozen=True)
class Reply:
    """What the server says instead of a transcript; `delay` in seconds before it."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0


def said(sound: bytes) -> str:
    """What is heard in a sound: how many samples it has, and its first one."""
    samples, rate = soundfile.read(io.BytesIO(sound), dtype="int16")
    assert rate == 16000
    return f"Heard {len(samples)} samples, {samples[0]}."


class Service(ThreadingHTTPServer):
    """A service that takes `KEY`; answers from `script` first, then properly."""

    def __init__(self, speak: Callable[[Service, Asked], Reply]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.speak = speak
        self.script: list[Reply] = []
        self.asked: list[Asked] = []
        self.uploads: dict[str, bytes] = {}
        self.polls: dict[str, int] = {}
        self.now = self.most = 0  # requests at once
        self.lock = threading.Lock()
        self.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: Any) -> None:
        """A client that went away is no matter."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet
    server: Service

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        server, parts = self.server, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, parts.path, parse_qs(parts.query), headers, body)
        with server.lock:
            server.asked.append(asked)
            server.now += 1
            server.most = max(server.most, server.now)
            reply = server.script.pop(0) if server.script else None
        reply = reply or server.speak(server, asked)
        time.sleep(reply.delay)
        content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        with server.lock:
            server.now -= 1
        self.send_response(reply.status)
        head = {"Content-Type": "application/json", "Content-Length": str(len(content)), **reply.headers}
        for name, value in head.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def openai(server: Service, asked: Asked) -> Reply:
    if asked.headers.get("authorization") != f"Bearer {KEY}":
        return Reply(401, {"error": {"message": f"Incorrect API key provided: {asked.headers.get('authorization')}"}})
    assert (asked.method, asked.path) == ("POST", "/v1/audio/transcriptions")
    fields, files = asked.form()
    text = said(files["file"][2])
    if fields["response_format"] == ["verbose_json"]:
        words = [{"word": "Heard", "start": 0.0, "end": 0.5}]
        return Reply(body={"task": "transcribe", "language": "english", "duration": 1.0, "text": text, "words": words})
    return Reply(body={"text": text, "usage": {"type": "duration", "seconds": 1}})


def elevenlabs(server: Service, asked: Asked) -> Reply:
    if asked.headers.get("xi-api-key") != KEY:
        return Reply(401, {"detail": {"status": "invalid_api_key", "message": f"bad {asked.headers['xi-api-key']}"}})
    assert (asked.method, asked.path) == ("POST", "/v1/speech-to-text")
    fields, files = asked.form()
    assert fields["model_id"] == ["scribe_v1"]
    words = [
        {"text": "Heard", "start": 0.0, "end": 0.5, "type": "word", "speaker_id": "speaker_0", "logprob": -0.1},
        {"text": " ", "start": 0.5, "end": 0.5, "type": "spacing", "speaker_id": "speaker_0", "logprob": -0.1},
    ]
    text = said(files["file"][2])
    return Reply(body={"language_code": "eng", "language_probability": 0.98, "text": text, "words": words})


def deepgram(server: Service, asked: Asked) -> Reply:
    if asked.headers.get("authorization") != f"Token {KEY}":
        told = {"err_code": "INVALID_AUTH", "err_msg": f"Invalid {asked.headers['authorization']}", "request_id": "u"}
        return Reply(401, told)
    assert (asked.method, asked.path, asked.headers["content-type"]) == ("POST", "/v1/listen", "audio/flac")
    word = {"word": "heard", "start": 0.0, "end": 0.5, "confidence": 0.9, "punctuated_word": "Heard"}
    best = {"transcript": said(asked.body), "confidence": 0.9, "words": [word]}
    channel: dict[str, Any] = {"alternatives": [best]}
    if asked.query.get("detect_language") == ["true"]:
        channel.update(detected_language="en", language_confidence=0.9)
    return Reply(body={"metadata": {"request_id": "u", "channels": 1}, "results": {"channels": [channel]}})


def assemblyai(server: Service, asked: Asked) -> Reply:
    if asked.headers.get("authorization") != KEY:
        return Reply(
            401, {"error": f"Authentication error, API token missing/invalid {asked.headers['authorization']}"}
        )
    if (asked.method, asked.path) == ("POST", "/v2/upload"):
        assert asked.headers["content-type"] == "application/octet-stream"
        with server.lock:
            url = f"https://cdn.assemblyai.com/upload/{len(server.uploads)}"
            server.uploads[url] = asked.body
        return Reply(body={"upload_url": url})
    if (asked.method, asked.path) == ("POST", "/v2/transcript"):
        url = json.loads(asked.body)["audio_url"]
        assert url in server.uploads
        return Reply(body={"id": url.rpartition("/")[2], "status": "queued", "text": None})
    order = asked.path.removeprefix("/v2/transcript/")
    with server.lock:
        polls = server.polls[order] = server.polls.get(order, 0) + 1
    if polls < 3:
        return Reply(body={"id": order, "status": ("queued", "processing")[polls - 1], "text": None})
    text = said(server.uploads[f"https://cdn.assemblyai.com/upload/{order}"])
    words = [{"text": "Heard", "start": 0, "end": 500, "confidence": 0.9, "speaker": None}]
    return Reply(body={"id": order, "status": "completed", "language_code": "en", "text": text, "words": words})


@contextmanager
def serving(speak: Callable[[Service, Asked], Reply]) -> Iterator[Service]:
    """The service, running."""
    service = Service(speak)
    thread = threading.Thread(target=service.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield service
    finally:
        service.shutdown()
        service.server_close()
        thread.join()


def noise(seconds: float, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Samples that a file of 16 bits holds exactly."""
    whole = np.random.default_rng(seed).integers(-(2**15), 2**15, int(seconds * 16000), dtype=np.int16)
    return (whole / 32768.0).astype(np.float32)
