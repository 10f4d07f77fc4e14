"""The soak of order books: its short form, and tests that its judge finds planted faults."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from exchanges.simulator import Simulator, TrueBook
from exchanges.simulator.markets.order_book import Side
from exchanges.simulator.venue import SimulatedVenue
from tests.soak.books.judge import Judge
from tests.soak.books.plan import draw
from tests.soak.books.run import soak, table


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc, which only Linux has")
async def test_twenty_seconds_of_faults_deliver_no_wrong_book() -> None:
    """Every book equals the venue's at the same update number, and every unproven period is reported and short."""
    result = await soak(0.35, 3, mean_pause=1.5, venues=("binance", "bybit"))
    assert not result.broken, table(result)
    assert result.strikes > 4
    assert all(judge.figures.delivered > 20 for judge in result.judges.values())
    assert sum(judge.figures.unproven_told for judge in result.judges.values()) > 0


def test_the_same_seed_gives_the_same_faults() -> None:
    first, second, third = ([str(strike) for strike in islice(draw(seed, "bybit", "bybit"), 60)] for seed in (1, 1, 2))
    assert first == second != third


# -- faults that the judge finds --------------------------------------------------------------------------------


class Bench:
    """A venue whose book no feed reads, and a judge; the test gives the events of an imagined feed to the judge."""

    def __init__(self, venue: SimulatedVenue) -> None:
        self.venue, self.now = venue, 1000.0
        venue.market("BTC").open_book(venue.now())
        self.judge = Judge(venue, ["BTC"], self.now)
        self.status("connected")
        self.status("book_synced", coin="BTC", seconds=0.1)

    def status(self, event: str, **details: Any) -> None:
        self.judge.take(["status", self.now, event, details])

    def true(self) -> TrueBook:
        book = self.venue.book_at("BTC")
        assert book is not None
        return book

    def deliver(self, bids: Any, asks: Any, sequence: int) -> None:
        self.judge.take(["book", self.now, 0.001, "BTC", "binance", sequence, "BTC/USDT", bids, asks])

    def look_until(self, later: float) -> None:
        """Let ``later`` seconds pass; the judge looks at the venue every quarter of a second."""
        end = self.now + later
        while self.now < end:
            self.now += 0.25
            self.judge.look(self.now)

    @property
    def found(self) -> list[str]:
        return list(self.judge.breach_counts)


async def test_a_correct_book_is_accepted() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim:
        bench = Bench(sim["binance"])
        true = bench.true()
        await sim["binance"].move_book("BTC", 50)
        bench.deliver(true.bids, true.asks, true.sequence)
        assert bench.found == []
        assert bench.judge.figures.delivered == 1


@pytest.mark.parametrize("side", ["bids", "asks"])
async def test_a_wrong_level_is_found(side: str) -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim:
        bench = Bench(sim["binance"])
        true = bench.true()
        told = {"bids": list(true.bids), "asks": list(true.asks)}
        price, size = told[side][7]
        told[side][7] = (price, size + 0.00001)
        bench.deliver(told["bids"], told["asks"], true.sequence)
        assert bench.found == ["wrong book"]


async def test_a_missing_level_an_extra_level_and_an_unknown_update_number_are_found() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim:
        bench = Bench(sim["binance"])
        true = bench.true()
        bench.deliver(true.bids[:3] + true.bids[4:], true.asks, true.sequence)
        bench.deliver([(true.bids[0][0] + 0.005, 1.0), *true.bids], true.asks, true.sequence)
        assert bench.judge.figures.wrong == 2
        bench.deliver(true.bids, true.asks, true.sequence + 1)
        assert bench.found == ["wrong book", "of an unknown number"]


async def test_a_book_that_is_delivered_while_the_book_is_unsynced_is_found() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim:
        bench = Bench(sim["binance"])
        true = bench.true()
        bench.status("book_unsynced", coin="BTC", reason="an update is missing")
        bench.deliver(true.bids, true.asks, true.sequence)
        assert bench.found == ["delivered although it is not proven"]


async def test_an_unreported_silence_is_found_once_the_venue_works_again() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim:
        bench = Bench(sim["binance"])
        true = bench.true()
        bench.deliver(true.bids, true.asks, true.sequence)
        with sim["binance"].stalled():
            bench.look_until(10)
        assert bench.found == []
        bench.look_until(2.5)
        assert bench.found == ["silence that was not told"]


async def test_time_in_which_the_judge_or_the_feeds_process_stood_still_does_not_count_as_silence() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim:
        bench = Bench(sim["binance"])
        true = bench.true()
        bench.deliver(true.bids, true.asks, true.sequence)
        bench.now += 3.0  # the judge does not look at the venue in these 3 s
        bench.judge.look(bench.now)
        bench.judge.take(["refused", bench.now, "BTC"])
        bench.look_until(2.5)  # the feed's process reports no calls for fresh books in this time
        assert bench.found == []
        assert bench.judge.held_up == 1
        for _ in range(20):
            bench.judge.take(["refused", bench.now, "BTC"])
            bench.look_until(0.25)
        assert bench.judge.held_up == 2
        assert bench.found == ["silence that was not told"]


async def test_an_unproven_period_that_is_too_long_is_found_once_the_venue_works_again() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim:
        bench = Bench(sim["binance"])
        bench.status("book_unsynced", coin="BTC", reason="an update is missing")
        with sim["binance"].books_refused(503):
            bench.look_until(10)
        bench.look_until(2.5)
        assert bench.found == []
        bench.look_until(1)
        assert bench.found == ["unproven for too long"]


async def test_an_old_book_that_the_feed_called_fresh_is_found() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim:
        bench = Bench(sim["binance"])
        true = bench.true()
        await sim["binance"].move_book("BTC", 1)
        changed = sim["binance"].book_changed_after("BTC", true.sequence)
        assert changed is not None
        bench.judge.take(["fresh", bench.now, changed + 1900, "BTC", true.sequence])
        assert bench.found == []
        bench.judge.take(["fresh", bench.now, changed + 2400, "BTC", true.sequence])
        assert bench.found == ["called fresh although it is old"]


@pytest.mark.parametrize("side", ["bids", "asks"])
async def test_a_frozen_side_counts_as_wrong_a_few_seconds_after_a_trade_has_shown_the_freeze(side: Side) -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim:
        bench, venue = Bench(sim["binance"]), sim["binance"]

        def deliver(wrong: Side) -> None:
            true = bench.true()
            bids, asks = (true.bids[1:], true.asks) if wrong == "bids" else (true.bids, true.asks[1:])
            bench.deliver(bids, asks, true.sequence)

        with venue.books_frozen(side):
            bench.judge.look(bench.now)
            for _ in range(5):
                deliver(side)
                bench.look_until(1.0)
            assert bench.found == []
            shown = getattr(bench.true(), side)[0][0]  # a better price than the book has
            await venue.trade("BTC", price=shown, buyer_maker=side == "bids")
            for _ in range(3):
                deliver(side)
                bench.look_until(1.0)
            assert bench.found == []
            bench.look_until(0.25)
            deliver(side)
            assert bench.found == ["wrong book"]
            deliver("asks" if side == "bids" else "bids")  # the other side is not frozen
            assert bench.judge.breach_counts["wrong book"] == 2


async def test_a_side_that_froze_after_the_judges_last_look_is_not_wrong_at_once() -> None:
    async with Simulator(rate=0, venues=("binance",)) as sim:
        bench = Bench(sim["binance"])
        with sim["binance"].books_frozen("asks"):
            true = bench.true()
            bench.deliver(true.bids, true.asks[1:], true.sequence)
        assert bench.found == []
