"""Decodes the most frequent frames from their text into events, without ccxt; decides which frames ccxt must read.

A frame is taken whole or not at all. It goes to ccxt unchanged if it differs in any way from its venue's table
(``binance_frames``, ``bybit_frames``): an unknown field, a value that :mod:`exchanges.normalize` would drop, or a value
that ccxt would have to compute. So ccxt stays the reference: the events made here equal ccxt's field by field
(tests/exchanges/venues/test_fast_decoder.py).

The decoders are not strict: a float may be written as a string. msgspec reads such a string by JSON's grammar for
numbers. Python's ``float``, which ccxt calls, also takes " 1", "+1" and "1_000"; frames with these go to ccxt. Some
fields are declared only so that they are not unknown. They have defaults, because a venue may also leave a field out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Protocol

from msgspec import Meta, json

from exchanges import normalize, venue_time
from exchanges.books.proof import BookUpdate
from exchanges.events import Candle, Quote, Ticker, TradeEvent

Positive = Annotated[float, Meta(gt=0.0, lt=normalize.ABSURD)]  # a trade's price or quantity
Time = Annotated[int, Meta(ge=normalize.EARLIEST)]  # the time of a trade, Unix ms

Event = TradeEvent | Ticker | Quote | Candle | BookUpdate


class FrameContext:
    """What is needed to read the frames of one connection.

    ``markets`` maps the venue's market ids to coin and market symbol. ``timeframes`` maps the venue's names of the
    wanted timeframes to ours. ``latest``: stamps up to this time (Unix ms) are not in the future. It is computed
    rarely, because doing it for each frame would cost more than all other checks of a trade.
    """

    __slots__ = ("exchange", "latest", "markets", "timeframes")

    def __init__(self, markets: Mapping[str, tuple[str, str]], timeframes: Mapping[str, str], exchange: str) -> None:
        self.markets = markets
        self.timeframes = timeframes
        self.exchange = exchange
        self.latest = 0

    def ahead(self, timestamp: int, received_at: int) -> bool:
        """Whether a stamp after ``latest`` is from the future."""
        self.latest = venue_time.latest(self.exchange, received_at)
        return timestamp > self.latest

    def candle(self, market_id: str, interval: str, row: Sequence[Any], closed: Any, received_at: int) -> Candle | None:
        """The candle that would result from ccxt's row, with the venue's flag for closed."""
        timeframe = self.timeframes.get(interval)
        if market_id not in self.markets or timeframe is None or type(row[0]) is not int or type(closed) is not bool:
            return None
        coin, market = self.markets[market_id]
        return normalize.candle(row, coin, timeframe, self.exchange, received_at, closed, market=market)


@dataclass(slots=True, eq=False)
class FrameClock:
    """When the frame that a connection is reading came."""

    received_at: int = 0  # local Unix ns at which the frame was taken from the socket


class Frame(Protocol):
    """A decoded frame of one event."""

    def event(self, scene: FrameContext, received_at: int) -> Event | None:
        """Its event, None if ccxt must read the frame."""


class Frames(Protocol):
    """A decoded frame of several events."""

    def events(self, scene: FrameContext, received_at: int) -> Sequence[Event]:
        """Its events in order, all of one coin; all of them or none."""


@dataclass(frozen=True, slots=True)
class One:
    """A kind of frame from which one event of the type ``makes`` is made; ``numbered``: its field ``t`` is the trade's
    id as a number.
    """

    makes: type
    decode: Callable[[str], Frame]
    numbered: bool = False


@dataclass(frozen=True, slots=True)
class Many:
    """A kind of frame from which several events of the type ``makes`` are made."""

    makes: type
    decode: Callable[[str], Frames]


@dataclass(frozen=True, slots=True)
class FrameTable:
    """One venue's kinds of frames, by the character at the place ``at``, in the order in which they are tried.

    ``ticker_info`` returns the part of a ticker's frame into which ccxt merges later changes, if the venue sends any.
    """

    at: int
    kinds: Mapping[str, Sequence[One | Many]]
    ticker_info: Callable[[str], Any] | None = None


Take = Callable[[str], bool]
"""Delivers a text's events and returns True; or returns False without any delivery, and ccxt must read the text."""

Blame = Callable[[str, int, Exception], None]
"""Called when the listener has raised: with the text, the number of its delivered events, and the error."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Passes events of one type to ``hand_on``; a trade comes with its id as a number if the venue's ids are numbers.

    ``unheard`` has the coins that have had no such event so far.
    """

    hand_on: Callable[..., object]
    unheard: set[str]


def taker(
    table: FrameTable,
    markets: Mapping[str, tuple[str, str]],
    timeframes: Mapping[str, str],
    exchange: str,
    reading: FrameClock,
    goals: Mapping[type, Destination],
    stand: Callable[[str, Callable[[], Any]], None],
    blame: Blame,
) -> Take:
    """The function that reads one connection's texts before ccxt. ``markets``, ``timeframes``: see FrameContext.

    Frames whose event type is not in ``goals`` are left to ccxt. ``stand`` is called with a ticker's coin and with a
    function that returns the ticker's ``ticker_info``.
    """
    scene = FrameContext(markets, timeframes, exchange)
    at = table.at
    rows: dict[str, Take] = {}

    def take(text: str) -> bool:
        try:
            read = rows[text[at]]
        except (KeyError, IndexError):
            return False
        return read(text)

    hottest: Take = take
    for start, every in table.kinds.items():
        kinds = [kind for kind in every if kind.makes in goals]
        if not kinds:
            continue
        readers = [_reader(kind, table, start, take, scene, reading, goals[kind.makes], stand, blame) for kind in kinds]
        rows[start] = _either(readers)
        if len(kinds) == 1 and kinds[0].makes is TradeEvent:  # tried first, so that a trade costs one call less
            hottest = rows[start]
    return hottest


def _either(readers: Sequence[Take]) -> Take:
    """A function that tries ``readers`` until one takes the text."""
    return readers[0] if len(readers) == 1 else lambda text: any(read(text) for read in readers)


# a closure with few calls, because it runs for every frame
def _reader(
    kind: One | Many,
    table: FrameTable,
    start: str,
    otherwise: Take,
    scene: FrameContext,
    reading: FrameClock,
    goal: Destination,
    stand: Callable[..., None],
    blame: Blame,
) -> Take:
    """A function that takes texts of one kind; a text with another ``start`` goes to ``otherwise``."""
    at = table.at
    decode, hand_on, unheard = kind.decode, goal.hand_on, goal.unheard
    numbered = isinstance(kind, One) and kind.numbered
    info = table.ticker_info if kind.makes is Ticker else None

    def one(text: str) -> bool:
        try:
            if text[at] != start:
                return otherwise(text)
            frame: Any = decode(text)
            event = frame.event(scene, reading.received_at)
        except Exception:  # noqa: BLE001 - any error means that the frame is not recognized
            return False
        # an escape could hide text that ccxt's parser would refuse; these venues send no escapes
        if event is None or "\\" in text:
            return False
        if unheard:
            unheard.discard(event.coin)
        try:
            if numbered:
                hand_on(event, frame.t)
                return True
            if info is not None:
                stand(event.coin, partial(info, text))
            hand_on(event)
        except Exception as error:  # noqa: BLE001 - the listener has raised; it must not get the event again
            blame(text, 1, error)
        return True

    def many(text: str) -> bool:
        try:
            if text[at] != start:
                return otherwise(text)
            frame: Any = decode(text)
            events = frame.events(scene, reading.received_at)
        except Exception:  # noqa: BLE001 - as above
            return False
        if not events or "\\" in text:
            return False
        unheard.discard(events[0].coin)
        handed_on = 0
        try:
            for event in events:
                handed_on += 1
                hand_on(event)
        except Exception as error:  # noqa: BLE001 - as above
            blame(text, handed_on, error)
        return True

    return many if isinstance(kind, Many) else one


def unambiguous(markets_by_id: Mapping[str, Sequence[Any]], wanted: Mapping[str, str]) -> dict[str, str]:
    """The coin of each wanted spot market by the venue's id, if no other market has that id. ``wanted``: symbol ->
    coin.

    ``markets_by_id`` is ccxt's. An id with other characters than capitals and digits is left out: it could be misread
    in a topic.
    """
    return {
        market_id: wanted[markets[0]["symbol"]]
        for market_id, markets in markets_by_id.items()
        if len(markets) == 1 and markets[0]["symbol"] in wanted and markets[0].get("spot") is True
        if market_id.isascii() and market_id.isalnum() and market_id.isupper()
    }


def whole(ticker: Ticker | None) -> Ticker | None:
    """``ticker`` if the venue has sent its day stats; else None, because ccxt must compute them."""
    return None if ticker is None or ticker.volume_24h is None or ticker.change_24h is None else ticker


def one(makes: type, frame: Any, *, numbered: bool = False) -> One:
    """The kind of frame that the msgspec type ``frame`` describes, for a frame with one event."""
    return One(makes, json.Decoder(frame, strict=False).decode, numbered)


def many(makes: type, frame: Any) -> Many:
    """The kind of frame that the msgspec type ``frame`` describes, for a frame with several events."""
    return Many(makes, json.Decoder(frame, strict=False).decode)
