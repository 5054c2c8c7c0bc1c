"""The base of self-contained HTML pages: a package's template on top of `parts/page.html`.

All values are escaped. The content security policy only allows the page's own style and script, whatever the values
hold; audio and pictures are `data:` URLs.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib import resources
from typing import Any

from linnet.machine import show_bytes
from linnet.urls import public_name

_PARTS = "linnet.pages"


def render_page(package: str, name: str, values: Mapping[str, Any], *, media: tuple[str, ...] = ()) -> str:
    """The page of `page/NAME.html` in a package, with its `page/NAME.css` and `page/NAME.js` after those of the base.

     The template extends `page.html`, fills its blocks and may import the macros of `parts.html`: tables, bars, line
    charts, audio players. `media` lists what is embedded: `media` for audio, `img` for pictures. `values` need a
    `title`.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, "page"), PackageLoader(_PARTS, "parts")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "public_name": public_name,
        "percent": percent,
        "count": count,
        "seconds": seconds,
        "scale": scale,
        "bytes": show_bytes,
    }
    style, script = (
        _asset(_PARTS, "parts", f"page.{kind}") + _asset(package, "page", f"{name}.{kind}") for kind in ("css", "js")
    )
    allowed = [f"style-src {_hash(style)}", f"script-src {_hash(script)}", *(f"{kind}-src data:" for kind in media)]
    policy = "; ".join(["default-src 'none'", *allowed, "base-uri 'none'", "form-action 'none'"])
    return environment.get_template(f"{name}.html").render(values, style=style, script=script, policy=policy)


def _asset(package: str, folder: str, name: str) -> str:
    file = resources.files(package).joinpath(folder, name)
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _hash(text: str) -> str:
    """A source expression of the content security policy (CSP level 2, section 4.2.5)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def percent(rate: float | None, digits: int = 2) -> str:
    """A share in percent; a dash for None.

    >>> percent(0.125), percent(None)
    ('12.50%', '–')
    """
    return "–" if rate is None else f"{100 * rate:.{digits}f}%"


def count(number: int) -> str:
    """A whole number with separated thousands."""
    return f"{number:,}"


def seconds(length: float) -> str:
    """A duration in its two largest units.

    >>> seconds(8.25), seconds(75), seconds(7265)
    ('8.2 s', '1 min 15 s', '2 h 1 min')
    """
    if length < 60:
        return f"{length:.1f} s"
    minutes = round(length) // 60
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {round(length) % 60} s"


def scale(value: float | None, largest: float) -> str:
    """A length in percent for a bar."""
    return f"{100 * min(1.0, (value or 0.0) / largest):.1f}%" if largest > 0 else "0%"
