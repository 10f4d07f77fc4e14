"""What the feed tells is the same whatever carries the WebSocket."""

from __future__ import annotations

import time

import pytest

from exchanges.simulator import Simulator
from exchanges.transport import TRANSPORTS
from feed import MarketFeed
from tests.support import Recorder, settings_for


@pytest.mark.parametrize("venue", ["binance", "bybit"])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_event_says_when_its_frame_was_read(transport: str, venue: str) -> None:
    if transport == "picows":
        pytest.importorskip("picows", reason="the extra [fast] is not installed")
    async with Simulator(venues=(venue,), rate=5) as simulator:
        settings = settings_for(simulator)
        settings.exchanges[0].options["transport"] = transport
        feed = MarketFeed(settings=settings)
        got = Recorder(feed)
        async with feed:
            await got.until(lambda: bool(got.ids("BTC")))
            sent_at = time.time_ns()
            (sent,) = await simulator[venue].trade("BTC")
            await got.until(lambda: sent.id in got.ids("BTC"))
            (trade,) = [each for each in got.trades if each.coin == "BTC" and int(each.trade_id) == sent.id]
            assert sent_at <= trade.received_at <= time.time_ns()
            assert trade.received_at in {tick.received_at for tick in got.prices if tick.coin == "BTC"}
