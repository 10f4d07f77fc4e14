"""Points plain ccxt at a loopback venue, so that tests and benchmarks can compare the feed with plain ccxt."""

from __future__ import annotations

from typing import Any

from exchanges.ccxt_adapter.transport.http_client import redirect


def pointed(urls: Any, rest_url: str, ws_url: str) -> Any:
    """Return ccxt's table of addresses with every scheme and host replaced by those of the loopback venue."""
    if isinstance(urls, dict):
        return {key: pointed(each, rest_url, ws_url) for key, each in urls.items()}
    return redirect(urls, ws_url if urls.startswith("ws") else rest_url) if isinstance(urls, str) else urls
