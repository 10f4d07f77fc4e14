"""If the active venue is silent, the next venues are tried at once, and the first venue with data becomes active.

Times are measured at receipt, over real sockets. ``LIMIT`` is the time within which the settings promise data, plus a
margin for busy machines.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack, contextmanager
from itertools import pairwise
from time import monotonic
from typing import Any

import pytest

from exchanges.simulator import SimulatedVenue, Simulator
from feed import MarketFeed
from feed.market_data.connection_listener import TRIAL_TRADES
from feed.settings import Connection, Settings, Staleness
from tests.support import Recorder, settings_for, until

STALE = 1.0  # seconds; the setting feed_stale_after
LIMIT = STALE + 3.0
NAMES = ("bybit", "binance", "binance_us")


class Clocked(Recorder):
    """A recorder that also keeps the time of each tick (monotonic seconds)."""

    def __init__(self, feed: MarketFeed) -> None:
        super().__init__(feed)
        self.ticks: list[tuple[float, str]] = []
        feed.subscribe_price(lambda tick: self.ticks.append((monotonic(), tick.exchange)))

    def longest_gap(self, since: float) -> float:
        """The longest time without a tick after ``since``."""
        times = [since, *(at for at, _ in self.ticks if at > since)]
        return max(after - before for before, after in pairwise(times))

    def break_at(self, exchange: str) -> float:
        """Seconds from the last tick of another exchange to the first tick of this one."""
        first = next(
            at
            for (at, name), (_, before) in zip(self.ticks[1:], self.ticks, strict=False)
            if name == exchange != before
        )
        return first - max(at for at, _ in self.ticks if at < first)


@pytest.fixture
async def venues() -> AsyncIterator[list[Simulator]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Simulator(venues=(name,), rate=60, coins=["BTC", "ETH"], seed=seed))
            for seed, name in enumerate(NAMES, start=1)
        ]


def settings_over(*simulators: Simulator, transport: str = "aiohttp", **connection: Any) -> Settings:
    settings = settings_for(*simulators)
    settings.staleness = Staleness(feed_stale_after=STALE, coin_stale_after=30, reconnect_after=3 * STALE, max_lag=1.0)
    settings.connection = Connection(
        **{"connect_timeout": 5, "backoff_initial": 0.3, "backoff_max": 1.0, "stable_after": 2, "failback_after": 60}
        | connection
    )
    for config in settings.exchanges:
        config.options["transport"] = transport
    return settings


def only(simulator: Simulator) -> SimulatedVenue:
    return next(iter(simulator.venues.values()))


@contextmanager
def cut_and_hanging(venue: SimulatedVenue) -> Iterator[None]:
    """Cut the venue's connection; new dials are accepted and never answered."""
    with venue.muted():
        venue.cut()
        yield


@contextmanager
def cut_and_refusing(venue: SimulatedVenue) -> Iterator[None]:
    with venue.refusing(503):
        venue.cut()
        yield


@contextmanager
def cut_and_blocked(venue: SimulatedVenue) -> Iterator[None]:
    with venue.blocked(451):
        venue.cut()
        yield


@contextmanager
def dropping(venue: SimulatedVenue) -> Iterator[None]:
    with venue.accept_then_drop():
        venue.cut()
        yield


@contextmanager
def cut_and_late(venue: SimulatedVenue) -> Iterator[None]:
    """Cut the venue's connection; new connections deliver late data."""
    with venue.behind(4.0):
        venue.cut()
        yield


FAULTS: dict[str, Callable[[SimulatedVenue], AbstractContextManager[None]]] = {
    "stalled": lambda venue: venue.stalled(),
    "muted": lambda venue: venue.muted(),
    "partitioned": lambda venue: venue.partition(),
    "hanging": cut_and_hanging,
    "refusing": cut_and_refusing,
    "blocked": cut_and_blocked,
    "dropping": dropping,
    "late": lambda venue: venue.behind(4.0),
    "late again": cut_and_late,
}


async def silence_of(simulators: list[Simulator], faulty: int, fault: str, settings: Settings) -> tuple[float, Clocked]:
    """The longest time (s) without a tick of a working venue, while the first ``faulty`` venues have the fault."""
    feed = MarketFeed(settings=settings)
    got = Clocked(feed)
    async with feed, AsyncExitStack() as stack:
        await got.until(lambda: len(got.ticks) > 20)
        began = monotonic()
        for simulator in simulators[:faulty]:
            stack.enter_context(FAULTS[fault](only(simulator)))
        healthy = {only(simulator).name for simulator in simulators[faulty:]}
        await got.until(lambda: got.ticks[-1][1] in healthy)
        got.ticks[:] = [tick for tick in got.ticks if tick[1] in healthy]
        seen = len(got.ticks)
        await got.until(lambda: len(got.ticks) > seen + 20)
        return got.longest_gap(began), got


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_next_venue_becomes_active_in_time(venues: list[Simulator], fault: str) -> None:
    silent, got = await silence_of(venues[:2], 1, fault, settings_over(*venues[:2]))
    assert silent <= LIMIT + (1.0 if "late" in fault else 0.0)  # data counts as late only after max_lag
    assert [(each["from"], each["to"]) for each in got.details("failover")] == [("bybit", "binance")]


@pytest.mark.parametrize("transport", ["aiohttp", "picows"])
@pytest.mark.parametrize("fault", ["stalled", "hanging", "refusing", "late", "late again"])
async def test_a_third_venue_becomes_active_in_time_if_two_venues_have_the_same_fault(
    venues: list[Simulator], fault: str, transport: str
) -> None:
    pytest.importorskip(transport, reason="the extra [fast] is not installed")
    silent, got = await silence_of(venues, 2, fault, settings_over(*venues, transport=transport))
    assert silent <= LIMIT + (1.0 if "late" in fault else 0.0)
    assert got.details("failover")[-1]["to"] == "binance_us"


async def test_trades_that_a_trial_missed_in_a_silence_are_reported(venues: list[Simulator]) -> None:
    """The trial began before the last trade of the active venue, and was silent at the time of this trade."""
    first, second = (only(simulator) for simulator in venues[:2])
    feed = MarketFeed(settings=settings_over(*venues[:2], failback_after=30))
    got = Clocked(feed)
    async with feed, AsyncExitStack() as stack:
        await got.until(lambda: len(got.ticks) > 20)
        with cut_and_refusing(first):
            await got.until(lambda: got.ticks[-1][1] == "binance")
        connected = len(first.connections)
        await got.until(lambda: len(first.connections) > connected)  # the first venue is on trial
        began = monotonic()
        await got.until(lambda: monotonic() - began > 3.0)  # the trial has lasted for some seconds
        mute = stack.enter_context(ExitStack())
        mute.enter_context(first.muted())
        began = monotonic()
        await got.until(lambda: monotonic() - began > STALE + 0.5)
        got.status.clear()
        with cut_and_refusing(second):
            mute.close()
            await got.until(lambda: got.ticks[-1][1] == "bybit")
            await got.until(lambda: {each["coin"] for each in got.details("gap")} == {"BTC", "ETH"})


@pytest.mark.parametrize("withheld", [False, True], ids=["", "beside a coin that is withheld"])
async def test_a_venue_whose_stream_restarts_with_old_data_does_not_stay_active(
    venues: list[Simulator], withheld: bool
) -> None:
    """All trades of the stream were delivered before, and the trades of the withheld coin are as old."""
    first, second = (only(simulator) for simulator in venues[:2])
    feed = MarketFeed(settings=settings_over(*venues[:2]))
    got = Clocked(feed)
    async with feed, AsyncExitStack() as stack:
        await got.until(lambda: len(got.ticks) > 20)
        if withheld:
            stack.enter_context(second.other_coin("ETH"))
        with cut_and_refusing(first):
            await got.until(lambda: got.ticks[-1][1] == "binance")
            began = monotonic()
            await got.until(lambda: monotonic() - began > 2.0)
            connected = len(got.details("connected"))
            stack.enter_context(second.behind(6.0))
            second.cut()
            await got.until(lambda: len(got.details("connected")) > connected)
        began = monotonic()
        await until(lambda: len(got.details("failover")) > 1)
        # the stream counts as late after max_lag; otherwise the venue would stay active for ever
        assert monotonic() - began <= LIMIT + 3.0
        assert got.details("failover")[-1]["to"] == "bybit"


@pytest.mark.parametrize("to", ["bybit", "binance"])
async def test_trades_that_a_trial_dropped_are_reported_or_fetched(venues: list[Simulator], to: str) -> None:
    """Since the last trade of the active venue, more trades of the coin were made than a trial keeps."""
    first, second = sorted((only(each) for each in venues[:2]), key=lambda venue: venue.name != to)
    simulators = sorted(venues[:2], key=lambda each: only(each).name != to)
    feed = MarketFeed(settings=settings_over(*simulators, failback_after=30))
    got = Clocked(feed)
    async with feed:
        await got.until(lambda: len(got.ticks) > 20)
        with cut_and_refusing(first):
            await got.until(lambda: got.ticks[-1][1] == second.name)
        connected = len(first.connections)
        await got.until(lambda: len(first.connections) > connected)  # the first venue is on trial
        began = monotonic()
        await got.until(lambda: monotonic() - began > 3.0)  # the trial has lasted for some seconds
        with second.silent("BTC"):
            got.status.clear()  # on a busy machine the trial may have taken over before the cut
            after = await first.trade("BTC", count=TRIAL_TRADES + 50)
            began = monotonic()
            await got.until(lambda: monotonic() - began > 1.0)
            with cut_and_refusing(second):
                await got.until(lambda: any(t.coin == "BTC" and t.exchange == to for t in got.trades[-50:]))
        made = {str(trade.id) for trade in after}
        await got.until(
            lambda: (
                any(each["coin"] == "BTC" for each in got.details("gap"))
                or made <= {trade.trade_id for trade in got.trades if trade.exchange == to}
            )
        )


@pytest.mark.parametrize("rate", [20.0, 60.0, 300.0])
async def test_a_failback_does_not_interrupt_the_data(venues: list[Simulator], rate: float) -> None:
    """This holds even if REST is slow: the trial's trades continue where the trades of the other venue end.

    A pause of the simulated stream must not count as silence here: it would cause a failover instead of the failback.
    """
    first, second = (only(simulator) for simulator in venues[:2])
    settings = settings_over(*venues[:2], failback_after=5)
    settings.staleness.feed_stale_after, settings.staleness.reconnect_after = 10, 20
    feed = MarketFeed(settings=settings)
    got = Clocked(feed)
    async with feed, AsyncExitStack() as stack:
        await got.until(lambda: len(got.ticks) > 20)
        with first.partition():
            await got.until(lambda: got.ticks[-1][1] == "binance")
        first.rate = second.rate = rate
        for venue in (first, second):
            stack.enter_context(venue.slow_rest(2.0))
        got.ticks[:] = [tick for tick in got.ticks if tick[1] == "binance"]
        await got.until_event("failback")
        await got.until(lambda: got.ticks[-1][1] == "bybit")
        assert got.break_at("bybit") < 1.0


@pytest.mark.parametrize("transport", ["aiohttp", "picows"])
async def test_a_venue_that_lags_too_does_not_become_active(venues: list[Simulator], transport: str) -> None:
    pytest.importorskip(transport, reason="the extra [fast] is not installed")
    first, second, _ = (only(simulator) for simulator in venues)
    feed = MarketFeed(settings=settings_over(*venues, transport=transport))
    got = Clocked(feed)
    with second.behind(4.0):
        async with feed:
            await got.until(lambda: len(got.ticks) > 20)
            with first.stalled():
                await got.until(lambda: got.ticks[-1][1] == "binance_us")
    assert {exchange for _, exchange in got.ticks} == {"bybit", "binance_us"}


async def test_if_all_venues_lag_the_feed_does_not_switch_between_them(venues: list[Simulator]) -> None:
    """A failover would not help. The feed reports its lag and dials the active venue again."""
    first, second = (only(simulator) for simulator in venues[:2])
    feed = MarketFeed(settings=settings_over(*venues[:2]))
    got = Clocked(feed)
    async with feed:
        await got.until(lambda: len(got.ticks) > 20)
        with second.behind(4.0), first.behind(4.0):
            await got.until(lambda: len(got.details("feed_lagging")) == 2)
            assert got.details("disconnected")
            assert not got.details("failover")
            assert str(feed.status.state) == "lagging"
            assert feed.get_health()["status"] == "degraded"
