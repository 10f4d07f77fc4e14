"""Finds the markets that a frame names in its topic and in its rows. If the two differ, the frame counts as bad.

Depending on the venue, ccxt uses the market of the topic or the market of the rows. Each function returns the market
ids that a frame has in its topic and in its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

Named = Callable[[Mapping[str, Any]], Iterable[Any]]


class OtherMarket(Exception):
    """A frame's rows belong to another market than its topic."""


def check(named: Named, frame: Any) -> None:
    """Raise OtherMarket if a frame names more than one market."""
    if isinstance(frame, dict):
        names = {name for name in named(frame) if type(name) is str}
        if len(names) > 1:
            raise OtherMarket(" and ".join(sorted(names)))


def binance(frame: Mapping[str, Any]) -> Iterator[Any]:
    """A combined stream's name is in lower case (btcusdt@trade); a kline names its market twice."""
    data = frame.get("data", frame)
    stream = frame.get("stream")
    if not isinstance(data, dict):
        return
    if isinstance(stream, str) and "@" in stream and "s" in data:
        yield stream.partition("@")[0].upper()
    yield data.get("s")
    if isinstance(candle := data.get("k"), dict):
        yield candle.get("s")


def bybit(frame: Mapping[str, Any]) -> Iterator[Any]:
    """The topic ends with the market (publicTrade.BTCUSDT, orderbook.50.BTCUSDT); a candle row has its interval."""
    topic, data = frame.get("topic"), frame.get("data")
    if not isinstance(topic, str) or "." not in topic:
        return
    kind, *middle, market = topic.split(".")
    if kind == "kline":
        yield from middle
        yield from _each(data, "interval")
        return
    yield market
    yield from _each(data, "symbol")
    yield from _each(data, "s")


def okx(frame: Mapping[str, Any]) -> Iterator[Any]:
    """Frames of OKX and Bitget repeat the subscription as ``arg``."""
    if isinstance(arg := frame.get("arg"), dict) and "instId" in arg:
        yield arg["instId"]
        yield from _each(frame.get("data"), "instId")


def kucoin(frame: Mapping[str, Any]) -> Iterator[Any]:
    """The topic ends with one market, or several (/market/match:BTC-USDT, .../candles:BTC-USDT_1min)."""
    topic, data = frame.get("topic"), frame.get("data")
    if not isinstance(topic, str) or not isinstance(data, dict) or not isinstance(data.get("symbol"), str):
        return
    path, _, markets = topic.partition(":")
    names = markets.partition("_")[0].split(",")
    yield data["symbol"]
    if path.startswith("/market") and "all" not in names and data["symbol"] not in names:
        yield from names


def cryptocom(frame: Mapping[str, Any]) -> Iterator[Any]:
    """Trades and tickers have their instrument as ``i``."""
    result = frame.get("result")
    if isinstance(result, dict) and result.get("channel") in ("trade", "ticker"):
        yield result.get("instrument_name")
        yield from _each(result.get("data"), "i")


def deribit(frame: Mapping[str, Any]) -> Iterator[Any]:
    """A channel is trades.BTC-PERPETUAL.100ms, ticker.BTC-PERPETUAL.100ms or the like."""
    params = frame.get("params")
    if isinstance(params, dict) and isinstance(channel := params.get("channel"), str):
        parts = channel.split(".")
        if parts[0] in ("trades", "ticker", "quote", "book") and len(parts) > 1:
            names = [name for name in _each(params.get("data"), "instrument_name") if isinstance(name, str)]
            if names:
                yield parts[1]
                yield from names


def _each(data: Any, key: str) -> Iterator[Any]:
    rows = data if isinstance(data, list) else [data]
    return (row.get(key) for row in rows if isinstance(row, dict))
