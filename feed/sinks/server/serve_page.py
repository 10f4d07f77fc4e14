"""Serves ``page.html`` at ``/``, with headers that forbid all other scripts."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files

from aiohttp import web


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


class Page:
    """Reads the file once and serves it."""

    def __init__(self) -> None:
        self._text = files("feed.sinks.server").joinpath("page.html").read_text("utf-8")
        style, script = (re.search(rf"<{tag}>(.*?)</{tag}>", self._text, re.DOTALL) for tag in ("style", "script"))
        assert style is not None
        assert script is not None
        self._policy = (
            f"default-src 'none'; style-src {_hash(style[1])}; script-src {_hash(script[1])}; connect-src 'self'; "
            "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )

    async def get(self, request: web.Request) -> web.Response:
        headers = {
            "Content-Security-Policy": self._policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }
        return web.Response(text=self._text, content_type="text/html", headers=headers)
