"""Order book streams of the simulated venues: a reader that follows the documentation gets the true book."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import aiohttp
import pytest

from exchanges.simulator import Simulator
from exchanges.simulator.venue import SimulatedVenue
from tests.simulator.books.readers import BinanceReader, Book, BybitReader, Levels
from tests.simulator.client import Client, dial, get, status_of, until


def is_depth(event: Any) -> bool:
    return isinstance(event, dict) and event.get("e") == "depthUpdate"


def is_book(event: Any) -> bool:
    return isinstance(event, dict) and str(event.get("topic", "")).startswith("orderbook.")


def true(venue: SimulatedVenue, sequence: int, depth: int) -> tuple[Levels, Levels]:
    book = venue.book_at("BTC", sequence, depth)
    assert book is not None
    return book.bids, book.asks


async def moved(venue: SimulatedVenue, client: Client, orders: int = 5, trades: int = 1) -> Any:
    """Change the book, and wait for the next message about it."""
    known = len(client.frames)
    await venue.move_book("BTC", orders)
    if trades:
        await venue.trade("BTC", count=trades)
    return await client.first(lambda event: is_depth(event) or is_book(event), known)


async def joined(sim: Simulator, first: Any) -> BinanceReader:
    """A reader whose snapshot is not older than the first received difference."""
    async with asyncio.timeout(10):
        while True:
            # many levels, because the price could leave the range of a snapshot with few levels
            snapshot = await get(sim, "/api/v3/depth", symbol="BTCUSDT", limit=5000)
            if snapshot["lastUpdateId"] + 1 >= first["U"]:
                return BinanceReader(snapshot)


# -- Binance ----------------------------------------------------------------------------------------------------


async def test_the_frame_of_a_difference_is_written_as_documented() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim) as client:
        await client.subscribe("btcusdt@depth@100ms")
        before = sim["binance"].market("BTC").update_id
        await sim["binance"].trade("BTC", price=60123.45, quantity=0.02, buyer_maker=True)
        event = await client.first(is_depth)
    assert list(event) == ["e", "E", "s", "U", "u", "b", "a"]
    assert (event["s"], event["U"], event["u"]) == ("BTCUSDT", before + 1, before + 2)
    assert event["b"][0][0] == "60123.45000000"
    assert next(level for level in event["a"] if level[0] == "60000.00000000")[1] == "0.00000000"


async def test_a_snapshot_with_the_later_differences_gives_the_true_book() -> None:
    async with Simulator(rate=200, venues=("binance",), coins=["BTC", "ETH"]) as sim, dial(sim) as client:
        venue = sim["binance"]
        await client.subscribe("btcusdt@depth@100ms", "btcusdt@trade")
        reader = await joined(sim, await client.first(is_depth))
        seen = applied = 0
        async with asyncio.timeout(20):
            while applied < 15:
                await client.first(is_depth, seen)
                events = client.events
                for event in filter(is_depth, events[seen:]):
                    if reader.apply(event):
                        applied += 1
                        assert reader.best(20) == true(venue, reader.sequence, 20)
                seen = len(events)
        assert reader.gaps == 0
        assert any(event.get("e") == "trade" for event in client.events)


async def test_a_book_ticker_has_the_best_levels_of_the_book_with_the_same_number() -> None:
    async with Simulator(rate=200, venues=("binance",), coins=["BTC"]) as sim, dial(sim) as client:
        venue = sim["binance"]
        await client.subscribe("btcusdt@depth", "btcusdt@bookTicker")
        await until(lambda: sum("B" in event for event in client.events) > 200)
        quotes = [event for event in client.events if "B" in event]
        for quote in quotes:
            (bid,), (ask,) = true(venue, quote["u"], 1)
            assert (float(quote["b"]), float(quote["B"]), float(quote["a"]), float(quote["A"])) == (*bid, *ask)


@pytest.mark.parametrize("levels", [5, 10, 20])
async def test_a_partial_book_has_as_many_levels_as_the_streams_name_says(levels: int) -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim) as client:
        await client.subscribe(f"btcusdt@depth{levels}@100ms")
        await sim["binance"].trade("BTC", count=3)
        event = await client.first(lambda e: "lastUpdateId" in e)
        assert list(event) == ["lastUpdateId", "bids", "asks"]
        shown = [(float(p), float(q)) for p, q in event["bids"]], [(float(p), float(q)) for p, q in event["asks"]]
        assert shown == true(sim["binance"], event["lastUpdateId"], levels)
        assert (len(shown[0]), len(shown[1])) == (levels, levels)


async def test_only_changed_books_are_sent_and_the_slow_stream_joins_several_changes() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim) as client:
        venue = sim["binance"]
        await client.subscribe("btcusdt@depth@100ms", "ethusdt@depth", "ethusdt@depth@100ms")
        known = len(client.frames)
        for _ in range(3):
            await venue.move_book("ETH", 3)
            await client.first(is_depth, known)
            known = len(client.frames)
        await until(lambda: len(client.frames) == 5)
        events = [event for event in client.events if is_depth(event)]
        assert {event["s"] for event in events} == {"ETHUSDT"}
        assert events[-1]["U"] == events[0]["U"]  # the slow stream sends all changes in one message
        assert events[-1]["u"] == events[-2]["u"]


@pytest.mark.parametrize("name", ["depth7", "depth@250ms", "depth20@1ms", "depth5000"])
async def test_a_depth_stream_that_does_not_exist_is_refused(name: str) -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim) as client:
        assert (await client.subscribe(f"btcusdt@{name}"))["error"]["code"] == 2


@pytest.mark.parametrize(("limit", "weight"), [(5, 5), (100, 5), (101, 25), (500, 25), (1000, 50), (5000, 250)])
async def test_a_snapshot_request_has_the_documented_weight(limit: int, weight: int) -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim:
        path = f"{sim.rest_url}/api/v3/depth?symbol=BTCUSDT&limit={limit}"
        async with aiohttp.ClientSession() as session, session.get(path) as response:
            snapshot, used = await response.json(), response.headers["X-MBX-USED-WEIGHT-1M"]
        assert used == str(weight)
        assert (len(snapshot["bids"]), len(snapshot["asks"])) == (limit, limit)


async def test_snapshot_requests_beyond_the_weight_of_a_minute_are_refused_and_then_banned() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim:
        path = "/api/v3/depth?symbol=BTCUSDT&limit=5000"
        statuses = [await status_of(sim, path) for _ in range(40)]
        assert statuses[:24] == [200] * 24
        assert statuses[24] == 429
        assert statuses[-1] == 418


async def test_a_snapshot_may_be_older_than_the_stream() -> None:
    async with Simulator(rate=500, venues=("binance",), coins=["BTC"]) as sim, dial(sim) as client:
        await client.subscribe("btcusdt@depth@100ms")
        await client.first(is_depth)
        older = 0
        async with asyncio.timeout(20):
            while not older:
                snapshot = await get(sim, "/api/v3/depth", symbol="BTCUSDT", limit=5)
                older += snapshot["lastUpdateId"] < max(e["u"] for e in client.events if is_depth(e))


# -- Binance's swaps ---------------------------------------------------------------------------------------------


async def test_each_book_update_of_a_swap_names_the_last_number_of_the_update_before() -> None:
    """The numbers have gaps, so only ``pu`` shows that no update is missing."""
    async with Simulator(rate=0, venues=("binance_swap",)) as sim, dial(sim, "/public/ws") as client:
        venue = sim["binance_swap"]
        await client.subscribe("btcusdt@depth@100ms")
        events = [await moved(venue, client, orders=10) for _ in range(5)]
        assert list(events[0]) == ["e", "E", "T", "s", "U", "u", "pu", "b", "a"]
        assert [event["pu"] for event in events[1:]] == [event["u"] for event in events[:-1]]
        assert any(after["U"] > before["u"] + 1 for before, after in pairwise(events))
        price, size = events[0]["b"][0]
        assert (len(price.partition(".")[2]), len(size.partition(".")[2])) == (2, 5)
        with venue.books_lost(1.0):
            number = events[-1]["u"]
            await venue.move_book("BTC", 10)
            await until(lambda: venue.book_streams["btcusdt@depth@100ms"].number > number)
        assert (await moved(venue, client))["pu"] > number


async def test_the_update_that_includes_a_snapshots_number_continues_the_snapshot_of_a_swap() -> None:
    async with Simulator(rate=200, venues=("binance_swap",), coins=["BTC"]) as sim, dial(sim, "/public/ws") as client:
        venue = sim["binance_swap"]
        await client.subscribe("btcusdt@depth@100ms")
        first = await client.first(is_depth)
        snapshot = await get(sim, "/fapi/v1/depth", symbol="BTCUSDT", limit=1000)
        async with asyncio.timeout(10):
            while snapshot["lastUpdateId"] < first["U"]:
                snapshot = await get(sim, "/fapi/v1/depth", symbol="BTCUSDT", limit=1000)
        assert list(snapshot) == ["lastUpdateId", "E", "T", "bids", "asks"]
        number = snapshot["lastUpdateId"]
        await until(lambda: sum(e["u"] >= number for e in client.events if is_depth(e)) > 5)
        reader, events = Book(), [event for event in client.events if is_depth(event) and event["u"] >= number]
        reader.take(snapshot["bids"], snapshot["asks"])
        assert events[0]["U"] <= number
        for event in events:
            reader.take(event["b"], event["a"])
            assert reader.best(20) == true(venue, event["u"], 20)


@pytest.mark.parametrize(("limit", "code"), [(3, -4021), (1001, -1130)])
async def test_a_snapshot_request_for_a_swap_with_a_wrong_limit_gets_the_documented_error(
    limit: int, code: int
) -> None:
    async with Simulator(rate=0, venues=("binance_swap",)) as sim:
        assert (await get(sim, "/fapi/v1/depth", symbol="BTCUSDT", limit=limit))["code"] == code


@pytest.mark.parametrize(("limit", "weight"), [(50, 2), (100, 5), (500, 10), (1000, 20)])
async def test_a_snapshot_request_for_a_swap_has_the_documented_weight(limit: int, weight: int) -> None:
    async with Simulator(rate=0, venues=("binance_swap",)) as sim:
        path = f"{sim.rest_url}/fapi/v1/depth?symbol=BTCUSDT&limit={limit}"
        async with aiohttp.ClientSession() as session, session.get(path) as response:
            assert response.headers["X-MBX-USED-WEIGHT-1M"] == str(weight)


# -- Bybit ------------------------------------------------------------------------------------------------------


async def test_bybits_messages_have_the_documented_fields() -> None:
    async with Simulator(rate=0, venues=("bybit",)) as sim, dial(sim, "/v5/public/spot") as client:
        await client.subscribe("orderbook.50.BTCUSDT")
        snapshot = await client.first(is_book)
        delta = await moved(sim["bybit"], client)
    for event, kind in ((snapshot, "snapshot"), (delta, "delta")):
        assert list(event) == ["topic", "ts", "type", "data", "cts"]
        assert (event["topic"], event["type"]) == ("orderbook.50.BTCUSDT", kind)
        assert list(event["data"]) == ["s", "b", "a", "u", "seq"]
    assert (len(snapshot["data"]["b"]), len(snapshot["data"]["a"])) == (50, 50)
    assert delta["data"]["u"] == snapshot["data"]["u"] + 1
    assert delta["data"]["seq"] > snapshot["data"]["seq"]


@pytest.mark.parametrize("depth", [1, 50, 200, 1000])
async def test_a_reader_of_bybits_stream_gets_the_true_book(depth: int) -> None:
    async with Simulator(rate=100, venues=("bybit",), coins=["BTC"]) as sim, dial(sim, "/v5/public/spot") as client:
        venue, reader = sim["bybit"], BybitReader(depth)
        await client.subscribe(f"orderbook.{depth}.BTCUSDT")
        seen = applied = 0
        async with asyncio.timeout(20):
            while applied < 10:
                await client.first(is_book, seen)
                events = client.events
                for event in filter(is_book, events[seen:]):
                    assert reader.apply(event)
                    applied += 1
                    assert reader.best(depth) == true(venue, event["data"]["seq"], depth)
                    assert reader.best(depth) == true(venue, event["data"]["u"], depth)
                seen = len(events)
        assert reader.gaps == 0


async def test_a_later_subscriber_gets_a_snapshot_and_the_message_that_follows_it() -> None:
    bybit = Simulator(rate=300, venues=("bybit",), coins=["BTC"])
    async with bybit as sim, dial(sim, "/v5/public/spot") as first, dial(sim, "/v5/public/spot") as second:
        await first.subscribe("orderbook.50.BTCUSDT")
        await until(lambda: len(first.frames) > 10)
        await second.subscribe("orderbook.50.BTCUSDT")
        await until(lambda: len(second.frames) > 10)
        reader = BybitReader(50)
        assert all([reader.apply(event) for event in second.events if is_book(event)])
        assert reader.best(50) == true(sim["bybit"], reader.sequence, 50)


async def test_a_subscriber_to_a_late_stream_gets_a_past_snapshot() -> None:
    bybit = Simulator(rate=300, venues=("bybit",), coins=["BTC"])
    async with bybit as sim, dial(sim, "/v5/public/spot") as first, dial(sim, "/v5/public/spot") as second:
        await first.subscribe("orderbook.50.BTCUSDT")
        await until(lambda: len(first.frames) > 10)
        with sim["bybit"].behind(0.5):
            await until(lambda: sim["bybit"]._late_stream.waiting)
            await second.subscribe("orderbook.50.BTCUSDT")
            await until(lambda: len(second.frames) > 10)
            reader = BybitReader(50)
            assert all([reader.apply(event) for event in second.events if is_book(event)])
            assert reader.best(50) == true(sim["bybit"], reader.sequence, 50)


async def test_a_level_that_left_the_streams_depth_is_sent_again_when_it_returns() -> None:
    async with Simulator(rate=0, venues=("bybit",)) as sim, dial(sim, "/v5/public/spot") as client:
        venue = sim["bybit"]
        await client.subscribe("orderbook.50.BTCUSDT")
        snapshot = await client.first(is_book)
        last = float(snapshot["data"]["b"][-1][0])
        known = len(client.frames)
        await venue.trade("BTC", price=float(snapshot["data"]["a"][9][0]), buyer_maker=False)  # new best bids appear
        up = (await client.first(is_book, known))["data"]
        assert all(float(price) > last for price, _ in up["b"])
        known = len(client.frames)
        await venue.trade("BTC", price=float(snapshot["data"]["b"][0][0]), buyer_maker=True)
        down = (await client.first(is_book, known))["data"]
        assert last in [float(price) for price, size in down["b"] if float(size)]


async def test_an_unchanged_one_level_book_is_sent_again_after_three_seconds() -> None:
    async with Simulator(rate=0, venues=("bybit",)) as sim, dial(sim, "/v5/public/spot") as client:
        await client.subscribe("orderbook.1.BTCUSDT")
        first = await moved(sim["bybit"], client)
        again = await client.first(is_book, len(client.frames))
        assert (first["type"], again["type"]) == ("snapshot", "snapshot")
        assert again["data"] == first["data"]
        assert again["ts"] - first["ts"] >= 2900


@pytest.mark.parametrize("topic", ["orderbook.2.BTCUSDT", "orderbook.500.BTCUSDT", "orderbook.x.BTCUSDT"])
async def test_a_depth_that_bybit_does_not_have_is_refused(topic: str) -> None:
    async with Simulator(rate=0, venues=("bybit",)) as sim, dial(sim, "/v5/public/spot") as client:
        assert (await client.subscribe(topic))["success"] is False


async def test_a_book_over_bybits_rest_is_the_true_book_with_the_same_number() -> None:
    async with Simulator(rate=100, venues=("bybit",), coins=["BTC"]) as sim, dial(sim, "/v5/public/spot") as client:
        await client.subscribe("orderbook.200.BTCUSDT")
        await client.first(is_book, 3)
        result = (await get(sim, "/v5/market/orderbook", category="spot", symbol="BTCUSDT", limit=50))["result"]
        shown = [(float(p), float(q)) for p, q in result["b"]], [(float(p), float(q)) for p, q in result["a"]]
        assert shown == true(sim["bybit"], result["seq"], 50)


# -- without readers --------------------------------------------------------------------------------------------


async def test_a_book_that_nobody_reads_is_dropped() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim:
        venue = sim["binance"]
        async with dial(sim) as client:
            await client.subscribe("btcusdt@depth")
            assert venue.market("BTC").book is not None
        await until(lambda: not venue.topics)
        venue.send_books(1e9, venue.now())
        venue.send_books(2e9, venue.now())
        assert venue.market("BTC").book is None
        assert venue.book_streams == {}
