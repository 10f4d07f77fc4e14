"""The hottest frames, straight from the text of the WebSocket message into events, in front of ccxt's own handler.

A frame is taken whole or not at all: what is not exactly as its venue's table says (``binance_frames``,
``bybit_frames``), down to an unknown field, a value that :mod:`exchanges.normalize` would drop or a figure that ccxt
would have to work out, goes to ccxt unchanged. So ccxt stays the reference, and what comes out here equals its result
field by field (tests/exchanges/test_hotpath.py).

The decoders are lax: a float may stand in a string. msgspec reads such a string by JSON's grammar for numbers, where
Python's ``float``, which ccxt calls, also takes " 1", "+1" and "1_000"; those frames go to ccxt. Fields that are
declared and not used are there to be known; all of them have defaults, since venues drop fields too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from msgspec import MsgspecError, json

from exchanges import normalize
from exchanges.events import Candle, Quote, Ticker, TradeEvent

Event = TradeEvent | Ticker | Quote | Candle


class Reading(Protocol):
    """What the connection is reading: :class:`exchanges.fence.Reading`."""

    received_at: int
    delivered: int


class Scene:
    """Where the frames of one connection are read.

    ``coins`` maps the venue's market ids to coins, ``timeframes`` its names of the wanted ones to ours. ``latest`` is
    the Unix ms up to which nothing is from the future: as of an earlier frame, for dividing the time of each costs more
    than the rest of a trade's checks.
    """

    __slots__ = ("_reading", "coins", "exchange", "latest", "timeframes")

    def __init__(
        self, coins: Mapping[str, str], timeframes: Mapping[str, str], exchange: str, reading: Reading
    ) -> None:
        self.coins = coins
        self.timeframes = timeframes
        self.exchange = exchange
        self.latest = 0
        self._reading = reading

    def ahead(self, timestamp: int) -> bool:
        """Whether a stamp after ``latest`` is from the future."""
        self.latest = self._reading.received_at // 1_000_000 + normalize.AHEAD
        return timestamp > self.latest

    def bar(self, market_id: str, interval: str, row: Sequence[Any], closed: Any, received_at: int) -> Candle | None:
        """The bar of a row as ccxt has it, and with the venue's word on whether it is closed."""
        coin, timeframe = self.coins.get(market_id), self.timeframes.get(interval)
        if coin is None or timeframe is None or type(row[0]) is not int or type(closed) is not bool:
            return None
        return normalize.candle(row, coin, timeframe, self.exchange, received_at, closed)


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
    timeframes: Mapping[str, str],
    exchange: str,
    reading: Reading,
    deliver: Mapping[type, tuple[Callable[..., None], set[str]]],
    stand: Callable[[str, Callable[[], Any]], None],
) -> Take:
    """One connection's hot path. ``coins`` and ``timeframes``: see :class:`Scene`.

    ``deliver``: by the events' type where they go, with a trade its id as a number where the venue counts, and a set
    that takes the coins of which some came; ``stand`` is told a ticker's coin and how to get its ``ticker_info``.
    """

    scene = Scene(coins, timeframes, exchange, reading)
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


def whole(ticker: Ticker | None) -> Ticker | None:
    """``ticker`` when it has its day's figures from the venue; ccxt works out what is missing."""
    return None if ticker is None or ticker.volume_24h is None or ticker.change_24h is None else ticker


def one(makes: type, frame: Any, *, numbered: bool = False) -> One:
    """The kind of frame that the msgspec type ``frame`` describes."""
    return One(makes, json.Decoder(frame, strict=False).decode, numbered)


def many(makes: type, frame: Any) -> Many:
    """As :func:`one`, for :class:`Frames`."""
    return Many(makes, json.Decoder(frame, strict=False).decode)
