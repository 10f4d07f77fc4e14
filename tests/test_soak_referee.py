"""The soak's referee finds each planted fault: each test gives the events of a feed with one fault to the referee."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import pytest

from exchanges.simulator import Simulator, Trade
from exchanges.simulator.connections.trade_faults import Altered
from tests.soak.plan import begin, draw
from tests.soak.referee import Referee
from tests.soak.silence import Silences
from tests.soak.tally import Tally
from tests.soak.truth import Truth

VENUES = {"bybit": False, "binance": True, "binance_us": True}


@dataclass
class Bench:
    """Two venues that make no trades by themselves, and a referee that gets lines of events."""

    sims: dict[str, Simulator]
    truths: dict[str, Truth]
    referee: Referee
    faults: ExitStack = field(default_factory=ExitStack)
    now: float = field(default_factory=time.monotonic)

    def unix(self) -> int:
        return round((self.now + self.referee._unix) * 1000)

    async def trade(self, venue: str, coin: str = "BTC", **how: Any) -> Trade:
        (trade,) = await self.sims[venue][venue].trade(coin, **how)
        return trade

    def tell(self, kind: str, *fields: Any) -> None:
        self.referee.take([kind, self.now, *fields])

    def status(self, event: str, venue: str, **details: Any) -> None:
        self.tell("status", event, {"exchange": venue, **details})

    def told(self, trade: Trade, venue: str = "bybit", coin: str = "BTC", *, filled: bool = False) -> None:
        """Tell the referee that the feed has delivered this trade."""
        fields = (str(trade.id), trade.price, trade.quantity, trade.buyer_maker, trade.timestamp)
        self.tell("filled" if filled else "trade", 0.0, coin, venue, *fields, f"{coin}/USDT")

    def price(self, trade: Trade, venue: str = "bybit", coin: str = "BTC", *, times: float = 1.0) -> None:
        self.tell("price", coin, venue, trade.price * times, trade.timestamp, None, None, f"{coin}/USDT")

    def fresh(self, trade: Trade, venue: str = "bybit", coin: str = "BTC", *, max_age: float = 2.0) -> None:
        """Tell the referee that require_fresh has returned this trade's price now."""
        self.tell("fresh", self.unix(), coin, venue, trade.price, trade.timestamp, max_age)

    @property
    def found(self) -> dict[str, int]:
        return dict(self.referee.breach_counts)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with Simulator(rate=0, venues=("bybit",)) as one, Simulator(rate=0, venues=("binance",), seed=2) as two:
        sims = {"bybit": one, "binance": two}
        truths = {name: Truth(sim, sim[name], {"DOGE": 1000}) for name, sim in sims.items()}
        made = Bench(sims, truths, Referee(truths, time.monotonic()))
        made.status("connected", "bybit")
        with made.faults:
            yield made


async def test_a_feed_without_faults_has_no_breach(bench: Bench) -> None:
    for _ in range(5):
        trade = await bench.trade("bybit")
        bench.now = time.monotonic()
        bench.told(trade)
        bench.price(trade)
        bench.fresh(trade)
    assert bench.found == {}
    assert bench.referee.tallies["bybit"].fresh == 5


async def test_a_fresh_price_that_is_too_old_at_the_venue_is_a_breach(bench: Bench) -> None:
    trade = await bench.trade("bybit")
    bench.now = time.monotonic() + 2.1
    bench.fresh(trade)
    assert bench.found == {}
    bench.now += 0.5
    bench.fresh(trade)
    bench.fresh(trade, max_age=5.0)
    assert bench.found == {"old price": 1}
    assert bench.referee.prices.oldest_fresh == pytest.approx(2.6, abs=0.1)


async def test_an_invented_price_is_wrong_and_is_counted_again_if_the_feed_called_it_fresh(bench: Bench) -> None:
    trade = await bench.trade("bybit")
    wrong = Trade(trade.id, trade.price * 1.01, 1.0, False, trade.timestamp, 1)
    bench.price(wrong)
    bench.fresh(wrong)
    assert bench.found == {"wrong price": 1, "wrong price, called fresh": 1}


@pytest.mark.parametrize(
    ("fault", "coin", "listed", "kind"),
    [
        ("quoted", "BTC", "BTC", "another currency"),
        ("other_coin", "BTC", "BTC", "another coin"),
        ("thousands", "DOGE", "1000DOGE", "another unit"),
        ("thousands", "ETH", "1000ETH", "another unit"),
    ],
)
async def test_a_price_of_another_coin_unit_or_currency_is_a_breach_with_a_name_of_its_own(
    bench: Bench, fault: str, coin: str, listed: str, kind: str
) -> None:
    venue = bench.sims["bybit"]["bybit"]
    bench.faults.enter_context(getattr(venue, fault)("KRW" if fault == "quoted" else coin))
    trade = await bench.trade("bybit", listed)
    bench.price(trade, coin=coin)
    bench.fresh(trade, coin=coin)
    assert bench.found == {kind: 1, f"{kind}, called fresh": 1}
    bench.told(trade, coin=coin)
    assert "unknown trade" in bench.found or "changed trade" in bench.found


async def test_a_price_that_is_scaled_to_the_coins_unit_or_in_an_allowed_currency_is_accepted(bench: Bench) -> None:
    venue = bench.sims["bybit"]["bybit"]
    bench.faults.enter_context(venue.thousands("DOGE"))
    trade = await bench.trade("bybit", "1000DOGE")
    scaled = Trade(trade.id, trade.price / 1000, trade.quantity * 1000, trade.buyer_maker, trade.timestamp, 1)
    bench.price(scaled, coin="DOGE")
    bench.told(scaled, coin="DOGE")
    bench.faults.enter_context(venue.quoted("USDC"))
    bench.price(await bench.trade("bybit", "BTC"))
    assert bench.found == {}


async def test_a_trade_that_the_venue_stamped_wrong_is_accepted_in_the_units_of_the_coin(bench: Bench) -> None:
    venue = bench.sims["bybit"]["bybit"]
    bench.faults.enter_context(venue.thousands("DOGE"))
    true = await bench.trade("bybit", "1000DOGE")
    sent = replace(true, timestamp=true.timestamp + 3_600_000)
    market = next(market for market in venue.listings if market.coin == "1000DOGE")
    venue.altered.append(Altered(market.id, true, sent))
    bench.told(replace(sent, price=sent.price / 1000, quantity=sent.quantity * 1000), coin="DOGE")
    assert bench.found == {}


async def test_a_block_trade_that_is_delivered_as_a_price_or_as_a_trade_is_a_breach(bench: Bench) -> None:
    await bench.trade("bybit")
    block = await bench.sims["bybit"]["bybit"].block_trade("BTC", price=48_000)
    bench.price(block)
    bench.told(block)
    assert bench.found == {"off the book": 1, "off-book trade": 1}


async def test_a_price_older_than_the_previous_price_is_a_breach_unless_the_stream_is_late(bench: Bench) -> None:
    first = await bench.trade("bybit")
    bench.sims["bybit"]["bybit"].skip(2)
    second = await bench.trade("bybit")
    with bench.sims["bybit"]["bybit"].behind(3):
        bench.truths["bybit"].look(bench.now)
        bench.price(second)
        bench.price(first)
    assert bench.found == {}
    bench.now += 60
    bench.price(second)
    bench.price(first)
    assert bench.found == {"older price": 1}


async def test_a_price_of_another_venue_is_a_breach_unless_the_active_venue_lacks_the_coin(bench: Bench) -> None:
    bench.price(await bench.trade("binance"), "binance")
    assert bench.found == {"mixed price": 1}
    with bench.sims["bybit"]["bybit"].unlisted("ETH"):
        bench.price(await bench.trade("binance", "ETH"), "binance", "ETH")
    assert bench.found == {"mixed price": 1}


async def test_a_fallback_coin_may_keep_its_exchange_until_the_new_active_exchange_delivers_data(bench: Bench) -> None:
    # okx is a third venue with the same markets as bybit
    bench.truths["okx"], bench.referee.tallies["okx"] = bench.truths["bybit"], Tally()
    bench.price(await bench.trade("bybit"))
    with bench.sims["bybit"]["bybit"].unlisted("ETH"):
        bench.price(await bench.trade("binance", "ETH"), "binance", "ETH")
    bench.now += 60
    bench.status("failover", "okx", **{"from": "bybit", "to": "okx"})
    bench.price(await bench.trade("binance", "ETH"), "binance", "ETH")
    assert bench.found == {}
    bench.price(await bench.trade("bybit"))
    assert bench.found == {"mixed price": 1}
    bench.price(await bench.trade("bybit"), "okx")
    bench.now += 2
    bench.price(await bench.trade("binance", "ETH"), "binance", "ETH")
    assert bench.found == {"mixed price": 2}


async def test_a_reported_mismatch_is_a_breach_if_both_venues_have_the_coin(bench: Bench) -> None:
    sides = {"from": {"exchange": "bybit", "market": "BTC/USDT"}, "to": {"exchange": "binance", "market": "BTC/USDT"}}
    with bench.sims["binance"]["binance"].other_coin("BTC"):
        bench.status("price_mismatch", "binance", coin="BTC", ratio=112.0, **sides)
        assert bench.found == {}
    bench.status("price_mismatch", "binance", coin="ETH", ratio=1.6, **sides)
    assert bench.found == {"false mismatch": 1}


@pytest.mark.parametrize("complete", [True, False, None])
async def test_a_missing_trade_is_lost_unless_the_feed_reported_it(bench: Bench, complete: bool | None) -> None:
    first, _, third = [await bench.trade("binance") for _ in range(3)]
    bench.status("connected", "binance")
    bench.told(first, "binance")
    if complete is not None:
        ids = {"from_id": first.id + 1, "to_id": first.id + 1}
        bench.status("gap", "binance", coin="BTC", missing=1, **ids)
        bench.status("gap_filled", "binance", coin="BTC", trades=0, complete=complete)
    bench.told(third, "binance")
    bench.referee.look(bench.now)
    assert bench.found == ({} if complete is False else {"lost": 1})


async def test_the_gap_filled_event_of_the_next_gap_leaves_an_unfetched_gap_open(bench: Bench) -> None:
    """The later gap_filled event belongs to the next gap."""
    first, second, third, fourth, fifth = [await bench.trade("binance") for _ in range(5)]
    bench.status("connected", "binance")
    bench.told(first, "binance")
    bench.status("gap", "binance", coin="BTC", missing=1, fetched=False, from_id=second.id, to_id=second.id)
    bench.told(third, "binance")
    bench.status("gap", "binance", coin="BTC", missing=1, fetched=True, from_id=fourth.id, to_id=fourth.id)
    bench.status("gap_filled", "binance", coin="BTC", trades=0, complete=True)
    bench.told(fifth, "binance")
    bench.referee.look(bench.now + 10)
    assert bench.found == {"lost": 1}


async def test_unused_ids_do_not_count_as_missing_trades(bench: Bench) -> None:
    with bench.sims["binance"]["binance"].skipping(2):
        trades = await bench.sims["binance"]["binance"].trade("BTC", count=50)
    assert trades[-1].id - trades[0].id > 55
    bench.status("connected", "binance")
    for trade in trades:
        bench.told(trade, "binance")
    assert bench.found == {}


async def test_a_repeated_trade_is_doubled_and_a_late_trade_is_out_of_order(bench: Bench) -> None:
    bench.status("connected", "binance")
    first, second, third = [await bench.trade("binance") for _ in range(3)]
    for trade in (first, third, first, second):
        bench.told(trade, "binance")
    assert bench.found == {"lost": 1, "doubled": 1, "out of order": 1}


async def test_a_trade_with_a_wrong_id_in_the_stream_is_no_fault_of_the_feed(bench: Bench) -> None:
    venue = bench.sims["binance"]["binance"]
    bench.status("connected", "binance")
    bench.told(await bench.trade("binance"), "binance")
    venue.leap(40_000)
    leapt = await bench.trade("binance")
    (altered,) = venue.altered
    bench.told(altered.sent, "binance")
    bench.told(await bench.trade("binance"), "binance")
    bench.told(leapt, "binance", filled=True)  # REST has the trade with its true id
    assert bench.found == {}


async def test_the_age_of_a_price_with_a_wrong_stamp_is_its_true_age(bench: Bench) -> None:
    venue = bench.sims["bybit"]["bybit"]
    venue.stamp_ahead(3600)
    await bench.trade("bybit")
    (altered,) = venue.altered
    bench.price(altered.sent)
    bench.now = time.monotonic() + 1
    bench.fresh(altered.sent)
    assert bench.found == {}
    bench.now += 2
    bench.fresh(altered.sent)
    assert bench.found == {"old price": 1}


async def test_a_candle_that_differs_from_the_venues_candle_or_is_closed_twice_is_a_breach(bench: Bench) -> None:
    trade = await bench.trade("bybit", price=60_000, quantity=1)
    opened = trade.timestamp - trade.timestamp % 60_000
    right = bench.truths["bybit"].candles("BTC", opened)[0]
    bench.tell("candle", "BTC", "bybit", opened, *right)
    assert bench.found == {}
    bench.tell("candle", "BTC", "bybit", opened, *right[:4], 7.0)
    assert bench.found == {"candle closed twice": 1, "wrong candle": 1}


# -- silences ----------------------------------------------------------------------------------------------------------


def silences(bench: Bench, began: float) -> Silences:
    for truth in bench.truths.values():
        truth.well_since = began
    return Silences(bench.truths, began, bench.referee.breach)


async def test_a_silence_of_seven_seconds_while_a_venue_is_healthy_is_a_breach(bench: Bench) -> None:
    watched = silences(bench, 100.0)
    watched.data(106.9)
    watched.data(114.0)
    watched.look(120.0)
    assert bench.found == {"silence": 1}
    assert watched.longest_healthy == pytest.approx(7.1)


async def test_stalls_of_a_loop_are_subtracted_from_a_silence_even_if_they_are_reported_later(bench: Bench) -> None:
    watched = silences(bench, 100.0)
    watched.data(110.0)
    watched.stall(101.0, 103.5)
    watched.stall(103.0, 104.5)  # half a second in which both processes stalled counts once
    watched.look(112.0)
    assert bench.found == {}
    assert watched.longest_healthy == pytest.approx(6.5)


async def test_silence_is_a_breach_only_after_a_venue_has_worked_again_for_long_enough(bench: Bench) -> None:
    watched = silences(bench, 100.0)
    for truth in bench.truths.values():
        truth.well_since = None
    watched.data(130.0)
    bench.truths["binance"].well_since = 140.0
    bench.truths["binance"].was_ill = True
    watched.data(152.9)
    watched.look(160.0)
    assert bench.found == {}
    assert watched.longest == pytest.approx(30.0)
    watched.data(167.0)
    watched.look(170.0)
    assert bench.found == {"silence": 1}


async def test_several_faults_make_one_silence_that_begins_with_the_first_dial(bench: Bench) -> None:
    watched = silences(bench, 100.0)
    watched.connecting(103.0)
    watched.connecting(109.0)
    for now in (109.0, 110.5, 111.0):
        watched.before_strike(now)
    watched.data(112.0)
    watched.look(120.0)
    assert bench.found == {"silence": 1}
    assert watched.longest_healthy == pytest.approx(9.0)


async def test_a_failback_that_interrupts_the_data_for_more_than_a_second_is_a_breach(bench: Bench) -> None:
    watched = silences(bench, 100.0)
    watched.data(100.5)
    watched.failback("binance", "bybit")
    watched.data(101.4)
    watched.failback("bybit", "binance")
    watched.data(102.5)
    watched.look(110.0)
    assert bench.found == {"failback break": 1}
    assert watched.breaks == [pytest.approx(0.9), pytest.approx(1.1)]


async def test_old_data_does_not_end_a_silence(bench: Bench) -> None:
    referee = bench.referee
    old = await bench.trade("bybit")
    began = bench.now = time.monotonic()
    bench.told(old)
    bench.now = began + 6
    bench.told(old, filled=True)
    bench.price(old)
    assert referee.silences.begun == began
    trade = await bench.trade("bybit")
    trade.timestamp = bench.unix()
    bench.told(trade)
    assert referee.silences.begun == bench.now


async def test_data_of_a_fallback_coin_does_not_count_for_the_active_venue(bench: Bench) -> None:
    """The other coins are silent, so the silence continues, and the feed rightly reports that it is stale."""
    began = bench.now = time.monotonic()
    trade = await bench.trade("bybit")
    trade.timestamp = bench.unix()
    bench.told(trade)
    bench.now = began + 5
    other = await bench.trade("binance")
    other.timestamp = bench.unix()
    bench.referee.prices._withheld["bybit", "BTC"] = bench.now
    bench.told(other, "binance")
    bench.price(other, "binance")
    assert bench.referee.silences.begun == began
    bench.status("feed_stale", "bybit", seconds=5.0)
    assert "feed_stale" not in bench.found
    bench.now += 0.1
    late = await bench.trade("bybit")
    late.timestamp = bench.unix()
    bench.told(late)
    bench.status("feed_stale", "bybit", seconds=5.0)
    assert bench.found["feed_stale"] == 1


async def test_the_24_h_change_must_be_a_change_that_the_coin_had_lately_on_this_venue(bench: Bench) -> None:
    """A ticker may be older than the trade, so a jump of the price between the two is no breach."""
    before = await bench.trade("bybit")
    change, _ = bench.truths["bybit"].day_changes("BTC", before.price, before.timestamp)[0]
    after = await bench.trade("bybit", price=before.price * 1.05)
    told = ("BTC", "bybit", after.price, after.timestamp, None)
    for each in (change, change + 5, change - 30, change + 40):
        bench.referee.prices._sampled = 9
        bench.tell("price", *told, each, "BTC/USDT")
    assert bench.found == {"mixed statistics": 2}


# -- the plan ----------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_plan_and_every_kind_of_fault_is_drawn() -> None:
    assert begin(5, VENUES) == begin(5, VENUES)
    first, second = (list(islice(draw(5, VENUES), 500)) for _ in range(2))
    assert first == second
    kinds = {strike.fault.fault.kind for strike in first}
    wanted = {"behind", "falling-behind", "split", "rest-behind", "rest-frozen", "skipping", "leap", "stamp-ahead",
              "halted", "unlisted", "quoted", "block-trades", "repeated", "late-close", "lost-close"}  # fmt: skip
    assert wanted <= kinds
    assert all(strike.venue == "bybit" for strike in first if strike.fault.fault.kind == "block-trades")
    specs = [spec for seed in range(20) for each in begin(seed, VENUES).specs.values() for spec in each]
    assert {spec.partition("-")[0].partition("+")[0] for spec in specs} == {"other", "thousands", "halted", "quoted"}
