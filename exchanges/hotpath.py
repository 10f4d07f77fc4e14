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

_new = object.__new__


class Reading(Protocol):
    """What the connection is reading: :class:`exchanges.fence.Reading`."""

    received_at: int
    delivered: int


class Scene:
    """Where the frames of one connection are read.

    ``coins`` maps the venue's market ids to coins. ``latest`` is the Unix ms up to which nothing is from the future: as
    of an earlier frame, for dividing the time of each costs more than the rest of a trade's checks.
    """

    __slots__ = ("_reading", "coins", "exchange", "latest")

    def __init__(self, coins: Mapping[str, str], exchange: str, reading: Reading) -> None:
        self.coins = coins
        self.exchange = exchange
        self.latest = 0
        self._reading = reading

    def ahead(self, timestamp: int) -> bool:
        """Whether a stamp after ``latest`` is from the future."""
        self.latest = self._reading.received_at // 1_000_000 + normalize.AHEAD
        return timestamp > self.latest


class Frame(Protocol):
    """A decoded frame of one event."""

    def event(self, scene: Scene, received_at: int) -> Event | None:
        """Its event, None for one that ccxt is to read."""


class Frames(Protocol):
    """A decoded frame of several events."""

    def events(self, scene: Scene, received_at: int) -> Sequence[Event]:
        """Its events in order, all of them or none."""


@dataclass(frozen=True, slots=True)
class One:
    """A kind of frame that makes one event of the type ``makes``; ``numbered``: ``t`` is a trade's id as a number."""

    makes: type
    decode: Callable[[str], Frame]
    numbered: bool = False


@dataclass(frozen=True, slots=True)
class Many:
    """A kind of frame that makes some events of the type ``makes``."""

    makes: type
    decode: Callable[[str], Frames]


@dataclass(frozen=True, slots=True)
class Table:
    """One venue's frames: by the character ``at`` that place, the kinds that they may be, tried in order.

    ``ticker_info``: the part of a ticker's frame that ccxt merges later deltas into, for venues that may send some.
    """

    at: int
    kinds: Mapping[str, Sequence[One | Many]]
    ticker_info: Callable[[str], Any] | None = None


Take = Callable[[str], bool]
"""Delivers a text's events and says whether it has; when not, nothing was delivered and ccxt is to read the text."""


def taker(
    table: Table,
    coins: Mapping[str, str],
    exchange: str,
    reading: Reading,
    deliver: Mapping[type, tuple[Callable[..., None], set[str]]],
    stand: Callable[[str, Callable[[], Any]], None],
) -> Take:
    """One connection's hot path.

    ``deliver``: by the events' type where they go, with a trade its id as a number where the venue counts, and a set
    that takes the coins of which some came; ``stand`` is told a ticker's coin and how to get its ``ticker_info``.
    """

    scene = Scene(coins, exchange, reading)
    at = table.at
    rows = {
        start: tuple(
            (kind.decode, isinstance(kind, Many), isinstance(kind, One) and kind.numbered, *deliver[kind.makes],
             table.ticker_info if kind.makes is Ticker else None)
            for kind in kinds
        )
        for start, kinds in table.kinds.items()
    }  # fmt: skip

    # one closure that calls as little as it can, because it runs for every frame
    def take(text: str) -> bool:
        try:
            row = rows[text[at]]
        except (KeyError, IndexError):
            return False
        for decode, many, numbered, hand_on, heard, info in row:
            try:
                frame: Any = decode(text)
            except (MsgspecError, RecursionError):
                continue
            # an escape can hide what the venue's own parser would refuse; no venue here sends any
            if "\\" in text:
                return False
            if many:
                return several(frame.events(scene, reading.received_at), hand_on, heard)
            event = frame.event(scene, reading.received_at)
            if event is None:
                return False
            reading.delivered = 1
            heard.add(event.coin)
            if numbered:
                hand_on(event, frame.t)
                return True
            if info is not None:
                stand(event.coin, partial(info, text))
            hand_on(event)
            return True
        return False

    def several(events: Sequence[Event], hand_on: Callable[[Any], None], heard: set[str]) -> bool:
        for event in events:
            reading.delivered += 1
            heard.add(event.coin)
            hand_on(event)
        return bool(events)

    return take


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

    def event(self, scene: Scene, received_at: int) -> TradeEvent | None:
        try:
            coin = scene.coins[self.s]
        except KeyError:
            return None
        number, maker, timestamp = self.t, self.m, self.T
        if (
            (maker is not True and maker is not False)
            or (type(number) is not int or not 0 <= number <= _LARGEST)
            or (timestamp > scene.latest and scene.ahead(timestamp))
        ):
            return None
        # as TradeEvent(...) does it, in half of the time
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

    def event(self, scene: Scene, received_at: int) -> Ticker | None:
        coin = scene.coins.get(self.s)
        # a change of "0.000" is rounded: ccxt works it out from the open
        if coin is None or not self.P or not 0.0 < self.o < inf:
            return None
        row = {
            "last": self.c, "timestamp": self.C, "quoteVolume": self.q, "percentage": self.P,
            "bid": self.b, "bidVolume": self.B, "ask": self.a, "askVolume": self.A,
        }  # fmt: skip
        return _whole(normalize.ticker(row, coin, scene.exchange, received_at))


class _BinanceBook(Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    u: Any = None
    s: str
    b: float
    B: float
    a: float
    A: float

    def event(self, scene: Scene, received_at: int) -> Quote | None:
        coin = scene.coins.get(self.s)
        if coin is None:
            return None
        row = {"bid": self.b, "bidVolume": self.B, "ask": self.a, "askVolume": self.A}
        return normalize.quote(row, coin, scene.exchange, received_at)


_Payload = TypeVar("_Payload", bound=Frame)


class _Combined(Struct, Generic[_Payload], forbid_unknown_fields=True, gc=False):
    """A frame of the combined endpoint."""

    stream: str
    data: _Payload

    def event(self, scene: Scene, received_at: int) -> Event | None:
        return self.data.event(scene, received_at)


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

    def events(self, scene: Scene, received_at: int) -> Sequence[TradeEvent]:
        channel, _, market_id = self.topic.partition(".")
        coin = scene.coins.get(market_id)
        if coin is None or channel != "publicTrade":
            return ()
        trades = []
        sound = normalize.sound_trade
        for row in self.data:
            sold = _SOLD.get(row.S)
            if sold is None or not row.i or row.s != market_id:
                return ()
            trade = sound(coin, row.p, row.v, sold, row.T, scene.exchange, row.i, received_at)
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

    def event(self, scene: Scene, received_at: int) -> Ticker | None:
        day = self.data
        coin = scene.coins.get(day.symbol)
        if coin is None or self.type != "snapshot" or self.topic != f"tickers.{day.symbol}":
            return None
        percent = float(f"{day.price24hPcnt}e2")
        # a change of zero may be rounded: ccxt works it out from the open
        if not percent or not 0.0 < day.prevPrice24h < inf or not 0.0 <= day.volume24h < inf:
            return None
        row = {
            "last": day.lastPrice, "timestamp": self.ts, "quoteVolume": day.turnover24h, "percentage": percent,
        }  # fmt: skip
        return _whole(normalize.ticker(row, coin, scene.exchange, received_at))


_LARGEST = 2**63 - 1  # of a whole number that every JSON parser keeps
_SOLD = {"Buy": False, "Sell": True}


def _one(makes: type, frame: Any, *, numbered: bool = False) -> One:
    return One(makes, json.Decoder(frame, strict=False).decode, numbered)


def _many(makes: type, frame: Any) -> Many:
    return Many(makes, json.Decoder(frame, strict=False).decode)


BINANCE = Table(
    at=2,
    kinds={
        "e": (_one(TradeEvent, _BinanceTrade, numbered=True), _one(Ticker, _BinanceTicker)),
        "u": (_one(Quote, _BinanceBook),),
        "s": (
            _one(TradeEvent, _Combined[_BinanceTrade]),
            _one(Ticker, _Combined[_BinanceTicker]),
            _one(Quote, _Combined[_BinanceBook]),
        ),
    },
)
BYBIT = Table(
    at=10,
    kinds={
        "p": (_many(TradeEvent, _BybitTrades),),
        "t": (_one(Ticker, _BybitTicker),),
    },
    ticker_info=lambda text: json.decode(text)["data"],
)
