"""Each fault of order books has its effect on a stream, and the effect ends with the fault."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from typing import Any

import pytest

from exchanges.simulator import Simulator, SimulatorError, parse_fault
from exchanges.simulator.venue import SimulatedVenue
from tests.simulator.books.readers import BinanceReader, BybitReader
from tests.simulator.books.test_streams import is_book, is_depth, joined, moved, true
from tests.simulator.client import Client, dial, get, status_of, until

STREAM = "btcusdt@depth@100ms"


def differences(client: Client, after: int = 0) -> list[dict[str, Any]]:
    return [event for event in client.events[after:] if is_depth(event)]


async def changed(venue: SimulatedVenue, times: int) -> None:
    """Cause ``times`` messages, one after the other; the active fault decides whether they are sent."""
    stream = venue.book_streams[STREAM]
    for _ in range(times):
        await venue.move_book("BTC", 5)
        book = venue.market("BTC").open_book(venue.now())
        await until(lambda: stream.number == book.number)  # noqa: B023  # awaited at once


async def test_a_lost_message_leaves_a_gap_in_the_numbers() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim) as client:
        venue = sim["binance"]
        await client.subscribe(STREAM)
        first = await moved(venue, client)
        with venue.books_lost(1.0):
            await changed(venue, 1)
        after = await moved(venue, client)
        assert after["U"] > first["u"] + 1
        following = await moved(venue, client)
        assert following["U"] == after["u"] + 1


async def test_a_doubled_message_is_sent_twice() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim) as client:
        await client.subscribe(STREAM)
        with sim["binance"].books_doubled(1.0):
            await changed(sim["binance"], 1)
            await until(lambda: len(differences(client)) == 2)
        one, other = differences(client)
        assert one == other


async def test_a_late_message_is_sent_after_the_message_that_follows_it() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim) as client:
        venue = sim["binance"]
        await client.subscribe(STREAM)
        with venue.books_late(1.0, seconds=0.3):
            await changed(venue, 1)
        await changed(venue, 1)
        await until(lambda: len(differences(client)) == 2)
        second, first = differences(client)
        assert second["U"] == first["u"] + 1


async def test_reordered_messages_are_sent_in_pairs_in_the_opposite_order() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim) as client:
        venue = sim["binance"]
        await client.subscribe(STREAM)
        with venue.books_reordered(1.0):
            await changed(venue, 4)
        await until(lambda: len(differences(client)) == 4)
        second, first, fourth, third = differences(client)
        assert [event["U"] for event in (second, third, fourth)] == [e["u"] + 1 for e in (first, second, third)]


@pytest.mark.parametrize("side", ["bids", "asks"])
async def test_a_frozen_side_gets_no_changes_until_the_fault_ends_and_the_numbers_have_no_gap(side: Any) -> None:
    key, other = ("b", "a") if side == "bids" else ("a", "b")
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim) as client:
        venue = sim["binance"]
        await client.subscribe(STREAM)
        reader = await joined(sim, await moved(venue, client))
        for event in differences(client):
            reader.apply(event)
        known = len(client.frames)
        with venue.books_frozen(side):
            for _ in range(4):
                event = await moved(venue, client, orders=20, trades=2)
                assert event[key] == []
                assert event[other]
        await moved(venue, client)
        for event in differences(client, known):
            assert reader.apply(event)
        assert reader.gaps == 0
        assert reader.best(20) == true(venue, reader.sequence, 20)


async def test_a_crossed_book_is_sent_until_the_fault_ends() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim) as client:
        venue = sim["binance"]
        await client.subscribe(STREAM)
        reader = await joined(sim, await moved(venue, client))
        with venue.books_crossed():
            known = len(client.frames)
            await moved(venue, client)
            for event in differences(client):
                reader.apply(event)
            bids, asks = reader.best(1)
            assert bids[0][0] > asks[0][0]
        await moved(venue, client, trades=3)
        for event in differences(client, known):
            reader.apply(event)
        assert reader.best(20) == true(venue, reader.sequence, 20)


def is_crossed(reader: BinanceReader, client: Client) -> bool:
    """Whether the reader's best bid is above its best ask after all differences that the client has received."""
    for event in differences(client):
        reader.apply(event)
    bids, asks = reader.best(1)
    return bool(bids[0][0] > asks[0][0])


async def test_a_crossed_book_is_crossed_for_a_reader_whose_asks_are_frozen_too() -> None:
    """The true asks have fallen and the reader has the old asks: the false bid must be above the old asks too."""
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim) as client:
        venue = sim["binance"]
        await client.subscribe(STREAM)
        reader = await joined(sim, await moved(venue, client))
        market = venue.market("BTC")
        with venue.books_frozen("asks", "BTC"):
            await venue.trade("BTC", price=market.last_price / market.scale * 0.97)
            with venue.books_crossed():
                await moved(venue, client)
                assert is_crossed(reader, client)


async def test_a_crossed_book_is_crossed_for_a_reader_with_a_snapshot_from_after_the_freeze() -> None:
    """The asks rise and fall again. The reader's asks are those of a snapshot taken in between."""
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim) as client:
        venue = sim["binance"]
        await client.subscribe(STREAM)
        market = venue.market("BTC")
        first = await moved(venue, client)
        with venue.books_frozen("asks", "BTC"):
            price = market.last_price / market.scale
            await venue.trade("BTC", price=price * 1.03)
            async with asyncio.timeout(10):
                while (reader := await joined(sim, first)).best(1)[1][0][0] < price * 1.02:
                    pass  # REST is behind by a moment
            await venue.trade("BTC", price=price)
            with venue.books_crossed():
                await moved(venue, client)
                assert is_crossed(reader, client)


async def test_a_stale_snapshot_has_a_past_book_and_that_books_number() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim) as client:
        venue = sim["binance"]
        await client.subscribe(STREAM)
        old = venue.book_at("BTC")
        assert old is not None
        await asyncio.sleep(0.3)  # the test is about the age of the snapshot
        await changed(venue, 1)
        with venue.stale_books(0.25):
            snapshot = await get(sim, "/api/v3/depth", symbol="BTCUSDT", limit=20)
        assert snapshot["lastUpdateId"] == old.sequence
        assert BinanceReader(snapshot).best(20) == (old.bids, old.asks)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("binance", "/api/v3/depth?symbol={}USDT"),
        ("bybit", "/v5/market/orderbook?category=spot&symbol={}USDT"),
    ],
)
async def test_snapshots_can_be_refused_while_other_requests_are_answered(name: str, path: str) -> None:
    async with Simulator(rate=0) as sim:
        with sim[name].books_refused(429, coin="BTC"):
            assert await status_of(sim, path.format("BTC")) == 429
            assert await status_of(sim, path.format("ETH")) == 200
        assert await status_of(sim, path.format("BTC")) == 200


async def test_a_fault_of_one_coin_does_not_affect_other_coins() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim) as client:
        venue = sim["binance"]
        await client.subscribe(STREAM, "ethusdt@depth@100ms")
        with venue.books_lost(1.0, coin="btc"):
            await changed(venue, 1)
            await venue.move_book("ETH")
            await until(lambda: differences(client))
        assert [event["s"] for event in differences(client)] == ["ETHUSDT"]


async def test_after_a_restart_bybits_books_begin_with_update_number_one() -> None:
    async with Simulator(rate=0, venues=("bybit",)) as sim, dial(sim, "/v5/public/spot") as client:
        venue, reader = sim["bybit"], BybitReader(50)
        await client.subscribe("orderbook.50.BTCUSDT")
        await moved(venue, client)
        venue.restart_books()
        await client.first(lambda event: is_book(event) and event["data"]["u"] == 1)
        await moved(venue, client)
        events = [event for event in client.events if is_book(event)]
        assert [(e["type"], e["data"]["u"]) for e in events[-2:]] == [("snapshot", 1), ("delta", 2)]
        assert all([reader.apply(event) for event in events])
        assert reader.best(50) == true(venue, 2, 50)


async def test_faults_of_messages_work_on_bybit_as_on_binance() -> None:
    async with Simulator(rate=0, venues=("bybit",)) as sim, dial(sim, "/v5/public/spot") as client:
        venue = sim["bybit"]
        await client.subscribe("orderbook.50.BTCUSDT")
        first = await moved(venue, client)
        stream = venue.book_streams["orderbook.50.BTCUSDT"]
        with venue.books_lost(1.0):
            await venue.move_book("BTC", 30)
            await until(lambda: stream.update > first["data"]["u"])
        after = await moved(venue, client)
        assert after["data"]["u"] > first["data"]["u"] + 1
        with venue.books_crossed():
            crossed = await moved(venue, client)
        assert float(crossed["data"]["b"][0][0]) > venue.market("BTC").best()[1] / venue.market("BTC").scale


async def test_binance_has_no_restart_of_books() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim:
        with pytest.raises(SimulatorError, match="only Bybit"):
            sim["binance"].restart_books()
        with pytest.raises(SimulatorError, match="cannot have it"):
            sim.schedule(parse_fault("book-restart"))


@pytest.mark.parametrize(
    ("spec", "text"),
    [("book-frozen-middle", "bids or asks"), ("book-lost-2", "share"), ("book-crossed-1", "takes no argument")],
)
def test_the_error_for_a_wrong_argument_says_what_is_allowed(spec: str, text: str) -> None:
    with pytest.raises(SimulatorError, match=text):
        parse_fault(spec)


async def test_bad_messages_are_sent_in_addition_to_the_good_messages() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim, dial(sim) as client:
        venue = sim["binance"]
        await client.subscribe(STREAM)
        with venue.malformed(1.0):
            await changed(venue, 6)
        await until(lambda: len(client.frames) == 13)
        good, bad = [], 0
        for frame in client.frames[1:]:
            try:
                event = json.loads(frame)
                BinanceReader({"lastUpdateId": 0, "bids": event["b"], "asks": event["a"]})
                good.append(event)
            except (ValueError, TypeError):
                bad += 1
        assert (len(good), bad) == (6, 6)
        assert all(after["U"] == before["u"] + 1 for before, after in pairwise(good))
