"""Plain ccxt on a loopback venue, with which tests and benchmarks compare the feed."""

from __future__ import annotations

from typing import Any

from exchanges.ccxt_adapter.transport.http_client import redirect


def pointed(urls: Any, rest_url: str, ws_url: str) -> Any:
    """ccxt's table of addresses with every scheme and host replaced."""
    if isinstance(urls, dict):
        return {key: pointed(each, rest_url, ws_url) for key, each in urls.items()}
    return redirect(urls, ws_url if urls.startswith("ws") else rest_url) if isinstance(urls, str) else urls
