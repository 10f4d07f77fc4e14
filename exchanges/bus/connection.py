"""Reads one exchange's subjects from the bus: first the events since the last connection, then each new event."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from exchanges.bus.client import BusClient, BusError
from exchanges.bus.collectors import Lateness
from exchanges.bus.payloads import read, read_object
from exchanges.bus.publishers import Publishers
from exchanges.bus.reader import StreamReader
from exchanges.bus.subjects import CANDLES, CHANNELS, GAPS, MarketSubjects, channel_of, text
from exchanges.errors import Disconnected, VenueError
from exchanges.events import Listener, TradeEvent
from exchanges.foreign_text import Cleaner
from exchanges.venue import Limits, Subscription

if TYPE_CHECKING:
    from nats.aio.msg import Msg

LOOK = 0.5  # seconds between two checks whether the collectors are alive
NAMED = 200  # the most subjects that a reader names one by one; if it needs more, it reads the subjects of all coins
HISTORY = 1000  # the most past trades of a coin that are collected before they are passed on


@dataclass(slots=True)
class Position:
    """How far an exchange's events were read when a connection broke.

    ``created`` is when the stream was made. ``read`` maps each coin to the sequence of its last message that was read;
    ``trades`` has the last trade of each coin.
    """

    created: str = ""
    read: dict[str, int] = field(default_factory=dict)
    trades: dict[str, TradeEvent] = field(default_factory=dict)


class ConnectionVenue(Protocol):
    """What the connections need to know about their venue."""

    name: str
    clean: Cleaner
    subjects: MarketSubjects
    positions: defaultdict[tuple[str, ...], Position]
    """Channels of a connection -> its position: order books have connections of their own."""
    breaks: dict[str, int]
    """Coin -> a sequence at or before which trades of the coin may be missing on the bus."""

    @property
    def limits(self) -> Limits: ...

    async def dial(self) -> BusClient:
        """A new connection to the bus. Raises BusError."""

    def shards_of(self, coins: Iterable[str]) -> set[str]:
        """The names of the shards that have these coins."""

    def coins_of(self, shard: str) -> set[str]:
        """The coins of a shard, none if the shard is not known."""

    def publishes(self, coin: str, channel: str, timeframe: str) -> bool:
        """Whether the coin's collectors publish the channel, and for candles, this timeframe."""


class BusConnection:
    """One connection to the bus for one exchange; it ends when the bus ends it or no collector publishes."""

    def __init__(self, venue: ConnectionVenue, subscription: Subscription, listener: Listener) -> None:
        self._venue = venue
        self._wanted = subscription
        self._markets = dict(subscription.markets)
        self._listener = listener
        self._client: BusClient | None = None
        self._readers: list[tuple[StreamReader, Mapping[str, str]]] = []
        self._caught_up: set[str] = set()  # coins whose earlier messages are all read
        self._skipped: dict[str, int] = {}  # coin -> the last sequence that the previous connection read
        self._trades: dict[str, TradeEvent] = {}  # coin -> its last trade
        self._created = ""  # when the stream was made
        self._sequence = 0  # sequence of the last message that was read
        self._position = venue.positions[tuple(self._channels())]
        self._reading = asyncio.TaskGroup()  # the group has a task for each reader
        self._added: list[dict[str, str]] = []
        self._stirred = asyncio.Event()
        self._past: dict[str, list[TradeEvent]] = {}  # earlier trades by coin, until they are passed on
        self._took: dict[str, Callable[[bytes, str, int, bool], None]] = {}  # subject -> its taker
        self._numbers = venue.limits.consecutive_ids
        self._publishers = Publishers(
            venue.name,
            venue.clean,
            listener,
            self._coins_of,
            self._on_source,
            books="books" in subscription.channels,
        )
        self._lateness = Lateness()

    async def run(self) -> None:
        """Dial, read and deliver until the connection ends. Raises Disconnected."""
        venue, loop = self._venue, asyncio.get_running_loop()
        try:
            client = self._client = await venue.dial()
            self._publishers.expect(venue.shards_of(self._markets), loop.time())
            await client.subscribe(venue.subjects.status, self._on_status)
            async with self._reading:
                await self._begin(self._markets)
                while True:
                    while self._added:
                        await self._begin(self._added.pop())
                    self._publishers.check(loop.time())
                    self._stirred.clear()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(LOOK):
                            await self._stirred.wait()
        except* (BusError, VenueError) as errors:
            self._remember()
            error = errors.exceptions[0]
            raise Disconnected(venue.name, error.reason) if isinstance(error, BusError) else error from None

    def _remember(self) -> None:
        """Remember the position, so that the next connection continues from here.

        A connection that is closed because it is not needed does not remember the position: later, missing trades are
        fetched, as with any exchange.
        """
        known = self._position
        if self._created and known.created != self._created:
            known.created = self._created
            known.read.clear()
            known.trades.clear()
        for reader, markets in self._readers:
            known.read.update(dict.fromkeys(self._caught_up & markets.keys(), reader.sequence))
        known.trades |= {coin: trade for coin, trade in self._trades.items() if coin in known.read}

    async def _begin(self, markets: Mapping[str, str]) -> None:
        """Read these coins: from the last message that was read, or else from their last state."""
        self._tell_missing(list(markets))
        # a coin that is already read is added again if one of its channels was missing
        reading = {coin for _, coins in self._readers for coin in coins}
        markets = {coin: symbol for coin, symbol in markets.items() if coin not in reading}
        known = self._position
        resumed = {coin: symbol for coin, symbol in markets.items() if coin in known.read}
        new = {coin: symbol for coin, symbol in markets.items() if coin not in known.read}
        if resumed:
            await self._read(resumed, known)
        if new:
            await self._read(new, None)

    def _tell_missing(self, coins: list[str]) -> None:
        """Report channels that will have no data, because the collectors do not publish them."""
        for channel, timeframe in self._asked():
            missing = [coin for coin in coins if not self._venue.publishes(coin, channel, timeframe)]
            if missing:
                self._listener.on_unavailable(channel, missing, "its collectors do not publish it", timeframe)

    async def _read(self, markets: Mapping[str, str], known: Position | None) -> None:
        client, venue = self._client, self._venue
        assert client is not None
        for coin, symbol in markets.items():
            self._prepare(coin, symbol)

        def on_caught_up() -> None:
            self._hand_over(markets)

        reader = StreamReader(client, venue.subjects.stream, self._subjects(markets), self._on_message, on_caught_up)
        after = None if known is None else await self._resume_at(client, known, markets)
        self._readers.append((reader, markets))
        self._created = await reader.begin(after)
        self._reading.create_task(reader.run(), name=f"bus reader of {venue.name}")

    async def _resume_at(self, client: BusClient, known: Position, markets: Mapping[str, str]) -> int | None:
        """The sequence after which reading continues; None if the stream is new, so that no position is valid."""
        info = await client.api(f"STREAM.INFO.{self._venue.subjects.stream}")
        first, last = int(info["state"]["first_seq"]), int(info["state"]["last_seq"])
        after = min(known.read[coin] for coin in markets)
        if info["created"] != known.created or last < after:
            reason = "the bus has lost the messages that were read before: trades since then may be missing"
            self._on_source(self._publishers.names, reason, list(markets))
            return None
        if first > after + 1:
            reason = f"the bus has already dropped {first - after - 1} events that came meanwhile"
            self._on_source(self._publishers.names, f"{reason}: trades may be missing", list(markets))
            return first - 1
        self._skipped = {coin: known.read[coin] for coin in markets}
        for coin in markets:
            if coin in known.trades:
                self._past[coin] = [replace(known.trades[coin])]  # the receivers may change the original
        return after

    def _subjects(self, markets: Mapping[str, str]) -> list[str]:
        subjects, channels = self._venue.subjects, self._channels()
        several = len(markets) * len(channels) > NAMED
        coins = ["*"] if several else list(markets)
        if "trades" in channels:
            channels = [*channels, GAPS]
        return [subjects.publisher("*"), *(subjects.events(channel, coin) for channel in channels for coin in coins)]

    def _asked(self) -> list[tuple[str, str]]:
        """Each channel with its timeframe, which is empty except for candles."""
        wanted = self._wanted
        return [
            (channel, timeframe)
            for channel in dict.fromkeys(wanted.channels)
            for timeframe in (dict.fromkeys(wanted.timeframes) if channel == "candles" else ("",))
        ]

    def _channels(self) -> list[str]:
        return [channel_of(channel, timeframe) for channel, timeframe in self._asked()]

    def _prepare(self, coin: str, symbol: str) -> None:
        """Make the functions that take the payloads of a coin's subjects."""
        for channel in self._channels():
            kind = "candle" if channel.startswith(CANDLES) else CHANNELS[channel]
            self._took[self._venue.subjects.events(channel, coin)] = self._taker(kind, coin, symbol)

    def _taker(self, kind: str, coin: str, symbol: str) -> Callable[[bytes, str, int, bool], None]:
        listener, name, lateness = self._listener, self._venue.name, self._lateness
        now = asyncio.get_running_loop().time
        take: Callable[[Any, bool], None] = getattr(self, f"_on_{kind}")

        def taker(payload: bytes, subject: str, at: int, past: bool) -> None:
            try:
                event = read(kind, payload)
            except ValueError as error:
                if kind == "book" and (reason := _unsynced(payload)):
                    listener.on_book_unsynced(coin, self._venue.clean(reason))
                    return
                listener.on_bad_frame(self._venue.clean(f"{subject}: {error}"))
                return
            if event.market != symbol or event.coin != coin:
                return  # a market that the settings do not allow
            event.exchange = name
            # the delay is the time from the frame's receipt to its storage by the bus; the two clocks may differ
            take(event, past or lateness.is_late(at - event.received_at, now()))

        return taker

    def _on_message(self, subject: str, data: bytes, sequence: int, at: int, past: bool) -> None:
        self._sequence = sequence
        taker = self._took.get(subject)
        if taker is not None:
            if past and sequence <= self._skipped.get(text(subject.rpartition(".")[2]), 0):
                return
            taker(data, subject, at, past)
        elif ".publisher." in subject:
            self._on_publisher(subject, data, past)
        elif f".{GAPS}." in subject:
            self._on_gap(subject, data, past)

    def _on_trade(self, trade: TradeEvent, past: bool) -> None:
        if past and trade.coin not in self._caught_up:
            trades = self._past.setdefault(trade.coin, [])
            trades.append(trade)
            if len(trades) > HISTORY:
                self._recall(trade.coin)
            return
        if past or trade.backfilled:  # the trade is delivered in order, but not as the current price
            known = self._trades.get(trade.coin)
            self._trades[trade.coin] = trade
            self._listener.on_history([trade] if known is None else [replace(known), trade])
            return
        self._trades[trade.coin] = trade
        number = int(trade.trade_id) if self._numbers and trade.trade_id.isdecimal() else None
        self._listener.on_trade(trade, number)

    def _recall(self, coin: str) -> None:
        """Pass on past trades of a coin; the last one is kept, because the next past trades are passed on with it."""
        trades = self._past[coin]
        self._past[coin] = trades[-1:]
        self._trades[coin] = trades[-1]
        self._listener.on_history(trades)

    def _hand_over(self, markets: Mapping[str, str]) -> None:
        """Pass on the earlier trades: from now on each event is live."""
        for coin in markets:
            if coin in self._past:
                self._recall(coin)
                del self._past[coin]
            self._skipped.pop(coin, None)
        self._caught_up |= markets.keys()

    def _on_ticker(self, ticker: Any, past: bool) -> None:
        if not past:
            self._listener.on_ticker(ticker)

    def _on_quote(self, quote: Any, past: bool) -> None:
        if not past:
            self._listener.on_quote(quote)

    def _on_candle(self, candle: Any, past: bool) -> None:
        if not past or (candle.closed and (candle.coin in self._skipped or candle.coin in self._caught_up)):
            self._listener.on_candle(candle, True)

    def _on_book(self, book: Any, past: bool) -> None:
        """Take a whole book: the last one on the bus is valid until a collector reports that it is not."""
        if not past or book.coin not in self._caught_up:
            self._listener.on_book(book)

    # Who publishes

    def _on_source(self, source: str, reason: str, missed: Collection[str]) -> None:
        """Called when another collector publishes, or trades are missing: the bus may not have all trades of the coins
        in ``missed``.
        """
        self._venue.breaks.update(dict.fromkeys(missed, self._sequence))
        self._listener.on_source(source, reason, missed)

    def _coins_of(self, shard: str) -> set[str]:
        return self._venue.coins_of(shard) & self._markets.keys()

    def _on_publisher(self, subject: str, data: bytes, past: bool) -> None:
        """Called when a collector has begun to publish a shard."""
        shard = subject.rpartition(".")[2]
        if self._venue.coins_of(shard) and not self._coins_of(shard):
            return
        # a past change is news too, if this reader was connected before the change but not when it happened
        if self._publishers.on_publisher(shard, data, news=not past or bool(self._skipped)):
            self._lateness.forget()

    def _on_gap(self, subject: str, data: bytes, past: bool) -> None:
        """Called when a collector could not fill a gap. Consecutive ids already show the gap without this report."""
        coin = text(subject.rpartition(".")[2])
        if not self._numbers and coin in self._markets and (not past or coin in self._skipped):
            self._publishers.on_gap(coin, data)

    async def _on_status(self, message: Msg) -> None:
        self._publishers.on_status(message.data, asyncio.get_running_loop().time())

    # The rest of Connection

    def add(self, markets: Mapping[str, str]) -> None:
        """Read these coins too."""
        self._markets |= markets
        self._added.append(dict(markets))
        self._publishers.expect(self._venue.shards_of(markets), asyncio.get_running_loop().time())
        self._stirred.set()

    def distrust_book(self, coin: str, reason: str) -> None:
        """Wait for the next state, which is always a whole book."""
        self._listener.on_book_unsynced(coin, reason)

    async def close(self) -> None:
        """End the connection within a second."""
        if self._client is not None:
            await self._client.close()


def _unsynced(data: bytes) -> str:
    """Why a book is not proven, if that is what the payload says."""
    try:
        said = read_object(data)
    except ValueError:
        return ""
    details = said.get("details")
    return str(details.get("reason")) if said.get("event") == "book_unsynced" and isinstance(details, dict) else ""
