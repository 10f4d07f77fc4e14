"""Collects one exchange for the bus: runs a feed of it, connects to the bus, sends heartbeats, shares limits per IP."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from loguru import logger

from exchanges.bus.client import BusClient, BusError
from exchanges.bus.payloads import encode, read_object, status
from exchanges.bus.reader import StreamReader
from exchanges.bus.shards import ShardChoice
from exchanges.bus.subjects import REGISTER_STREAM, MarketSubjects, text
from exchanges.foreign_text import Cleaner
from exchanges.venue import BusAddress
from exchanges.venues.find import profile_of
from feed.errors import FeedError, NoExchangeAvailable
from feed.events import CoinConfig, FeedState
from feed.market_feed import MarketFeed
from feed.settings.schema import ExchangeConfig, Settings
from feed.sinks.bus.publication import Publication
from feed.sinks.bus.publisher import HAND_OVER, Publisher
from feed.sinks.bus.streams import Retention, make_streams

if TYPE_CHECKING:
    from nats.aio.msg import Msg

HEARTBEAT = 0.5  # seconds between two heartbeats
AGAIN = 0.25  # seconds until the bus is dialled again
GONE = 3.0  # seconds; a collector that was not heard for longer does not share the limits any more
INTRODUCTION = 1.2  # seconds before the first dial, in which collectors that share an address learn of each other


class Collector:
    """Carries one exchange and publishes its data, or stands by.

    ``name`` belongs to this collector alone; ``address`` is the same for all collectors with one IP, which share the
    exchange's limits per IP.
    """

    def __init__(
        self,
        config: ExchangeConfig,
        settings: Settings,
        coins: list[CoinConfig],
        bus: BusAddress,
        *,
        name: str,
        shard: ShardChoice,
        address: str,
        keep: Retention,
    ) -> None:
        self.exchange = config.name
        self.name = name
        self.shard = shard
        own = replace(settings, coins=coins, exchanges=[config], bus=None)
        self.feed = MarketFeed(exchange=[config.name], settings=own)
        self._bus = bus
        self._clean = Cleaner(bus.secrets())
        self._address = address
        self._keep = keep
        self._subjects = MarketSubjects(config.name, config.market_type)
        self._publication = Publication(
            self.feed, self._subjects, settings.channels, name, consecutive=_consecutive(config)
        )
        self._publisher = Publisher(
            self._subjects, shard, name, self._publication, settings.candle_timeframe, self.details, self._is_lagging
        )
        self.feed.subscribe_status(self._on_feed_status)
        self._neighbours: dict[str, float] = {}  # collectors that share the address -> when they were heard last
        self._client: BusClient | None = None
        self._trouble = ""  # the last reported trouble with the bus
        self._connected = asyncio.Event()  # set when the bus was reached for the first time
        self._sending: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Carry the exchange and publish it, until cancelled; then hand over.

        Raises FeedError when the exchange's settings cannot work.
        """
        tasks = [
            asyncio.create_task(self._carry(), name=f"feed of {self.exchange}"),
            asyncio.create_task(self._stay_on_bus(), name=f"bus of {self.exchange}"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            ending = asyncio.create_task(self._end(tasks), name=f"end of {self.exchange}")
            while not ending.done():  # the lease must be handed over, however often this task is cancelled
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.shield(ending)

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        client = self._client
        try:
            if client is not None and not client.closed.is_set():
                async with asyncio.timeout(2.5 * HAND_OVER):
                    await self._publisher.hand_over(client)
        except (BusError, TimeoutError) as error:
            logger.warning("{}: the lease could not be handed over: {}", self.exchange, error)
        for task in (*tasks, *self._sending):
            task.cancel()
        await asyncio.gather(*tasks, *self._sending, return_exceptions=True)
        await self.feed.disconnect()
        if self._client is not None:
            await self._client.close()

    async def _carry(self) -> None:
        """Keep the feed connected; only wrong settings end it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * INTRODUCTION):  # if the bus cannot be reached, the collector starts anyway
                await self._connected.wait()
                await asyncio.sleep(INTRODUCTION)
        self._share_limits()
        client = self._client
        if client is not None and self._publisher.is_vacant:  # if the shard is not vacant, another collector publishes
            with contextlib.suppress(BusError):  # without these trades, the feed begins with new trades
                self.feed.resume_after(await self._publication.resume(client))
        try:
            await self.feed.connect(timeout=None)
        except NoExchangeAvailable as error:
            raise FeedError(f"{self.exchange} cannot be collected: {'; '.join(error.reasons.values())}") from None
        await asyncio.get_running_loop().create_future()

    async def _stay_on_bus(self) -> None:
        while True:
            try:
                await self._on_bus()
            except BusError as error:
                if self._trouble != error.reason:
                    self._trouble = error.reason
                    logger.warning("{}: {}", self.exchange, error.reason)
            if self._client is not None:
                await self._client.close()
            await asyncio.sleep(AGAIN)

    async def _on_bus(self) -> None:
        """Use one connection to the bus, until it ends with a BusError."""
        client = self._client = await BusClient.dial(self._bus, f"market-feed collector {self.name} of {self.exchange}")
        await make_streams(client, self._subjects, self._keep)
        await client.subscribe(self._subjects.status, self._on_neighbour)
        await client.subscribe(self._subjects.history_of("*"), self._on_asked)
        await client.subscribe(self._subjects.alive(self.name), _answer)
        self._publisher.begin()
        leases = [self._subjects.lease("*")]

        def on_read() -> None:
            self._publisher.leases_read()
            self._connected.set()

        reader = StreamReader(client, REGISTER_STREAM, leases, self._publisher.on_lease, on_read)
        await reader.begin()
        if self._trouble:
            self._trouble = ""
            logger.info("{}: the bus can be reached again", self.exchange)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(reader.run(), name=f"leases of {self.exchange}")
                group.create_task(self._beat(client), name=f"heartbeat of {self.exchange}")
                group.create_task(self._publisher.run(client), name=f"publisher of {self.exchange}")
        except* BusError as errors:
            raise errors.exceptions[0] from None

    # This collector's report about itself

    def details(self) -> dict[str, Any]:
        """This collector's report about itself on the bus: times in seconds, except ``time``, the exchange's clock in
        Unix ms.
        """
        told, publication = self.feed.status, self._publication
        first, last, writer = publication.data.first, publication.data.last, publication.writer
        return {
            "exchange": self.exchange,
            "at": time.time_ns() // 1_000_000,
            "collector": self.name,
            "shard": self.shard.name,
            "publishes": publication.live,
            "address": self._address,
            "state": str(told.state),
            "silent": None if first is None else round(time.monotonic() - last, 3),
            "lag": told.lag,
            "time": self._venue_time(told.lag),
            "coins": len(publication.markets),
            "waiting": writer.waiting,
            "published": writer.published,
            "lost": writer.lost,
        }

    def _is_lagging(self) -> bool:
        return self.feed.status.state is FeedState.LAGGING

    def _venue_time(self, lag: float | None) -> int | None:
        """The exchange's clock, computed from the last trade's stamp and delay."""
        trade = self._publication.last_trade
        if trade is None or lag is None or not trade.received_at:
            return None
        return int(trade.timestamp + lag * 1000 + (time.time_ns() - trade.received_at) / 1e6)

    async def _beat(self, client: BusClient) -> None:
        while not client.closed.is_set():
            self._send(self._subjects.status, status("collector", self.details()))
            self._share_limits()
            await asyncio.sleep(HEARTBEAT)
        raise client.ended

    def _on_feed_status(self, event: str, details: dict[str, Any]) -> None:
        """Publish the status events of a publishing collector; the bus does not keep them."""
        if self._publication.live:
            self._send(self._subjects.status, status(event, {**details, "collector": self.name}))

    def _send(self, subject: str, payload: bytes) -> None:
        client = self._client
        if client is None or client.closed.is_set():
            return

        async def send() -> None:
            with contextlib.suppress(Exception):  # nats-py, if the connection has ended, which is reported elsewhere
                await client.nats.publish(subject, payload)

        task = asyncio.create_task(send(), name=f"status of {self.exchange}")
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    # Collectors with the same address

    async def _on_neighbour(self, message: Msg) -> None:
        try:
            details = read_object(message.data).get("details")
        except ValueError:
            return
        if isinstance(details, Mapping) and details.get("address") == self._address and "collector" in details:
            self._neighbours[str(details["collector"])] = time.monotonic()

    def _share_limits(self) -> None:
        """Share the exchange's limits per IP with the other collectors behind the same address."""
        now = time.monotonic()
        self._neighbours = {name: at for name, at in self._neighbours.items() if now - at < GONE}
        self.feed.share_limits(len(self._neighbours.keys() | {self.name}))

    # Requests to this collector

    async def _on_asked(self, message: Msg) -> None:
        """Answer a reader's request for past candles, if this collector publishes the coin."""
        coin = text(message.subject.rpartition(".")[2])
        client = self._client
        if client is None or not self._publication.live or coin not in self._publication.markets:
            return
        answer: dict[str, Any]
        try:
            asked = read_object(message.data)
            candles = await self.feed.candles_history(coin, str(asked["timeframe"]), int(asked["limit"]))
            answer = {"candles": [asdict(candle) for candle in candles]}
        except (FeedError, ValueError, KeyError, TypeError) as error:
            answer = {"error": self._clean(str(error) or repr(error))}
        payload = encode(answer)
        with contextlib.suppress(Exception):  # nats-py: the reader or the bus has gone
            most = client.nats.max_payload
            if len(payload) > most:
                found = f"{len(payload):,} bytes of candles, but the bus allows {most:,} in a message: request fewer"
                payload = encode({"error": found})
            await message.respond(payload)


async def _answer(message: Msg) -> None:
    """Answer a standby collector, which asks whether this collector is connected."""
    with contextlib.suppress(Exception):  # nats-py: the asking collector or the bus has gone
        await message.respond(b"")


def _consecutive(config: ExchangeConfig) -> bool:
    try:
        return profile_of(config.name).for_market_type(config.market_type).limits.consecutive_ids
    except ValueError:  # an exchange that a program has registered
        return False
