"""Binance's frames on spot that fast_decoder.py reads: trades, tickers, quotes, candles, depth.

Source: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
"""

from __future__ import annotations

from math import inf
from typing import Any, Generic, Literal, Protocol, TypeVar

from msgspec import MsgspecError, Struct

from exchanges import normalize
from exchanges.books.proof import BookUpdate
from exchanges.events import Candle, Quote, Ticker, TradeEvent
from exchanges.venues.binance_books import BinanceDepth
from exchanges.venues.fast_decoder import Event, Frame, FrameContext, FrameTable, One, Positive, Time, one, whole

_new = object.__new__

_LARGEST = 2**63 - 1  # the largest whole number that every JSON parser keeps


class _BinanceTrade(Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    e: Literal["trade"]
    E: Any = None
    s: str
    t: Any
    p: Positive
    q: Positive
    b: Any = None  # Binance has not sent b and a since 2024
    a: Any = None
    T: Time
    m: Any
    M: Any = None

    def event(self, scene: FrameContext, received_at: int) -> TradeEvent | None:
        try:
            coin, market = scene.markets[self.s]
        except KeyError:
            return None
        number, maker, timestamp = self.t, self.m, self.T
        if (
            (maker is not True and maker is not False)
            or (type(number) is not int or not 0 <= number <= _LARGEST)
            or (timestamp > scene.latest and scene.ahead(timestamp, received_at))
        ):
            return None
        # does the same as TradeEvent(...), in half the time
        trade = _new(TradeEvent)
        trade.coin = coin
        trade.price = self.p
        trade.quantity = self.q
        trade.is_buyer_maker = maker
        trade.timestamp = timestamp
        trade.exchange = scene.exchange
        trade.trade_id = f"{number}"
        trade.received_at = received_at
        trade.backfilled = False
        trade.market = market
        return trade


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

    def event(self, scene: FrameContext, received_at: int) -> Ticker | None:
        # a change of "0.000" is rounded: ccxt computes the change from the open
        if self.s not in scene.markets or not self.P or not 0.0 < self.o < inf:
            return None
        coin, market = scene.markets[self.s]
        row = {
            "last": self.c, "timestamp": self.C, "quoteVolume": self.q, "percentage": self.P,
            "bid": self.b, "bidVolume": self.B, "ask": self.a, "askVolume": self.A,
        }  # fmt: skip
        return whole(normalize.ticker(row, coin, scene.exchange, received_at, market=market))


class _BinanceBook(Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    u: Any = None
    s: str
    b: float
    B: float
    a: float
    A: float

    def event(self, scene: FrameContext, received_at: int) -> Quote | None:
        if self.s not in scene.markets:
            return None
        coin, market = scene.markets[self.s]
        row = {"bid": self.b, "bidVolume": self.B, "ask": self.a, "askVolume": self.A}
        return normalize.quote(row, coin, scene.exchange, received_at, market=market)


class _BinanceCandle(Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    t: Any
    T: Any = None
    s: str
    i: str
    f: Any = None
    L: Any = None
    o: float
    c: float
    h: float
    l: float  # noqa: E741 - the venue's name for the candle's low
    v: float
    n: Any = None
    x: Any
    q: Any = None
    V: Any = None
    Q: Any = None
    B: Any = None


class _BinanceKline(Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    e: Literal["kline"]
    E: Any = None
    s: Any = None
    k: _BinanceCandle

    def event(self, scene: FrameContext, received_at: int) -> Candle | None:
        candle = self.k
        if self.s is not None and self.s != candle.s:
            return None
        return scene.candle(
            candle.s, candle.i, (candle.t, candle.o, candle.h, candle.l, candle.c, candle.v), candle.x, received_at
        )


class _OfMarket(Frame, Protocol):
    s: str  # the market's id


_Payload = TypeVar("_Payload", bound=_OfMarket)


class _Combined(Struct, Generic[_Payload], forbid_unknown_fields=True, gc=False):
    """A frame of the combined endpoint, whose streams are named in lower case: btcusdt@trade."""

    stream: str
    data: _Payload

    def event(self, scene: FrameContext, received_at: int) -> Event | None:
        if self.stream.partition("@")[0] != self.data.s.lower():
            return None
        return self.data.event(scene, received_at)


_decode_book = one(Quote, _BinanceBook).decode


def _book(text: str) -> Frame:
    if not text.startswith('{"u":'):  # other frames may have the same character at this place
        raise MsgspecError("no book ticker")
    return _decode_book(text)


_BOOK = One(Quote, _book)

BINANCE = FrameTable(
    at=6,  # here stands the first letter of the event's name, or the second digit of a book ticker's number
    kinds={
        "t": (one(TradeEvent, _BinanceTrade, numbered=True),),
        "k": (one(Candle, _BinanceKline),),
        "d": (one(BookUpdate, BinanceDepth),),
        **dict.fromkeys("0123456789", (_BOOK,)),
        "2": (one(Ticker, _BinanceTicker), _BOOK),
        "a": (
            one(TradeEvent, _Combined[_BinanceTrade]),
            one(Ticker, _Combined[_BinanceTicker]),
            one(Quote, _Combined[_BinanceBook]),
            one(BookUpdate, _Combined[BinanceDepth]),
        ),
    },
)
