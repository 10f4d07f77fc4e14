"""Which exchange a coin comes from if the active exchange does not list the coin; with exchanges in memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exchanges.errors import Disconnected
from exchanges.venue import Limits
from feed.sessions.supervisor import Supervisor
from feed.settings import Staleness
from tests.feed.sessions.support import SETTINGS, World
from tests.support import until


async def test_a_coin_that_the_active_exchange_does_not_list_comes_from_the_next_exchange() -> None:
    world = World(["BTC", "ETH"])
    world.venues[0].coins.discard("ETH")
    await world.connect()
    await world.until(lambda: ("ETH", "memory_two") in world.sold)
    assert world.is_on("memory_one")
    assert {exchange for coin, exchange in world.sold if coin == "BTC"} == {"memory_one"}
    missing = [details for event, details in world.told if event == "coin_unavailable"]
    assert [(details["exchange"], details["coin"]) for details in missing] == [("memory_one", "ETH")]
    await world.feed.disconnect()


async def test_the_books_of_a_fallback_coin_come_from_the_next_exchange_too() -> None:
    world = World(["BTC", "ETH"], replace(SETTINGS, channels=["trades", "books"]))
    world.venues[0].coins.discard("ETH")
    await world.connect()
    await world.until(lambda: bool(world.venues[1].of("books")))
    world.venues[1].book("ETH", [(99.0, 1.0)], [(101.0, 1.0)])
    book = world.feed.get_book("ETH")
    assert book is not None
    assert book.exchange == "memory_two"
    await world.feed.disconnect()


async def test_a_coin_that_two_exchanges_do_not_list_comes_from_the_third_exchange() -> None:
    world = World(["BTC", "ETH"])
    for venue in world.venues[:2]:
        venue.coins.discard("ETH")
    await world.connect()
    await world.until(lambda: ("ETH", "memory_three") in world.sold)
    assert world.is_on("memory_one")
    assert {exchange for coin, exchange in world.sold if coin == "BTC"} == {"memory_one"}
    await world.feed.disconnect()
    assert [venue.connections for venue in world.venues] == [[], [], []]


async def test_the_fallback_coins_of_one_exchange_may_come_from_different_other_exchanges() -> None:
    world = World(["BTC", "ETH", "SOL"])
    world.venues[0].coins.discard("ETH")
    world.venues[1].coins.discard("BTC")
    world.venues[2].coins.add("SOL")
    await world.connect()
    await world.until(lambda: {("ETH", "memory_two"), ("SOL", "memory_three")} <= set(world.sold))
    assert world.is_on("memory_one")
    await world.feed.disconnect()


async def test_if_the_exchange_of_a_fallback_coin_fails_only_this_coin_moves_to_another_exchange() -> None:
    world = World(["BTC", "ETH"])
    world.venues[0].coins.discard("ETH")
    await world.connect()
    await world.until(lambda: ("ETH", "memory_two") in world.sold)
    with world.venues[1].failing(Disconnected("memory_two", "gone")):
        await world.until(lambda: ("ETH", "memory_three") in world.sold)
    assert world.is_on("memory_one")
    assert world.moves() == []
    await world.feed.disconnect()


async def test_an_exchange_that_demanded_a_wait_is_not_dialled_for_other_coins_either() -> None:
    world = World(["BTC", "ETH"])
    world.venues[0].coins.discard("ETH")
    await world.connect()
    await world.until(lambda: ("ETH", "memory_two") in world.sold)
    with world.venues[1].failing(Disconnected("memory_two", "too many requests", retry_after=60)):
        await world.until(lambda: ("ETH", "memory_three") in world.sold)
        dials = world.venues[1].dials
        world.trading.discard("memory_one")
        await world.until(lambda: world.is_on("memory_three"))
        assert world.venues[1].dials == dials
    await world.feed.disconnect()


async def test_the_connection_of_a_removed_fallback_coin_is_closed() -> None:
    world = World(["BTC", "ETH"])
    world.venues[0].coins.discard("ETH")
    await world.connect()
    await world.until(lambda: ("ETH", "memory_two") in world.sold)
    await world.feed.remove_coins(["ETH"])
    await world.until(lambda: not world.venues[1].connections)
    assert world.is_on("memory_one")
    await world.feed.disconnect()


async def test_a_defect_in_the_supervisor_of_fallback_coins_does_not_end_the_feed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(["BTC", "ETH"])
    world.venues[0].coins.discard("ETH")
    await world.connect()
    await world.until(lambda: ("ETH", "memory_two") in world.sold)
    look, defects = Supervisor.look, [KeyError("a defect")]

    def fails_once(self: Supervisor, now: float) -> None:
        if "memory_one" not in self.sessions and defects:
            raise defects.pop()
        look(self, now)

    monkeypatch.setattr(Supervisor, "look", fails_once)
    await world.until(lambda: not defects)
    seen = len(world.sold)
    await world.until(lambda: {("BTC", "memory_one"), ("ETH", "memory_two")} <= set(world.sold[seen:]))
    await world.feed.disconnect()


async def test_trades_between_a_fallback_connection_and_the_feeds_own_connection_are_fetched() -> None:
    world = World(["BTC", "ETH"])
    first, second = world.venues[:2]
    first.coins.discard("ETH")
    second.limits = Limits(consecutive_ids=False)
    await world.connect()
    await world.until(lambda: ("ETH", "memory_two") in world.sold)
    fallback = second.of("trades")[0]
    with first.failing(Disconnected("memory_one", "gone")):
        await until(lambda: len(second.connections) == 2)
        connection = next(each for each in second.connections if each is not fallback)
        late = {"ETH": connection.markets.pop("ETH")}  # the venue has not answered this subscription yet
        second.trade("ETH", 100.0)  # arrives over the fallback connection
        second.trade("BTC", 100.0)  # arrives over the new connection; then the fallback connection is closed
        await until(lambda: fallback not in second.connections)
        second.trade("ETH", 101.0)  # arrives over no connection
        connection.markets |= late
        second.trade("ETH", 102.0)
        await until(lambda: world.prices("ETH")[-1:] == [102.0])
    assert world.prices("ETH")[-3:] == [100.0, 101.0, 102.0]
    await world.feed.disconnect()


QUICK = replace(SETTINGS, staleness=Staleness(feed_stale_after=1, reconnect_after=2, coin_stale_after=0.5))


@pytest.fixture(params=[False, True], ids=["named", "consecutive"])
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world whose market lists are requested often; the trade ids of its exchanges are consecutive or not."""
    monkeypatch.setattr("feed.sessions.coin_listing.FIRST", 0.1)
    monkeypatch.setattr("feed.sessions.coin_listing.UNLISTED", 0.1)
    world = World(["BTC", "ETH"], QUICK)
    for venue in world.venues:
        venue.limits = Limits(consecutive_ids=request.param)
    return world


async def test_no_trade_is_missing_or_repeated_when_a_coin_moves_to_another_exchange_and_back(world: World) -> None:
    await world.connect()
    await world.until(lambda: ("ETH", "memory_one") in world.sold)
    with world.venues[0].unlisted("ETH"):
        await world.until(lambda: ("ETH", "memory_two") in world.sold)
    await world.until(lambda: ("ETH", "memory_one") in world.sold[-9:])
    await world.settle()
    world.assert_whole("ETH")
    await world.feed.disconnect()


async def test_no_trade_is_missing_or_repeated_when_the_exchange_of_a_former_fallback_coin_becomes_active(
    world: World,
) -> None:
    first = world.venues[0]
    for venue in world.venues:
        venue.coins.add("SOL")
    first.coins -= {"ETH", "SOL"}
    first.quiet = {"ETH"}
    await world.feed.add_coins("SOL")
    await world.connect()
    await world.until(lambda: {("ETH", "memory_two"), ("SOL", "memory_two")} <= set(world.sold))
    first.coins.add("ETH")
    await world.until(lambda: all(coin != "ETH" for coin, _ in world.sold[-50:]))  # memory_one carries ETH now
    with first.failing(Disconnected("memory_one", "gone")):
        await world.until(lambda: world.is_on("memory_two"))
        await world.until(lambda: ("ETH", "memory_two") in world.sold[-9:])
    await world.settle()
    world.assert_whole("ETH")
    await world.feed.disconnect()


@pytest.mark.parametrize("consecutive", [False, True])
@pytest.mark.parametrize("on_trial", [False, True])
async def test_trades_that_were_withheld_are_fetched_when_the_price_is_plausible_again(
    monkeypatch: pytest.MonkeyPatch, consecutive: bool, on_trial: bool
) -> None:
    monkeypatch.setattr("feed.market_data.connection_listener.SUBSCRIBED", 0.1)
    world = World(["BTC", "ETH"])
    first, second = world.venues[:2]
    first.limits = Limits(consecutive_ids=consecutive)
    await world.connect()
    with first.failing(Disconnected("memory_one", "gone")):
        await world.until(lambda: world.is_on("memory_two"))
    first.quiet.add("ETH")

    def active() -> bool:
        if on_trial:
            first.trade("ETH", 1000.0)
        return world.is_on("memory_one")

    await world.until(active)
    first.trade("ETH", 1000.0)
    seen = len(world.sold)
    await world.until(lambda: ("ETH", "memory_two") in world.sold[seen:])
    second.quiet.add("ETH")
    await world.settle()
    seen = len(world.sold)

    def returned() -> bool:
        first.trade("ETH", 100.0)  # withheld until the other exchange's connection is closed
        return ("ETH", "memory_one") in world.sold[seen:]

    await until(returned, 10)
    await world.settle()
    world.assert_whole("ETH")
    await world.feed.disconnect()
