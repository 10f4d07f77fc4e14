"""The program chooses the event loop: here the feed runs on uvloop."""

from __future__ import annotations

import pytest

from exchanges.ccxt_adapter.transport.choose import TRANSPORTS
from exchanges.simulator import Simulator
from feed import MarketFeed
from tests.support import Recorder, made_ids, settings_for

uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")

BURST = 5_000


async def outage(transport: str) -> None:
    """Check that after a burst, a cut and another burst every trade has come, once and in order."""
    async with Simulator(venues=("binance",), rate=5) as simulator:
        venue = simulator["binance"]
        settings = settings_for(simulator)
        settings.exchanges[0].options["transport"] = transport
        feed = MarketFeed(settings=settings)
        got = Recorder(feed)
        await feed.connect()
        await got.until(lambda: bool(got.ids("BTC")))
        await venue.trade("BTC", count=BURST)
        last = made_ids(venue, "BTC")[-1]
        await got.until(lambda: got.ids("BTC")[-1] >= last)
        venue.cut()
        await venue.trade("BTC", count=10)
        await got.until_event("connected", 2)
        await venue.trade("BTC", count=BURST)
        last = made_ids(venue, "BTC")[-1]
        await got.until(lambda: got.ids("BTC")[-1] >= last)
        came, sent = got.ids("BTC"), made_ids(venue, "BTC")
        assert came == list(range(came[0], came[-1] + 1))
        assert set(came) <= set(sent)
        assert len(came) >= 2 * BURST + 10
        await feed.disconnect()


@pytest.mark.filterwarnings("ignore:'asyncio.iscoroutinefunction' is deprecated:DeprecationWarning")  # by uvloop
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_no_trade_is_lost_on_uvloop(transport: str) -> None:
    if transport == "picows":
        pytest.importorskip("picows", reason="the extra [fast] is not installed")
    uvloop.run(outage(transport))
