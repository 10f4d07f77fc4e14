"""What is special about each venue, as a table, and how a user wants it reached.

Every ccxt.pro id that has no row of its own gets the generic one.

A limit or an option that stands here comes from the venue's documentation or was measured against ccxt's own module;
the adapter reads the row and knows no venue by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from exchanges.hotpath import BINANCE, BYBIT, Table
from exchanges.names import ALIASES, canonical, exchange_names, nearest

CandleFlag = Callable[[Any, Any], bool | None]
"""(frame, ccxt row) -> the venue's own word on whether that bar is closed; None where the frame does not say."""

RENAMES: Mapping[str, tuple[str, ...]] = {"POL": ("MATIC",), "S": ("FTM",), "RENDER": ("RNDR",)}
"""Coins that some venues still list under an older code; tried after the coin's own name."""


def _binance_candle_closed(frame: Any, row: Any) -> bool | None:
    return bool(frame["k"]["x"])


def _binance_going_down(frame: Any) -> bool:
    return isinstance(frame, dict) and frame.get("e") == "serverShutdown"


def _bybit_candle_closed(frame: Any, row: Any) -> bool | None:
    return next((bool(bar["confirm"]) for bar in frame["data"] if bar["start"] == row[0]), None)


@dataclass(frozen=True, slots=True)
class Profile:
    """One venue: its ccxt id and what the adapter must know beyond ccxt's ``has``."""

    name: str
    ccxt_id: str
    sandbox: bool = False  # talk to the venue's testnet
    testnet: bool = True  # False where ccxt's testnet addresses are another venue's
    options: Mapping[str, Any] = field(default_factory=dict)  # merged into ccxt's own, the user's come on top
    chunk: int = 50  # markets per multi-symbol subscription call
    dials: int = 100  # connection attempts per 5 minutes that the venue allows
    candle_closed: CandleFlag | None = None
    consecutive_ids: bool = False  # trade ids of a market count up by one
    recent_trades: Mapping[str, Any] = field(default_factory=dict)  # fetch_trades params: the newest, the stream's ids
    older_trades: Mapping[str, Any] = field(default_factory=dict)  # the same from an id on, which goes under "fromId"
    keyless: frozenset[str] = frozenset()  # REST paths for which ccxt wants an API key and the venue does not
    trade_market: str = ""  # the raw trade's field with its market's id, where ccxt takes the frame's word for it
    trade_texts: tuple[str, ...] = ()  # with that: fields of the raw trade in whose place ccxt guesses
    recent_limit: int = 1000  # trades that such a request gives at most
    fetches: int = 60  # such requests per minute that the venue allows
    session_limit: float | None = None  # seconds after which the venue cuts a connection
    going_down: Callable[[Any], bool] | None = None  # whether a frame announces that the venue will cut it
    hotpath: Table | None = None  # the frames that are read without ccxt
    note: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a venue. ``timeout`` in seconds, per REST request and per dial.

    ``rest_url`` and ``ws_url`` replace the scheme and host of every address. ``options`` are handed to ccxt as they
    are, but for ``sandbox: true``, which asks for the venue's testnet, and ``hotpath: false``, which has ccxt read
    every frame.
    """

    market_type: str = "spot"
    quote: Sequence[str] = ("USDT", "USDC", "USD")
    rest_url: str | None = None
    ws_url: str | None = None
    proxy: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 10.0


# One connection for all coins and channels: without these limits ccxt opens one per call. The full ticker instead of
# the mini ticker, because it has bid and ask (pro/binance.py, watchTickers).
_BINANCE_OPTIONS: Mapping[str, Any] = {
    "streamLimits": {"spot": 1, "linear": 1, "inverse": 1},
    "subscriptionLimitByStream": {"spot": 1024, "linear": 1024, "inverse": 1024},
    "watchTickers": {"name": "ticker"},
}


def _binance(name: str, *, sandbox: bool = False, testnet: bool = True, note: str = "") -> Profile:
    return Profile(
        name,
        ALIASES[name],
        sandbox=sandbox,
        testnet=testnet,
        options=_BINANCE_OPTIONS,
        chunk=100,
        dials=300,  # per 5 minutes and IP: Binance, WebSocket streams, limits
        candle_closed=_binance_candle_closed,
        consecutive_ids=True,
        recent_trades={"fetchTradesMethod": "publicGetTrades"},  # aggTrades, ccxt's default, have ids of their own
        older_trades={"fetchTradesMethod": "publicGetHistoricalTrades"},  # dear: ccxt counts it 40 times the other
        fetches=240,  # of weight 25, out of 6000 per minute and IP: Binance, REST limits
        keyless=frozenset({"historicalTrades"}),  # since 2023-08: binance-connector-python 3.2.0, changelog
        session_limit=86_400,
        going_down=_binance_going_down,
        hotpath=BINANCE,
        note=note,
    )


def _bybit(name: str, *, sandbox: bool = False, note: str = "") -> Profile:
    return Profile(
        name,
        ALIASES[name],
        sandbox=sandbox,
        chunk=10,  # args per subscribe request on spot: Bybit v5, WebSocket connect
        dials=500,
        trade_market="s",
        trade_texts=("i", "S"),  # without them: the time as the id, and sold (pro/bybit.py, parse_ws_trade)
        recent_limit=60,  # on spot: Bybit v5, recent public trades
        fetches=600,  # 600 within 5 s: Bybit v5, rate limits
        candle_closed=_bybit_candle_closed,
        hotpath=BYBIT,
        note=note,
    )


_TABLE: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        _bybit("bybit"),
        _binance("binance"),
        _binance("binance_us", testnet=False, note="no testnet of its own"),
        _binance("binance_testnet", sandbox=True, note="paper money"),
        _bybit("bybit_testnet", sandbox=True, note="paper money"),
    )
}


def profile_of(name: str) -> Profile:
    """The row of ``name``, which is a name of ours or any ccxt.pro id; ValueError names the nearest known ones."""
    key = canonical(name)
    if key in _TABLE:
        return _TABLE[key]
    known = exchange_names()
    if name not in known:
        hint = " or ".join(nearest(name, known)) or "one of `market-feed exchanges`"
        raise ValueError(f"unknown exchange {name!r}; did you mean {hint}?")
    return Profile(name, name)


def named_profiles() -> list[Profile]:
    """The venues with a row of their own, in the order of the table."""
    return list(_TABLE.values())
