"""Trades that may be missing when one of two connections to an exchange ends; with exchanges in memory."""

from __future__ import annotations

from exchanges.venue import Limits
from tests.feed.sessions.support import World
from tests.support import until


async def test_trades_after_a_cut_are_fetched_if_the_new_connection_lacked_a_subscription() -> None:
    world = World(["BTC", "ETH"])
    venue = world.venues[0]
    venue.limits = Limits(consecutive_ids=False, session_limit=2.0)
    await world.connect()
    (old,) = venue.of("trades")
    await until(lambda: len(venue.connections) == 2)
    new = venue.connections[1]
    late = {"ETH": new.markets.pop("ETH")}  # the venue has not answered this subscription yet
    venue.trade("BTC", 100.0)
    venue.trade("ETH", 100.0)  # arrives over the old connection
    old.ended.set()
    await until(lambda: old not in venue.connections)
    venue.trade("ETH", 101.0)  # arrives over no connection
    new.markets |= late
    venue.trade("ETH", 102.0)
    await until(lambda: world.prices("ETH")[-1:] == [102.0])
    assert world.prices("ETH")[-3:] == [100.0, 101.0, 102.0]
    await world.feed.disconnect()
