"""A candle's frame with a wrong time closes no candle; with real sockets and the real ccxt.pro classes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exchanges.simulator import SimulatedVenue, Simulator
from feed import Candle, MarketFeed
from tests.support import settings_for, until

MINUTE = 60_000


def say_wrong(venue: SimulatedVenue, shift: int, *, closed: bool) -> None:
    """Send the state of every streamed candle with a time that is wrong by ``shift`` ms."""
    for topic in venue.topics_of("candles"):
        if topic.market is not None:
            candle = topic.market.candle(topic.start, topic.interval, venue.now())
            venue.send_candle(topic, topic.market, replace(candle, start=candle.start + shift), closed)


@pytest.mark.parametrize("transport", ["aiohttp", "picows"])
@pytest.mark.parametrize("name", ["binance", "bybit"])
async def test_one_frame_with_a_wrong_time_closes_no_candle(name: str, transport: str) -> None:
    """The time is an hour or a minute ahead, an hour behind, or not a full minute. The candle is closed at its end."""
    async with Simulator(venues=(name,), rate=200, coins=["BTC"]) as simulator:
        venue = simulator.venues[name]
        settings = settings_for(simulator, coins=["BTC"])
        settings.exchanges[0].options = {"transport": transport}
        live: list[Candle] = []
        feed = MarketFeed(settings=settings)
        feed.subscribe_candles(live.append, "BTC")
        async with feed:
            await until(lambda: bool(live))
            for shift in (60 * MINUTE, MINUTE, -60 * MINUTE, MINUTE // 4):
                for closed in (False, True) if shift > 0 else (False,):
                    seen = len(live)
                    say_wrong(venue, shift, closed=closed)
                    await until(lambda seen=seen: len(live) > seen)  # type: ignore[misc] # mypy refuses a lambda with a default
            begun = {candle.timestamp for candle in live}
            over = [candle.timestamp for candle in live if candle.closed]
            assert max(begun) <= venue.now()
            assert all(opened % MINUTE == 0 and venue.now() - opened < 5 * MINUTE for opened in begun)
            assert all(opened + MINUTE <= venue.now() for opened in over)
            running = max(begun)
            venue.skip(60)
            await until(lambda: any(candle.closed and candle.timestamp == running for candle in live))
            (closed_candle,) = [candle for candle in live if candle.closed and candle.timestamp == running]
            market = venue.market("BTC")
            kline = market.candle(running, MINUTE, running + MINUTE - 1)
            assert closed_candle.close == pytest.approx(kline.close / market.scale)
