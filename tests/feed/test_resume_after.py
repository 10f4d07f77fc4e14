"""A program that starts again continues after the last trades of its earlier run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

import pytest

from exchanges.simulator import Simulator
from exchanges.simulator.markets.market import Trade
from feed import FeedError, MarketFeed, TradeEvent
from tests.support import Recorder, made_ids, settings_for, until


@pytest.fixture(params=["binance", "bybit"])
async def simulator(request: pytest.FixtureRequest) -> AsyncIterator[Simulator]:
    async with Simulator(venues=(request.param,), rate=60, seed=1, coins=["BTC"]) as simulator:
        yield simulator


async def last_of_before(simulator: Simulator) -> TradeEvent:
    """Run an earlier program, and return its last trade; more trades are made after the program's end."""
    (venue,) = simulator.venues.values()
    feed = MarketFeed(["BTC"], settings=settings_for(simulator))
    got = Recorder(feed)
    async with feed:
        await got.until(lambda: len(got.trades) > 2)
    last = got.trades[-1]
    await until(lambda: made_ids(venue, "BTC")[-1] > int(last.trade_id) + 20)
    return last


def triples(trades: Sequence[Trade]) -> Iterator[tuple[Trade, Trade, Trade]]:
    return zip(trades, trades[1:], trades[2:], strict=False)


async def test_trades_since_the_earlier_program_are_fetched(simulator: Simulator) -> None:
    last = await last_of_before(simulator)
    feed = MarketFeed(["BTC"], settings=settings_for(simulator))
    feed.resume_after([last])
    got = Recorder(feed)
    async with feed:
        with pytest.raises(FeedError, match="before connect"):
            feed.resume_after([last])
        await got.until(lambda: any(not trade.backfilled for trade in got.trades))
        ids = [int(trade.trade_id) for trade in got.trades]
        assert ids == list(range(int(last.trade_id) + 1, ids[-1] + 1))
        assert sum(trade.backfilled for trade in got.trades) >= 20
        assert got.details("gap")[0]["fetched"] is True
        assert got.details("gap_filled")[0]["complete"] is True


async def test_earlier_trades_in_the_last_trades_millisecond_are_not_delivered_again(simulator: Simulator) -> None:
    """An exchange may make several trades in a millisecond; the earlier program has received all of them up to its last
    trade."""
    (venue,) = simulator.venues.values()

    await venue.burst(3)  # some of these trades have the same millisecond
    second = next(b for a, b, c in triples(venue.trades["BTC"]) if a.timestamp == b.timestamp == c.timestamp)
    last = TradeEvent("BTC", second.price, second.quantity, second.buyer_maker, second.timestamp, venue.name)
    last.trade_id, last.market = str(second.id), "BTC/USDT"
    feed = MarketFeed(["BTC"], settings=settings_for(simulator))
    feed.resume_after([last])
    got = Recorder(feed)
    async with feed:
        await got.until(lambda: any(not trade.backfilled for trade in got.trades))
        assert int(got.trades[0].trade_id) == second.id + 1


async def test_trades_from_too_long_ago_are_a_gap_that_is_not_fetched(simulator: Simulator) -> None:
    last = await last_of_before(simulator)
    last.timestamp -= 400_000  # longer ago than max_gap
    feed = MarketFeed(["BTC"], settings=settings_for(simulator))
    feed.resume_after([last])
    got = Recorder(feed)
    async with feed:
        await got.until(lambda: len(got.trades) > 2)
        assert [each["fetched"] for each in got.details("gap")] == [False]
        assert not any(trade.backfilled for trade in got.trades)
