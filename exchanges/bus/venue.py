"""An exchange that is read from the bus: its collectors' coins, their last state, past trades and candles."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from exchanges.bus.client import NOT_FOUND, BusClient, BusError, Stored, unix_ns
from exchanges.bus.collectors import Shard, shards_of
from exchanges.bus.connection import BusConnection, Position
from exchanges.bus.payloads import encode, read, read_object
from exchanges.bus.subjects import CLOSED_STREAM, REGISTER_STREAM, MarketSubjects, text
from exchanges.errors import Disconnected, Halted, Rejected
from exchanges.events import Candle, Listener, Ticker, TradeEvent
from exchanges.foreign_text import Cleaner
from exchanges.venue import Access, BusAddress, Limits, Subscription
from exchanges.venues.find import profile_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TRADES = 10_000  # the most past trades in one answer
# how far back the bus is searched for trades
LOOKED_BACK = (timedelta(minutes=2), timedelta(minutes=10), timedelta(hours=1))
NOBODY = "no collector publishes it on this bus"
ASKED = 10.0  # seconds that a collector has to answer with past candles


class BusVenue:
    """The exchange ``name`` as its collectors publish it on ``access.bus``, without ccxt. Nothing is dialled yet."""

    proxies: Mapping[str, object] = {}
    can_fetch_trades = True
    aged = False

    def __init__(self, name: str, access: Access) -> None:
        assert access.bus is not None
        self.name = name
        self.address: BusAddress = access.bus
        self.clean = Cleaner(access.secrets())
        self.subjects = MarketSubjects(name, access.market_type)
        self.positions: defaultdict[tuple[str, ...], Position] = defaultdict(Position)
        self.breaks: dict[str, int] = {}
        self.limits = _limits(name, access.market_type)
        self._access = access
        self._shards: dict[str, Shard] = {}
        self._now = 0  # the server's clock when the shards were read, Unix ns
        self._client: BusClient | None = None
        self._dialling = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<BusVenue {self.name} {self._access.market_type}, {len(self._shards)} shards>"

    # Its markets

    @property
    def loaded(self) -> bool:
        return bool(self._shards)

    async def load(self, coins: Mapping[str, str | None] | None = None, *, anew: bool = False) -> None:
        """Read which collectors publish which coins. Raises Disconnected if the bus is down or nobody publishes."""
        async with self._asking() as client:
            try:
                info = await client.api(f"STREAM.INFO.{REGISTER_STREAM}")
            except BusError as error:
                if error.code in NOT_FOUND:
                    raise Disconnected(self.name, NOBODY) from None
                raise
            self._now = unix_ns(info["ts"])
            keys = [self.subjects.lease("*"), self.subjects.coins("*")]
            self._shards = shards_of(await client.last(REGISTER_STREAM, keys))
        faults = [shard.fault(self._now) for shard in self._shards.values()]
        if all(faults):
            raise Disconnected(self.name, self.clean(next(iter(faults), NOBODY)))

    async def refresh(self) -> Collection[str]:
        """Load again; returns the market symbols that are gone or belong to another coin now."""
        before = self._published()
        await self.load()
        after = self._published()
        return {symbol for coin, symbol in before.items() if after.get(coin) != symbol}

    def _published(self) -> dict[str, str]:
        return {coin: symbol for shard in self._shards.values() for coin, symbol in shard.coins.items()}

    def _shard(self, coin: str) -> Shard | None:
        """The shard that has the coin; if several have it, one with a publisher."""
        having = [shard for shard in self._shards.values() if coin in shard.coins]
        return min(having, key=lambda shard: bool(shard.fault(self._now)), default=None)

    def shards_of(self, coins: Iterable[str]) -> set[str]:
        """The names of the shards that have these coins."""
        found = (self._shard(coin) for coin in coins)
        return {shard.name for shard in found if shard is not None}

    def coins_of(self, shard: str) -> set[str]:
        """The coins of a shard; none if the shard is not known."""
        return set(self._shards[shard].coins) if shard in self._shards else set()

    def publishes(self, coin: str, channel: str, timeframe: str) -> bool:
        """Whether the coin's collectors publish the channel, and candles of this timeframe."""
        shard = self._shard(coin)
        return shard is None or (channel in shard.channels and (not timeframe or timeframe in shard.timeframes))

    def market(self, coin: str, override: str | None = None) -> str:
        """The market symbol under which the collectors publish the coin, if the settings allow it.

        Raises Halted while the shard has no publisher, or no data of the coin yet. Raises Rejected if no shard has the
        coin.
        """
        shard = self._shard(coin)
        if shard is None:
            if any(coin in (each.awaited or ()) for each in self._shards.values()):
                raise Halted(self.name, f"no collector has had data of {coin} yet")
            raise Rejected(self.name, f"no collector publishes {coin}")
        symbol = shard.coins[coin]
        quote = symbol.partition("/")[2].partition(":")[0]
        if override not in (None, symbol):
            raise Rejected(self.name, f"the collectors publish {coin} as {symbol}, not as {override}")
        if override is None and quote not in self._access.quote:
            allowed = ", ".join(self._access.quote)
            raise Rejected(self.name, f"the collectors publish {coin} as {symbol}; the settings allow {allowed}")
        if fault := shard.fault(self._now):
            raise Halted(self.name, self.clean(fault))
        return symbol

    def market_id(self, symbol: str) -> str:
        return symbol

    def streams(self, channel: str) -> bool:
        """Whether a connection delivers the channel."""
        return any(channel in shard.channels for shard in self._shards.values())

    # Its data

    def connect(
        self, subscription: Subscription, listener: Listener, on_going_down: Callable[[], None]
    ) -> BusConnection:
        return BusConnection(self, subscription, listener)

    async def dial(self) -> BusClient:
        """A new connection to the bus. Raises BusError."""
        return await BusClient.dial(self.address, f"market-feed reader of {self.name}", self._access.timeout)

    async def fetch_time(self) -> int | None:
        """The exchange's clock in Unix ms, as a collector has measured it; None if no collector has."""
        async with self._asking() as client:
            found = await client.last(REGISTER_STREAM, [self.subjects.lease("*")])
            now = unix_ns((await client.api(f"STREAM.INFO.{REGISTER_STREAM}"))["ts"])
        for shard in shards_of(found).values():
            told = shard.details.get("time")
            if isinstance(told, int) and not shard.fault(now):
                return told + (now - shard.heard) // 1_000_000  # both times are by the server's clock
        return None

    async def fetch_tickers(self, markets: Mapping[str, str]) -> list[Ticker]:
        """The last ticker of each coin on the bus, or its last trade if that is newer."""
        subjects = [self.subjects.events(channel, coin) for coin in markets for channel in ("ticker", "trades")]
        async with self._asking() as client:
            now, found = time.time_ns(), await client.last(self.subjects.stream, subjects)
            # a message's age is measured by the server's clock, because the collector's clock may differ
            server = unix_ns((await client.api(f"STREAM.INFO.{self.subjects.stream}"))["ts"])
        tickers: dict[str, Ticker] = {}
        for stored in found:
            ticker = self._ticker(stored, markets)
            if ticker is None:
                continue
            ticker.received_at = now - max(0, server - stored.at)
            known = tickers.get(ticker.coin)
            if known is not None and known.timestamp and known.timestamp >= ticker.timestamp:
                known, ticker = ticker, known
            if known is not None and ticker.volume_24h is None:
                ticker.volume_24h, ticker.change_24h = known.volume_24h, known.change_24h
            tickers[ticker.coin] = ticker
        return list(tickers.values())

    def _ticker(self, stored: Stored, markets: Mapping[str, str]) -> Ticker | None:
        *_, channel, coin = stored.subject.split(".")
        event = _read("ticker" if channel == "ticker" else "trade", stored.data)
        if event is None or event.coin != text(coin) or markets.get(event.coin) != event.market:
            return None
        event.exchange = self.name
        if isinstance(event, Ticker):
            return event
        return Ticker(event.coin, event.price, event.timestamp, exchange=self.name, market=event.market)

    async def fetch_trades(
        self, coin: str, symbol: str, from_id: int | None = None, limit: int | None = None
    ) -> list[TradeEvent]:
        """The newest trades that the bus keeps of a coin, oldest first."""
        most = min(limit or TRADES, TRADES)
        subject = self.subjects.events("trades", coin)
        found: list[Stored] = []
        async with self._asking() as client:
            for back in LOOKED_BACK:
                found = await self._all_since(client, self.subjects.stream, subject, datetime.now(UTC) - back, TRADES)
                if len(found) >= most:
                    break
        whole = self.breaks.get(coin, 0)  # no trade is missing after this sequence
        read_ = (_read("trade", stored.data) for stored in found[-most:] if stored.sequence > whole)
        return [trade for trade in read_ if trade is not None and trade.market == symbol]

    async def _all_since(
        self, client: BusClient, stream: str, subject: str, start: datetime, most: int
    ) -> list[Stored]:
        """The newest messages of a subject since ``start``, at most ``most``, oldest first."""
        found = await client.since(stream, subject, start, 1000)
        page = found
        while len(page) == 1000:
            page = await client.from_sequence(stream, subject, found[-1].sequence + 1, 1000)
            found = [*found, *page][-most:]
        return found

    # Its candles

    @property
    def timeframes(self) -> tuple[str, ...]:
        """The timeframes that the collectors can fetch or have published."""
        shards = self._shards.values()
        return tuple(dict.fromkeys(each for shard in shards for each in (*shard.history, *shard.timeframes)))

    async def fetch_candles(self, coin: str, symbol: str, timeframe: str, since: int) -> list[Candle]:
        """See Venue: the closed candles that the collectors keep on the bus."""
        candles = await self._closed(coin, symbol, timeframe, datetime.fromtimestamp(since / 1000, UTC))
        return [candle for candle in candles if candle.timestamp >= since]

    async def fetch_history(self, coin: str, symbol: str, timeframe: str, limit: int) -> list[Candle]:
        """The newest ``limit`` candles: from the bus if it keeps so many closed candles, else from the collector.

        Raises Disconnected if no collector answers, Rejected if the collector answers with an error.
        """
        kept = (await self._closed(coin, symbol, timeframe, datetime.fromtimestamp(0, UTC)))[-limit:]
        if len(kept) >= limit:
            return kept
        asked = encode({"timeframe": timeframe, "limit": limit, "market": symbol})
        try:
            async with self._asking() as client:
                answer = read_object(await client.request(self.subjects.history_of(coin), asked, timeout=ASKED))
        except (Disconnected, ValueError) as error:
            if kept:
                return kept
            reason = error.reason if isinstance(error, Disconnected) else str(error)
            silent = f"no collector answers with {timeframe} candles of {coin}: {reason}"
            raise Disconnected(self.name, self.clean(silent)) from None
        if "error" in answer:
            if kept:
                return kept
            raise Rejected(self.name, self.clean(str(answer["error"])))
        told = self._candles(map(encode, answer.get("candles", ())), symbol)
        by_time = {candle.timestamp: candle for candle in (*told, *kept)}
        return [by_time[at] for at in sorted(by_time)][-limit:]

    async def _closed(self, coin: str, symbol: str, timeframe: str, start: datetime) -> list[Candle]:
        subject = self.subjects.closed_candles(timeframe, coin)
        async with self._asking() as client:
            found = await self._all_since(client, CLOSED_STREAM, subject, start, TRADES)
        return self._candles((stored.data for stored in found), symbol)

    def _candles(self, payloads: Iterable[bytes], symbol: str) -> list[Candle]:
        """The market's candles in these payloads, oldest first; the last payload for each open time counts."""
        read_ = (_read("candle", payload) for payload in payloads)
        by_time = {each.timestamp: each for each in read_ if each is not None and each.market == symbol}
        for candle in by_time.values():
            candle.exchange = self.name
        return [by_time[at] for at in sorted(by_time)]

    # The connection for requests

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[BusClient]:
        """The connection that is used for requests, made when needed; a BusError is raised as Disconnected."""
        try:
            async with self._dialling:
                if self._client is None or self._client.closed.is_set():
                    self._client = await self.dial()
            yield self._client
        except BusError as error:
            raise Disconnected(self.name, error.reason) from None

    async def close(self) -> None:
        """Close the connection that is used for requests."""
        if self._client is not None:
            await self._client.close()


def _limits(name: str, market_type: str) -> Limits:
    """The exchange's limits that describe its trades; the bus itself has no limits."""
    try:
        consecutive = profile_of(name).for_market_type(market_type).limits.consecutive_ids
    except ValueError:  # a name that a program has registered
        consecutive = False
    return Limits(dials=1000, requests=6000, consecutive_ids=consecutive, recent_trades=TRADES)


def _read(kind: str, data: bytes) -> Any:
    try:
        return read(kind, data)
    except ValueError:  # somebody other than a collector has written the value
        return None
