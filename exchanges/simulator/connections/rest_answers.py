"""REST answers: compact JSON, compressed for clients that accept it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

_WORTH_IT = 1024  # bytes; smaller answers are not compressed


def compact(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"))


class Body:
    """A body that stays the same, encoded and compressed once."""

    def __init__(self, data: Any) -> None:
        self.plain = compact(data).encode()
        self.zipped = gzip.compress(self.plain, 6)


def answer(
    request: web.Request, data: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """``data`` as JSON (or a ready ``Body``, or JSON text)."""
    head = {"Content-Type": "application/json;charset=UTF-8", **(headers or {})}
    accepts = "gzip" in request.headers.get("Accept-Encoding", "")
    if isinstance(data, Body):
        plain, zipped = data.plain, data.zipped if accepts else None
    else:
        plain = (data if isinstance(data, str) else compact(data)).encode()
        zipped = gzip.compress(plain, 1) if accepts and len(plain) > _WORTH_IT else None
    if zipped is None:
        return web.Response(body=plain, status=status, headers=head)
    return web.Response(body=zipped, status=status, headers={**head, "Content-Encoding": "gzip"})
