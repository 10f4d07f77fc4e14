"""Frames that the fast decoder reads, and odd values that can be put into them."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

NOW = 1_760_000_000_123  # Unix ms, the current time of all frames


# --- frames -----------------------------------------------------------------------------------------------------------


def text(frame: Any) -> str:
    return json.dumps(frame, separators=(",", ":"), ensure_ascii=False)


BINANCE_TRADE = {
    "e": "trade", "E": NOW, "s": "BTCUSDT", "t": 3735683259, "p": "61523.99000000", "q": "0.00016000",
    "b": 28537213123, "a": 28537213099, "T": NOW - 1, "m": True, "M": True,
}  # fmt: skip
BINANCE_TICKER = {
    "e": "24hrTicker", "E": NOW, "s": "ETHUSDT", "p": "-12.34000000", "P": "-0.503", "w": "2440.11000000",
    "x": "2451.00000000", "c": "2438.66000000", "Q": "0.10400000", "b": "2438.65000000", "B": "4.10400000",
    "a": "2438.66000000", "A": "0.00100000", "o": "2451.00000000", "h": "2460.00000000", "l": "2400.10000000",
    "v": "173518.11900000", "q": "423332407.03994000", "O": NOW - 86_400_000, "C": NOW, "F": 158251292,
    "L": 158414513, "n": 163222,
}  # fmt: skip
BINANCE_BOOK = {
    "u": 400900217, "s": "DOGEUSDT", "b": "0.10121000", "B": "431.00000000", "a": "0.10122000", "A": "9.50000000",
}  # fmt: skip
CANDLE = NOW - NOW % 60_000  # Unix ms, when the current candle opened
BINANCE_KLINE = {
    "e": "kline", "E": NOW, "s": "BTCUSDT",
    "k": {
        "t": CANDLE, "T": CANDLE + 59_999, "s": "BTCUSDT", "i": "1m", "f": 158411535, "L": 158411550,
        "o": "61523.99000000",
        "c": "61530.10000000", "h": "61531.00000000", "l": "61520.00000000", "v": "5.08400000", "n": 16, "x": False,
        "q": "312801.11000000", "V": "3.30200000", "Q": "203161.02000000", "B": "0",
    },
}  # fmt: skip
BYBIT_ROW = {
    "i": "2290000000061666327", "T": NOW - 2, "p": "61523.99", "v": "0.00016", "S": "Sell", "s": "BTCUSDT",
    "BT": False, "RPI": False, "seq": 4711,
}  # fmt: skip
BYBIT_TRADES = {
    "topic": "publicTrade.BTCUSDT", "ts": NOW, "type": "snapshot",
    "data": [BYBIT_ROW, {**BYBIT_ROW, "i": "2290000000061666328", "S": "Buy", "p": "61524"}],
}  # fmt: skip
BYBIT_TICKER = {
    "topic": "tickers.ETHUSDT", "ts": NOW, "type": "snapshot", "cs": 2588407389,
    "data": {
        "symbol": "ETHUSDT", "lastPrice": "2438.66", "highPrice24h": "2460.01", "lowPrice24h": "2400.1",
        "prevPrice24h": "2451", "volume24h": "173518.119", "turnover24h": "423332407.03994118",
        "price24hPcnt": "-0.0503", "usdIndexPrice": "2438.7120136",
    },
}  # fmt: skip
BYBIT_CANDLE = {
    "start": CANDLE, "end": CANDLE + 59_999, "interval": "1", "open": "2451", "close": "2438.66", "high": "2460.01",
    "low": "2400.1", "volume": "173.119", "turnover": "423332.40703994118", "confirm": False, "timestamp": NOW,
}  # fmt: skip
BYBIT_KLINE = {"topic": "kline.1.ETHUSDT", "data": [BYBIT_CANDLE], "ts": NOW, "type": "snapshot"}
GOOD: dict[str, list[Any]] = {
    "binance": [BINANCE_TRADE, BINANCE_TICKER, BINANCE_BOOK, BINANCE_KLINE],
    "bybit": [BYBIT_TRADES, BYBIT_TICKER, BYBIT_KLINE, {"type": "snapshot", **BYBIT_KLINE}],
}
ALL = [(venue, frame) for venue, frames in GOOD.items() for frame in frames]
COMBINED = [
    {"stream": f"{frame['s']}@some".lower(), "data": frame} for frame in (BINANCE_TRADE, BINANCE_TICKER, BINANCE_BOOK)
]

ODD = [
    None, True, False, 0, 1, -1, -0.0, 1.5, 1e-9, 1e300, 2**53, 2**63, 2**64, 10**30, NOW, NOW / 1000, NOW + 10**9, [],
    {}, [1], {"a": 1}, "", "0", "-0", "0.000", "1", "1.", ".5", "01", "1e5", "1E5", "1e-5", "1e+5", "1e400", "1e-400",
    " 1", "1 ", "+1", "-1", "1_000", "NaN", "nan", "Infinity", "-Infinity", "inf", "many", "null", "true", "0x10",
    "1,5", "\u0661", "\xb2", "\u20bf", "9" * 15, "9" * 40, "0." + "0" * 40 + "1", "123456789.123456789123456789",
    "0.1000000000000000055511151231257827021181583404541015625", "2.2250738585072011e-308", "5e-324", "1e15", "1e16",
    str(NOW), str(NOW // 1000), str(NOW * 1000), f"{NOW}.5", "BTCUSDT", "ETHUSDT", "DOGEUSDT", "NOPE", "btcusdt",
    "trade", "24hrTicker", "kline", "bookTicker", "Buy", "Sell", "buy", "SELL", "snapshot", "delta",
    "publicTrade.ETHUSDT", "publicTrade.NOPE", "publicTrade.ETHUSDT.x", "tickers.BTCUSDT", "publicTrade", "a\\b", 'a"b',
    "a\nb", "\x7f", "1.2e+30", "2e+25", CANDLE, CANDLE - 60_000, str(CANDLE), "1m", "5m", "1d", "5", "D",
    "kline.1.BTCUSDT",
    "kline.5.ETHUSDT", "kline.1.NOPE", "kline.1", "kline..ETHUSDT", "kline.1.1.ETHUSDT", "kline_lt.1.ETHUSDT",
]  # fmt: skip
KEYS = [
    "e", "E", "s", "t", "p", "q", "b", "a", "T", "m", "M", "x", "P", "w", "c", "Q", "B", "A", "o", "C", "L", "l", "S",
    "i", "u", "v", "Y", "ps", "id", "error", "status", "event", "data", "stream", "result", "time", "price", "symbol",
    "quantity", "side", "isDustTrade", "optionSide", "fee", "code", "ret_code", "retCode", "success", "ret_msg",
    "retMsg", "pong", "op", "topic", "type", "ts", "cs", "req_id", "bid1Price", "bidSize", "openInterestValue", "BT",
    "lastPrice", "prevPrice24h", "volume24h", "turnover24h", "price24hPcnt", "usdIndexPrice", "tradeId", "commission",
    "k", "n", "f", "V", "O", "start", "end", "interval", "open", "close", "high", "low", "volume", "turnover",
    "confirm", "timestamp", "anything new",
]  # fmt: skip


REQUESTS: dict[str, list[Any]] = {
    "binance": [
        {"method": "SUBSCRIBE", "params": ["nope"], "id": 99},
        {"method": "LIST_SUBSCRIPTIONS", "id": 100},
        {"method": "SET_PROPERTY", "params": ["combined", True], "id": 101},
    ],
    "bybit": [{"op": "subscribe", "args": ["nope"]}, {"op": "ping"}],
}


def paths(frame: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a frame."""
    items = frame.items() if isinstance(frame, dict) else enumerate(frame) if isinstance(frame, list) else ()
    return [each for key, value in items for each in [(*at, key), *paths(value, (*at, key))]]


def changed(frame: Any, path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    """A copy of the frame after ``change(holder, key)`` was called for the value at ``path``."""
    copy = deepcopy(frame)
    holder = copy
    for key in path[:-1]:
        holder = holder[key]
    change(holder, path[-1])
    return copy


def put(value: Any) -> Callable[[Any, Any], None]:
    """A change for :func:`changed` that sets ``value``."""
    return lambda holder, key: holder.__setitem__(key, value)
