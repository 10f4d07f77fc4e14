"""unicorn-binance-websocket-api with raw dicts and a plain callback; the options may name a ``websocket_library``."""

from __future__ import annotations

import threading
from typing import Any

from unicorn_binance_websocket_api import BinanceWebSocketApiManager

from tests.benchmarks.clients.tally import begin, take


def on_message(message: dict[str, Any]) -> None:
    trade = message.get("data")
    if trade is not None:
        take(trade["t"])


place = begin()
manager = BinanceWebSocketApiManager(
    exchange="binance.com",
    websocket_base_uri=f"{place.ws_url}/",
    restful_base_uri=f"{place.rest_url}/",
    output_default="dict",
    warn_on_update=False,
    **place.options,
)
manager.create_stream("trade", [f"{coin}usdt".lower() for coin in place.coins], process_stream_data=on_message)
threading.Event().wait()
