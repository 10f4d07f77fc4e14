"""Frames of Binance and Bybit, made without the simulator."""

from __future__ import annotations

import json
from time import time_ns
from typing import Any

MARKETS = {"BTC": "BTCUSDT", "ETH": "ETHUSDT"}


def trade_row(
    venue: str, coin: str, trade_id: int, price: float, quantity: float = 0.25, timestamp: int | None = None
) -> dict[str, Any]:
    """The row of one trade in which the taker bought."""
    now = time_ns() // 1_000_000 if timestamp is None else timestamp
    if venue == "binance":
        return {"e": "trade", "E": now, "s": MARKETS[coin], "t": trade_id, "p": str(price), "q": str(quantity),
                "T": now, "m": False, "M": True}  # fmt: skip
    return {"i": str(trade_id), "T": now, "p": str(price), "v": str(quantity), "S": "Buy", "s": MARKETS[coin],
            "BT": False}  # fmt: skip


def trade_message(venue: str, coin: str, *rows: dict[str, Any]) -> dict[str, Any]:
    """A frame with these rows; a frame of Binance has exactly one."""
    if venue == "binance":
        (row,) = rows
        return row
    now = time_ns() // 1_000_000
    return {"topic": f"publicTrade.{MARKETS[coin]}", "ts": now, "type": "snapshot", "data": list(rows)}


def ticker_frame(venue: str, coin: str, price: float) -> str:
    """A frame with 24 h statistics, which has the fields that the feed reads."""
    now = time_ns() // 1_000_000
    if venue == "binance":
        day: dict[str, Any] = {"e": "24hrTicker", "E": now, "s": MARKETS[coin], "c": str(price), "q": "1", "P": "1",
                               "C": now}  # fmt: skip
        return json.dumps(day)
    data = {"symbol": MARKETS[coin], "lastPrice": str(price), "turnover24h": "1", "price24hPcnt": "0.01"}
    return json.dumps({"topic": f"tickers.{MARKETS[coin]}", "ts": now, "type": "snapshot", "data": data})


def candle_frame(venue: str, coin: str, price: float) -> str:
    """A frame with the candle of the current minute."""
    now, text = time_ns() // 1_000_000, str(price)
    start = now - now % 60_000
    if venue == "binance":
        candle: dict[str, Any] = {"t": start, "T": start + 59_999, "s": MARKETS[coin], "i": "1m", "o": text, "c": text,
                               "h": text, "l": text, "v": "1", "x": False}  # fmt: skip
        return json.dumps({"e": "kline", "E": now, "s": MARKETS[coin], "k": candle})
    candle = {"start": start, "end": start + 59_999, "interval": "1", "open": text, "close": text, "high": text,
           "low": text, "volume": "1", "turnover": text, "confirm": False, "timestamp": now}  # fmt: skip
    return json.dumps({"topic": f"kline.1.{MARKETS[coin]}", "ts": now, "type": "snapshot", "data": [candle]})


def trade_frame(venue: str, coin: str, trade_id: int, price: float, quantity: float = 0.25) -> str:
    """The text of a frame with one good trade."""
    return json.dumps(trade_message(venue, coin, trade_row(venue, coin, trade_id, price, quantity)))
