"""The candles of one venue are made from the data of all its connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from math import inf

import pytest

from exchanges.events import Candle, TradeEvent
from feed.candles.missing import CandleRecord
from feed.candles.overdue import GRACE, Timing
from feed.candles.venue_candles import AT_ONCE, Fetch, VenueCandles
from tests.feed.candles.support import answer, tell_row

MINUTE = 60_000
OPENED = 1_700_000_040_000
FIRST = 27_000_000  # minutes since the epoch


class NoTime:
    """Answers like a session that does not know its venue's time yet."""

    delivering = False

    def venue_time(self) -> float | None:
        return None

    def stream_time(self) -> float | None:
        return None

    def heard_at(self, symbol: str) -> float:
        return inf

    def has_room(self) -> bool:
        return True


def made(
    fetch: Fetch,
    deliver: Callable[[Candle], None],
    timing: Timing | None = None,
    give_up: Callable[[str, str, list[int]], None] = lambda coin, timeframe, opened: None,
) -> VenueCandles:
    return VenueCandles("one", fetch, deliver, timing or NoTime(), give_up, CandleRecord())


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the feed request a candle from the record as soon as the candle is over."""
    monkeypatch.setattr("feed.candles.venue_candles.GRACE", 0.0)


@pytest.mark.usefixtures("at_once")
async def test_after_an_outage_of_all_coins_candles_are_fetched_a_few_at_a_time() -> None:
    """Every interrupted candle is fetched and closed."""
    coins = {f"{coin}/USDT": coin for coin in (f"C{n}" for n in range(40))}
    under_way, most, repaired = 0, 0, list[Candle]()
    done = asyncio.Event()

    async def fetch(coin: str, symbol: str, timeframe: str, since: int) -> list[Candle]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        for _ in range(3):
            await asyncio.sleep(0)
        under_way -= 1
        return answer(*([opened, 1.0, 1.0, 1.0, 1.0, 5.0] for opened in (since, since + MINUTE)), coin=coin)

    def deliver(candle: Candle) -> None:
        repaired.append(candle)
        if len(repaired) == len(coins):
            done.set()

    venue_candles = made(fetch, deliver)
    # each time a new connection begins; the first connection misses the end of its candle
    for opened in (OPENED, OPENED + MINUTE):
        venue_candles.begin(coins, ["1m"], {}, native=True)
        for symbol in coins:
            tell_row(venue_candles, symbol, "1m", [opened, 1.0, 1.0, 1.0, 1.0, 1.0], 0, False)
    async with asyncio.timeout(10):
        await done.wait()
    assert most == AT_ONCE
    assert {(candle.coin, candle.timestamp, candle.volume, candle.closed) for candle in repaired} == {
        (coin, OPENED, 5.0, True) for coin in coins.values()
    }
    await venue_candles.end()


@pytest.mark.usefixtures("at_once")
async def test_a_candle_that_the_venue_closes_while_its_request_waits_is_not_fetched() -> None:
    """An outage interrupts the candles of more coins than may be fetched at once, and the venue's REST is slow."""
    coins = {f"{coin}/USDT": coin for coin in (f"C{n}" for n in range(AT_ONCE + 3))}
    asked: list[str] = []
    all_asked, answered = asyncio.Event(), asyncio.Event()

    async def fetch(coin: str, symbol: str, timeframe: str, since: int) -> list[Candle]:
        asked.append(symbol)
        if len(asked) == AT_ONCE:
            all_asked.set()
        await answered.wait()
        return answer([since, 1.0, 1.0, 1.0, 1.0, 5.0], coin=coin)

    venue_candles = made(fetch, lambda candle: None)
    for opened in (OPENED, OPENED + MINUTE):
        venue_candles.begin(coins, ["1m"], {}, native=True)
        for symbol in coins:
            tell_row(venue_candles, symbol, "1m", [opened, 1.0, 1.0, 1.0, 1.0, 1.0], 0, False)
    async with asyncio.timeout(10):
        await all_asked.wait()
        for symbol in coins:
            tell_row(venue_candles, symbol, "1m", [OPENED, 1.0, 1.0, 1.0, 1.0, 1.0], 0, True)
        assert venue_candles.holes() == {}
        repairs = [task for task in asyncio.all_tasks() if task.get_name().startswith("candles of ")]
        assert len(repairs) == len(coins)
        answered.set()
        assert await asyncio.gather(*repairs, return_exceptions=True) == [None] * len(coins)
    assert len(asked) == AT_ONCE
    await venue_candles.end()


def row(minute: int) -> list[float]:
    return [(FIRST + minute) * MINUTE, 2.0, 3.0, 1.0, 2.0, 5.0]


class Delivered:
    """Keeps the repaired candles, and answers requests from a record that has every minute."""

    def __init__(self) -> None:
        self.candles: list[Candle] = []
        self.came = asyncio.Event()

    async def fetch(self, coin: str, symbol: str, timeframe: str, since: int) -> list[Candle]:
        return answer(*(row(since // MINUTE - FIRST + number) for number in range(10)))

    def deliver(self, candle: Candle) -> None:
        self.candles.append(candle)
        self.came.set()


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("native", [True, False], ids=["streamed", "built from trades"])
async def test_a_candle_that_ends_between_history_and_the_first_frame_is_not_missed(native: bool) -> None:
    """History ends with minute 0 and the stream begins in minute 2, so minute 1 is fetched."""
    repaired = Delivered()
    venue_candles = made(repaired.fetch, repaired.deliver)
    number = venue_candles.begin({"BTC/USDT": "BTC"}, ["1m"], {}, native=native)
    venue_candles.known("BTC/USDT", "1m", FIRST * MINUTE)
    if native:
        tell_row(venue_candles, "BTC/USDT", "1m", row(2), 0, False)
    else:
        trade = TradeEvent("BTC", 2.0, 1.0, False, (FIRST + 2) * MINUTE + 5)
        venue_candles.on_trade(number, replace(trade, market="BTC/USDT"), ["1m"])
    async with asyncio.timeout(10):
        await repaired.came.wait()
    await venue_candles.end()
    assert [candle.timestamp // MINUTE - FIRST for candle in repaired.candles] == [1]
    assert repaired.candles[0].closed


async def test_history_does_not_change_an_open_candle() -> None:
    """The stream may be ahead of the record or behind it; the open candle stays open until the stream closes it."""
    repaired = Delivered()
    venue_candles = made(repaired.fetch, repaired.deliver)
    venue_candles.begin({"BTC/USDT": "BTC"}, ["1m"], {}, native=True)
    assert tell_row(venue_candles, "BTC/USDT", "1m", row(2), 0, None)
    for minute in (0, 5):
        venue_candles.known("BTC/USDT", "1m", (FIRST + minute) * MINUTE)
    candles = tell_row(venue_candles, "BTC/USDT", "1m", row(3), 0, None) or []
    assert [(c.timestamp // MINUTE - FIRST, c.closed) for c in candles] == [(2, True), (3, False)]
    assert repaired.candles == []
    await venue_candles.end()


async def test_a_candle_event_gets_the_present_coin_of_its_market_and_continues_earlier_rows() -> None:
    """The connection that reads the candle may have subscribed to the market as another coin."""
    repaired = Delivered()
    venue_candles = made(repaired.fetch, repaired.deliver)
    venue_candles.begin({"BTC/USDT": "BTC"}, ["1m"], {}, native=True)
    venue_candles.begin({"BTC/USDT": "XBT"}, ["1m"], {}, native=True)
    assert tell_row(venue_candles, "BTC/USDT", "1m", row(1), 0, False)
    opened = (FIRST + 1) * MINUTE
    first, again = (
        venue_candles.on_candle(Candle("BTC", "1m", opened, 2.0, 3.0, 1.0, 2.0, 6.0, True, market="BTC/USDT"), True)
        for _ in range(2)
    )
    assert [(candle.coin, candle.timestamp, candle.closed) for candle in first] == [("XBT", opened, True)]
    assert again == []
    await venue_candles.end()


@pytest.mark.parametrize("native", [True, False], ids=["streamed", "built from trades"])
async def test_rows_that_are_read_after_the_end_of_a_session_close_no_candle(native: bool) -> None:
    repaired = Delivered()
    venue_candles = made(repaired.fetch, repaired.deliver)
    number = venue_candles.begin({"BTC/USDT": "BTC"}, ["1m"], {}, native=native)

    def told(connection: int, minute: int) -> list[Candle] | None:
        if native:
            return tell_row(venue_candles, "BTC/USDT", "1m", row(minute), 0, None)
        trade = TradeEvent("BTC", 2.0, 1.0, False, (FIRST + minute) * MINUTE + 5)
        return venue_candles.on_trade(connection, replace(trade, market="BTC/USDT"), ["1m"])

    assert told(number, 1)
    venue_candles.drop()
    assert told(number, 2) == []
    assert not venue_candles.begun("BTC/USDT", "1m")
    assert told(venue_candles.begin({"BTC/USDT": "BTC"}, ["1m"], {}, native=native), 3)
    await venue_candles.end()


@pytest.mark.usefixtures("at_once")
async def test_a_candle_whose_trades_have_a_gap_is_requested() -> None:
    """Fetched trades are not added to the candle. The candles before and after it are closed by their own trades."""
    repaired = Delivered()
    venue_candles = made(repaired.fetch, repaired.deliver)
    number = venue_candles.begin({"BTC/USDT": "BTC"}, ["1m"], {}, native=False)
    told: list[Candle] = []
    for second in (0, 61, 90, 121, 150, 181, 241):
        if second == 150:
            venue_candles.missed_trades("BTC")
        opened = FIRST * MINUTE + second * 1000
        told += venue_candles.on_trade(number, TradeEvent("BTC", 2.0, 1.0, False, opened, market="BTC/USDT"), ["1m"])
    assert [candle.timestamp // MINUTE - FIRST for candle in told if candle.closed] == [1, 3]
    async with asyncio.timeout(10):
        while len(repaired.candles) < 2:
            repaired.came.clear()
            await repaired.came.wait()
    assert [candle.timestamp // MINUTE - FIRST for candle in repaired.candles] == [0, 2]
    await venue_candles.end()


class LateRecord:
    """A venue whose record is behind its stream, with a clock that the test sets."""

    delivering = True

    def __init__(self, now: int, *, stands_still: bool = False) -> None:
        self.now = now
        self.stands_still = stands_still  # True: the record has the volume that the stream has shown; False: less
        self.asked = 0
        self.delivered: list[Candle] = []
        self.came = asyncio.Event()

    def venue_time(self) -> float | None:
        return self.now

    def stream_time(self) -> float | None:
        return self.now

    def heard_at(self, symbol: str) -> float:
        return inf

    def has_room(self) -> bool:
        return True

    async def fetch(self, coin: str, symbol: str, timeframe: str, since: int) -> list[Candle]:
        self.asked += 1
        volume = 5.0 if self.stands_still else 2.0
        if self.asked < 3:
            return answer([since, 2.0, 3.0, 1.0, 2.0, volume])
        return answer([since, 2.0, 3.0, 1.0, 2.0, 7.0], row(1))

    def deliver(self, candle: Candle) -> None:
        self.delivered.append(candle)
        self.came.set()


@pytest.mark.parametrize("stands_still", [False, True], ids=["behind", "stands still"])
@pytest.mark.parametrize("native", [True, False], ids=["streamed", "built from trades"])
async def test_a_candle_is_not_closed_from_a_record_that_is_behind(
    native: bool, stands_still: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record has no more volume than the stream, so the record lacks the last trades and is requested again."""
    monkeypatch.setattr("feed.candles.venue_candles.MEND_DELAYS", (0.0, 0.01, 0.01, 0.01))
    record = LateRecord(0, stands_still=stands_still)
    venue_candles = made(record.fetch, record.deliver, record)
    number = venue_candles.begin({"BTC/USDT": "BTC"}, ["1m"], {}, native=native)
    for minute, seen in ((0, 5.0), (1, 1.0)):
        venue_candles.begin({"BTC/USDT": "BTC"}, ["1m"], {}, native=native, connection=number)
        opened = (FIRST + minute) * MINUTE
        record.now = opened + 100
        if native:
            tell_row(venue_candles, "BTC/USDT", "1m", [*row(minute)[:5], seen], 0, False)
        else:
            venue_candles.on_trade(number, TradeEvent("BTC", 2.0, seen, False, opened + 5, market="BTC/USDT"), ["1m"])
    record.now = (FIRST + 2) * MINUTE
    async with asyncio.timeout(10):
        await record.came.wait()
    await venue_candles.end()
    assert [(candle.timestamp, candle.volume) for candle in record.delivered] == [(FIRST * MINUTE, 7.0)]
    assert record.asked == 3


async def test_a_candle_that_the_record_never_proves_is_reported_and_not_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The record listed the candle while the candle was running, and was not updated later."""
    monkeypatch.setattr("feed.candles.venue_candles.MEND_DELAYS", (0.0,) + (0.01,) * 8)
    record = LateRecord(FIRST * MINUTE)
    given_up, told = asyncio.Event(), list[tuple[str, str, list[int]]]()

    async def fetch(coin: str, symbol: str, timeframe: str, since: int) -> list[Candle]:
        return answer(row(0))

    def give_up(coin: str, timeframe: str, opened: list[int]) -> None:
        told.append((coin, timeframe, opened))
        given_up.set()

    venue_candles = made(fetch, record.deliver, record, give_up)
    venue_candles.answered([Candle("BTC", "1m", FIRST * MINUTE, 2.0, 3.0, 1.0, 2.0, 5.0, False)])
    for minute in (0, 1):
        venue_candles.begin({"BTC/USDT": "BTC"}, ["1m"], {}, native=True)
        record.now = (FIRST + minute) * MINUTE + 10_000
        tell_row(venue_candles, "BTC/USDT", "1m", row(minute), 0, False)
    async with asyncio.timeout(10):
        await given_up.wait()
    assert told == [("BTC", "1m", [FIRST * MINUTE])]
    assert record.delivered == []
    assert venue_candles.lost == 1
    await venue_candles.end()


async def test_the_record_is_not_requested_before_it_can_have_the_complete_candle() -> None:
    record = LateRecord(0)
    venue_candles = made(record.fetch, record.deliver, record)
    waits = []
    for after_the_end in (100, 1_000, 5_000, -20_000):
        record.now = (FIRST + 1) * MINUTE + after_the_end
        waits.append(venue_candles._until_recorded(FIRST * MINUTE, "1m"))
    assert waits == pytest.approx([GRACE - 0.1, GRACE - 1.0, 0.0, GRACE])
    await venue_candles.end()
