"""The hottest frames, straight from the text of the WebSocket message into events, in front of ccxt's own handler.

A frame is taken whole or not at all: what is not exactly as the tables below say, down to an unknown field, a value
that :mod:`exchanges.normalize` would drop or a figure that ccxt would have to work out, goes to ccxt unchanged. So
ccxt stays the reference, and what comes out here equals its result field by field (tests/exchanges/test_hotpath.py).

The decoders are lax: a float may stand in a string. msgspec reads such a string by JSON's grammar for numbers, where
Python's ``float``, which ccxt calls, also takes " 1", "+1" and "1_000"; those frames go to ccxt. Fields that are
declared and not used are there to be known; all of them have defaults, since venues drop fields too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Annotated, Any, Generic, Literal, Protocol, TypeVar

from msgspec import Meta, MsgspecError, Struct, json

from exchanges import normalize
from exchanges.events import Quote, Ticker, TradeEvent

Event = TradeEvent | Ticker | Quote


class Reading(Protocol):
    """What the connection is reading: :class:`exchanges.fence.Reading`."""

    received_at: int
    delivered: int


class Frame(Protocol):
    """A decoded frame of one event."""

    def event(self, coins: Mapping[str, str], exchange: str, received_at: int) -> Event | None:
        """Its event, None for one that ccxt is to read; ``coins`` maps the venue's market ids to coins."""


class Frames(Protocol):
    """A decoded frame of several events."""

    def events(self, coins: Mapping[str, str], exchange: str, received_at: int) -> Sequence[Event]:
        """Its events in order, all of them or none."""


@dataclass(frozen=True, slots=True)
class One:
    """A kind of frame that makes one event of the type ``makes``."""

    makes: type
    decode: Callable[[str], Frame]


@dataclass(frozen=True, slots=True)
class Many:
    """A kind of frame that makes some events of the type ``makes``."""

    makes: type
    decode: Callable[[str], Frames]


@dataclass(frozen=True, slots=True)
class Table:
    """One venue's frames: by their first ``width`` characters, the kinds that they may be, tried in order.

    ``ticker_info``: the part of a ticker's frame that ccxt merges later deltas into, for venues that may send some.
    """

    width: int
    kinds: Mapping[str, Sequence[One | Many]]
    ticker_info: Callable[[str], Any] | None = None


Take = Callable[[str], bool]
"""Delivers a text's events and says whether it has; when not, nothing was delivered and ccxt is to read the text."""


def taker(
    table: Table,
    coins: Mapping[str, str],
    exchange: str,
    reading: Reading,
    deliver: Mapping[type, tuple[Callable[[Any], None], set[str]]],
    stand: Callable[[str, Callable[[], Any]], None],
) -> Take:
    """One connection's hot path.

    ``deliver``: by the events' type where they go, and a set that takes the coins of which some came; ``stand`` is told
    a ticker's coin and how to get its ``ticker_info``.
    """

    # closures, because their variables are nearer than attributes: this runs for every frame

    def one(kind: One, otherwise: Take) -> Take:
        decode, (hand_on, heard) = kind.decode, deliver[kind.makes]
        info = table.ticker_info if kind.makes is Ticker else None

        def take(text: str) -> bool:
            try:
                frame = decode(text)
            except (MsgspecError, RecursionError):
                return otherwise(text)
            event = frame.event(coins, exchange, reading.received_at)
            # an escape can hide what the venue's own parser would refuse; no venue here sends any
            if event is None or "\\" in text:
                return False
            coin = event.coin
            reading.delivered = 1
            heard.add(coin)
            if info is not None:
                stand(coin, partial(info, text))
            hand_on(event)
            return True

        return take

    def many(kind: Many, otherwise: Take) -> Take:
        decode, (hand_on, heard) = kind.decode, deliver[kind.makes]

        def take(text: str) -> bool:
            try:
                frame = decode(text)
            except (MsgspecError, RecursionError):
                return otherwise(text)
            events = frame.events(coins, exchange, reading.received_at)
            if not events or "\\" in text:
                return False
            for event in events:
                reading.delivered += 1
                heard.add(event.coin)
                hand_on(event)
            return True

        return take

    def made(kinds: Sequence[One | Many]) -> Take:
        take: Take = _nobody
        for kind in reversed(kinds):
            take = one(kind, take) if isinstance(kind, One) else many(kind, take)
        return take

    width, fitting = table.width, {start: made(kinds) for start, kinds in table.kinds.items()}.get
    return lambda text: fitting(text[:width], _nobody)(text)


def _nobody(text: str) -> bool:
    """It is of no known kind."""
    return False


def unambiguous(markets_by_id: Mapping[str, Sequence[Any]], wanted: Mapping[str, str]) -> dict[str, str]:
    """The coin of each wanted spot market by the venue's id, where no other market has it. ``wanted``: symbol -> coin.

    ``markets_by_id`` is ccxt's. An id of other than capitals and digits is left out: in a topic it might be taken for
    something else.
    """
    return {
        market_id: wanted[markets[0]["symbol"]]
        for market_id, markets in markets_by_id.items()
        if len(markets) == 1 and markets[0]["symbol"] in wanted and markets[0].get("spot") is True
        if market_id.isascii() and market_id.isalnum() and market_id.isupper()
    }


def _whole(ticker: Ticker | None) -> Ticker | None:
    """``ticker`` when it has its day's figures from the venue; ccxt works out what is missing."""
    return None if ticker is None or ticker.volume_24h is None or ticker.change_24h is None else ticker


# --- Binance spot: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams -----------------------


_Positive = Annotated[float, Meta(gt=0.0, lt=normalize.ABSURD)]
_Time = Annotated[int, Meta(ge=normalize.EARLIEST)]


class _BinanceTrade(Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    e: Literal["trade"]
    E: Any = None
    s: str
    t: Any
    p: _Positive
    q: _Positive
    b: Any = None  # not sent any more since 2024
    a: Any = None
    T: _Time
    m: Any
    M: Any = None

    def event(self, coins: Mapping[str, str], exchange: str, received_at: int) -> TradeEvent | None:
        coin, number, maker, timestamp = coins.get(self.s), self.t, self.m, self.T
        if (
            coin is None
            or (maker is not True and maker is not False)
            or type(number) is not int
            or not 0 <= number <= _LARGEST
            or timestamp > received_at // 1_000_000 + normalize.AHEAD
        ):
            return None
        return TradeEvent(coin, self.p, self.q, maker, timestamp, exchange, f"{number}", received_at)


class _BinanceTicker(Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    e: Literal["24hrTicker"]
    E: Any = None
    s: str
    p: Any = None
    P: float
    w: float
    x: Any = None
    c: float
    Q: Any = None
    b: float
    B: float
    a: float
    A: float
    o: float
    h: Any = None
    l: Any = None  # noqa: E741 - the venue's name for the day's low
    v: Any = None
    q: float
    O: Any = None  # noqa: E741 - the venue's name for the day's beginning
    C: int
    F: Any = None
    L: Any = None
    n: Any = None

    def event(self, coins: Mapping[str, str], exchange: str, received_at: int) -> Ticker | None:
        coin = coins.get(self.s)
        # a change of "0.000" is rounded: ccxt works it out from the open
        if coin is None or not self.P or not 0.0 < self.o < inf:
            return None
        row = {
            "last": self.c, "timestamp": self.C, "quoteVolume": self.q, "percentage": self.P,
            "bid": self.b, "bidVolume": self.B, "ask": self.a, "askVolume": self.A,
        }  # fmt: skip
        return _whole(normalize.ticker(row, coin, exchange, received_at))


class _BinanceBook(Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    u: Any = None
    s: str
    b: float
    B: float
    a: float
    A: float

    def event(self, coins: Mapping[str, str], exchange: str, received_at: int) -> Quote | None:
        coin = coins.get(self.s)
        if coin is None:
            return None
        row = {"bid": self.b, "bidVolume": self.B, "ask": self.a, "askVolume": self.A}
        return normalize.quote(row, coin, exchange, received_at)


_Payload = TypeVar("_Payload", bound=Frame)


class _Combined(Struct, Generic[_Payload], forbid_unknown_fields=True, gc=False):
    """A frame of the combined endpoint."""

    stream: str
    data: _Payload

    def event(self, coins: Mapping[str, str], exchange: str, received_at: int) -> Event | None:
        return self.data.event(coins, exchange, received_at)


# --- Bybit v5 spot: https://bybit-exchange.github.io/docs/v5/websocket/public/trade and .../ticker --------------------


class _BybitRow(Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    i: str
    T: int
    p: float
    v: float
    S: str
    s: str
    L: Any = None
    BT: Any = None
    RPI: Any = None
    seq: Any = None


class _BybitTrades(Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    topic: str
    ts: Any = None
    type: Any = None
    data: list[_BybitRow]

    def events(self, coins: Mapping[str, str], exchange: str, received_at: int) -> Sequence[TradeEvent]:
        channel, _, market_id = self.topic.partition(".")
        coin = coins.get(market_id)
        if coin is None or channel != "publicTrade":
            return ()
        trades = []
        sound = normalize.sound_trade
        for row in self.data:
            sold = _SOLD.get(row.S)
            if sold is None or not row.i or row.s != market_id:
                return ()
            trade = sound(coin, row.p, row.v, sold, row.T, exchange, row.i, received_at)
            if trade is None:
                return ()
            trades.append(trade)
        return trades


class _BybitDay(Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    symbol: str
    lastPrice: float
    highPrice24h: Any = None
    lowPrice24h: Any = None
    prevPrice24h: float
    volume24h: float
    turnover24h: float
    # a fraction, to be turned into percent exactly, as ccxt does
    price24hPcnt: Annotated[str, Meta(pattern=r"\A-?[0-9]{1,9}(\.[0-9]{1,18})?\Z")]
    usdIndexPrice: Any = None


class _BybitTicker(Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    topic: str
    ts: int
    type: str
    cs: Any = None
    data: _BybitDay

    def event(self, coins: Mapping[str, str], exchange: str, received_at: int) -> Ticker | None:
        day = self.data
        coin = coins.get(day.symbol)
        if coin is None or self.type != "snapshot" or self.topic != f"tickers.{day.symbol}":
            return None
        percent = float(f"{day.price24hPcnt}e2")
        # a change of zero may be rounded: ccxt works it out from the open
        if not percent or not 0.0 < day.prevPrice24h < inf or not 0.0 <= day.volume24h < inf:
            return None
        row = {
            "last": day.lastPrice, "timestamp": self.ts, "quoteVolume": day.turnover24h, "percentage": percent,
        }  # fmt: skip
        return _whole(normalize.ticker(row, coin, exchange, received_at))


_LARGEST = 2**63 - 1  # of a whole number that every JSON parser keeps
_SOLD = {"Buy": False, "Sell": True}


def _one(makes: type, frame: Any) -> One:
    return One(makes, json.Decoder(frame, strict=False).decode)


def _many(makes: type, frame: Any) -> Many:
    return Many(makes, json.Decoder(frame, strict=False).decode)


BINANCE = Table(
    width=5,
    kinds={
        '{"e":': (_one(TradeEvent, _BinanceTrade), _one(Ticker, _BinanceTicker)),
        '{"u":': (_one(Quote, _BinanceBook),),
        '{"str': (
            _one(TradeEvent, _Combined[_BinanceTrade]),
            _one(Ticker, _Combined[_BinanceTicker]),
            _one(Quote, _Combined[_BinanceBook]),
        ),
    },
)
BYBIT = Table(
    width=12,
    kinds={
        '{"topic":"pu': (_many(TradeEvent, _BybitTrades),),
        '{"topic":"ti': (_one(Ticker, _BybitTicker),),
    },
    ticker_info=lambda text: json.decode(text)["data"],
)
