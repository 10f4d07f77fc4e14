"""Upbit's and Bithumb's form of one request for all subscriptions; request_batching.py decides when it is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def joined_by_type(requests: Sequence[Any]) -> list[Any]:
    """Join requests like [{"ticket": ...}, {"type": ..., "codes": [...]}, ...] into one."""
    codes: dict[str, dict[str, None]] = {}
    for request in requests:
        for part in request[1:]:
            codes.setdefault(part["type"], {}).update(dict.fromkeys(part["codes"]))
    return [requests[-1][0], *({"type": kind, "codes": list(of)} for kind, of in codes.items())]
