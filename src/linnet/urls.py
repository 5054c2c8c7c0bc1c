"""URLs of recordings: detection, public form, and login."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from urllib.parse import unquote, unquote_to_bytes

_START = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+://)([^/?#]*)([^?#;]*)(.*)", re.DOTALL)
_MISTYPED = re.compile(r"^(\s*(?:[A-Za-z][A-Za-z0-9+.-]+:)?/{1,2})[^/@\s]*:[^/@\s]*@")  # http:/me:secret@host
_AT = re.compile(r".*(?:@|%40)", re.DOTALL)  # all up to the last one
_HOST = re.compile(r"(?:\[[^\]]*\]|[^:\[\]]*)(?::\d*)?")
_HIDDEN = re.compile(r"\?…[0-9a-f]{4}")
_SHORT = 2  # characters: hiding shorter texts would hide parts of ordinary words


def is_url(text: str) -> bool:
    """Whether a recording is downloaded rather than opened."""
    return _START.match(text) is not None


def public_name(url: str) -> str:
    """The URL for messages, records and transcripts: without login, query and fragment.

    The last two, which may hold keys, become `?…` and four hexadecimal digits, which distinguish URLs that differ only
    there but are too few to verify guesses. A public name or a path is unchanged.

    >>> public_name("https://me:secret@example.org/a.wav?key=1")
    'https://example.org/a.wav?…914d'
    """
    parts = _PARTS.match(url)
    if parts is None:
        return _MISTYPED.sub(r"\1", url)
    scheme, authority, path, tail = parts.groups()
    host = _AT.sub("", authority)
    if not _HOST.fullmatch(host) and "@" in path + tail:  # a password with a bare / ? or #
        return public_name(scheme + (path + tail).rpartition("@")[2])
    if tail and not _HIDDEN.fullmatch(tail):
        tail = f"?…{hashlib.sha256(tail.encode(errors='replace')).hexdigest()[:4]}"
    return f"{scheme}{host}{path}{tail}"


def split_login(url: str) -> tuple[str, str | None]:
    """The URL without user name and password, and these as the value of an Authorization header (RFC 7617).

    >>> split_login("https://me:s%40d@example.org/a.wav")
    ('https://example.org/a.wav', 'Basic bWU6c0Bk')
    """
    parts = _PARTS.match(url)
    if parts is None or "@" not in parts[2]:
        return url, None
    login, _, host = parts[2].rpartition("@")
    user, _, password = login.partition(":")
    pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    return f"{parts[1]}{host}{parts[3]}{parts[4]}", f"Basic {b64encode(pair).decode()}"


def secrets(url: str) -> set[str]:
    """The parts of a URL that must not be quoted, encoded and decoded: login, query, values in the query.

    >>> sorted(secrets("https://me:s%40d@example.org/?key=1234"))
    ['1234', 'key=1234', 's%40d', 's@d']
    """
    parts = _PARTS.match(url)
    if parts is None:
        return set()
    login, query = parts[2].rpartition("@")[0], parts[4].lstrip("?#")
    found = {login.partition(":")[2], query, *(pair.partition("=")[2] for pair in re.split("[&;#]", query))}
    return {form for text in found for form in (text, unquote(text)) if len(form) > _SHORT}
