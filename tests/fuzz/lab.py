"""A feed whose venue sends the frames of a test, over one WebSocket that stays open for many examples."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiohttp import WSMsgType, web

from feed import MarketFeed
from feed.settings import Backfill, Connection, Staleness
from tests.exchanges.support import served
from tests.fuzz.looped import Looped
from tests.fuzz.wire import candle_frame, ticker_frame, trade_message, trade_row
from tests.support import Recorder, settings_for, until

Frame = str | bytes | tuple[bytes, WSMsgType]  # text, binary, or bytes with an opcode
GOOD_PRICES = (40_000.0, 50_000.0)  # the lowest price of good trades; the price of good tickers and candles
BAD_PRICE = 66_666.0
SILENCE = frozenset({"connecting", "connected", "bad_frame"})  # no other status event may come


class Lab(Looped):
    """One venue, and the feed that is connected to it."""

    def __init__(self, venue: str) -> None:
        self.venue = venue
        self.connections: list[web.WebSocketResponse] = []
        self.dials = 0
        self._next = {"BTC": 1_000, "ETH": 5_000}
        self._sent: list[tuple[str, str, float, float, bool]] = []
        super().__init__(venue)

    async def _open(self) -> None:
        enter = self._stack.enter_async_context
        simulator = await enter(self._simulated)
        address = await enter(served(web.get("/{path:.*}", self._serve)))
        settings = settings_for(
            simulator,
            connection=Connection(backoff_initial=0.01, backoff_max=0.05, attempts_before_failover=10),
            staleness=Staleness(feed_stale_after=300, coin_stale_after=600, reconnect_after=600),
            backfill=Backfill(enabled=False),
        )
        settings.exchanges[0].ws_url = f"ws://{address}"
        settings.channels = ["trades", "ticker", "candles"]
        self.feed = MarketFeed(settings=settings)
        self.got = Recorder(self.feed)
        self._stack.push_async_callback(self.feed.disconnect)
        connecting = asyncio.create_task(self.feed.connect())
        await until(lambda: bool(self.connections))
        await self.send(self.good("BTC"), *self.others())
        await connecting
        await self.arrived()
        await self.got.until(lambda: {candle.coin for candle in self.got.candles} == {"BTC", "ETH"})

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        connection = web.WebSocketResponse(compress=False, max_msg_size=0, timeout=0.1)
        await connection.prepare(request)
        self.dials += 1
        self.connections.append(connection)
        try:
            async for _ in connection:
                pass
        finally:
            self.connections.remove(connection)
        return connection

    # -- frames ---------------------------------------------------------------------------------------------------

    def good(self, coin: str, *bad_rows: Mapping[str, Any]) -> str:
        """A frame with the coin's next good trade, which must be delivered; ``bad_rows`` come before it in the
        frame."""
        number = self._next[coin]
        self._next[coin] += 1
        price = GOOD_PRICES[0] + number % 100
        self._sent.append((coin, str(number), price, 0.25, False))
        row = trade_row(self.venue, coin, number, price)
        return json.dumps(trade_message(self.venue, coin, *(dict(bad) for bad in bad_rows), row))

    def others(self) -> list[str]:
        """A frame with a ticker and a frame with a candle for each coin."""
        made = (ticker_frame, candle_frame)
        return [frame(self.venue, coin, GOOD_PRICES[1]) for coin in self._next for frame in made]

    def bad(self, coin: str) -> dict[str, Any]:
        """A trade's row with an id and a price that no good trade has."""
        return trade_row(self.venue, coin, 77_000_000_000 + self._next[coin], BAD_PRICE, 0.77)

    async def send(self, *frames: Frame) -> None:
        connection = self.connections[-1]
        for frame in frames:
            if isinstance(frame, str):
                await connection.send_str(frame)
            elif isinstance(frame, bytes):
                await connection.send_bytes(frame)
            else:
                await connection.send_frame(*frame)

    # -- events ---------------------------------------------------------------------------------------------------

    async def arrived(self) -> None:
        await self.got.until(lambda: len(self.got.trades) >= len(self._sent))

    async def probe(self, frames: Sequence[Frame], least_bad: int = 0) -> None:
        """Send frames between good trades; check that only the good trades are delivered, on the same connection."""
        bad = self.feed.status.bad_frames
        await self.send(self.good("ETH"), *frames, self.good("BTC"), self.good("ETH"))
        await self.arrived()
        assert self.feed.status.bad_frames - bad >= least_bad
        self.true()
        assert self.dials == 1

    def true(self) -> None:
        """Check that everything the feed delivered was in a good frame, and that no error occurred."""
        received = [(t.coin, t.trade_id, t.price, t.quantity, t.is_buyer_maker) for t in self.got.trades]
        for coin in self._next:
            assert _of(coin, received) == _of(coin, self._sent)
        prices = {price for _, _, price, _, _ in self._sent} | {GOOD_PRICES[1]}
        invented = [tick for tick in self.got.prices if tick.price not in prices and not self._is_figure(tick.price)]
        assert invented == []
        running = [candle for candle in self.got.candles if not candle.closed]  # past candles come from REST
        assert {candle.close for candle in running} == {GOOD_PRICES[1]}
        assert BAD_PRICE not in {candle.high for candle in self.got.candles}
        told = [(event, details) for event, details in self.got.status if event not in SILENCE]
        assert told == []
        assert self.unhandled == []

    def _is_figure(self, price: float) -> bool:
        """Whether this is a price of the 24 h statistics fetched at the start."""
        return any(tick.price == price for tick in self.got.prices[:2])


def _of(coin: str, rows: Iterable[tuple[str, str, float, float, bool]]) -> list[tuple[str, str, float, float, bool]]:
    return [row for row in rows if row[0] == coin]
